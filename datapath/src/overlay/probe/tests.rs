use super::*;

/// A path on which packets up to `carries` arrive, driven a second at a time.
struct World {
    path: Path,
    now: Instant,
    carries: u16,
    loses: u32,
    nonce: u64,
}

impl World {
    fn new(max: u16, carries: u16) -> Self {
        Self { path: Path::new(max), now: Instant::from_nanos(0), carries, loses: 0, nonce: 7 }
    }

    /// One round; answers come after a millisecond.
    fn round(&mut self) -> Vec<u16> {
        self.nonce = self.nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let round = self.path.begin_round(self.nonce, self.now);
        let messages: Vec<_> = round.messages().collect();
        let answer_at = self.now + Duration::from_millis(1);
        for (nonce, size) in &messages {
            if *size <= self.carries && self.loses == 0 {
                assert!(self.path.on_answer(*nonce, answer_at).is_some());
            }
        }
        self.loses = self.loses.saturating_sub(1);
        self.now = self.now + Duration::from_secs(1);
        messages.into_iter().map(|(_, size)| size).collect()
    }

    fn rounds(&mut self, count: u32) {
        for _ in 0..count {
            self.round();
        }
    }

    fn mtu(&self) -> Option<u16> {
        self.path.mtu()
    }
}

#[test]
fn whole_underlay_is_known_to_arrive_after_the_first_answer() {
    let mut world = World::new(1500, 1500);
    assert_eq!(world.mtu(), None);
    assert_eq!(world.round(), [0, 1200, 1500]);
    assert_eq!(world.mtu(), Some(1500));
    // From now on only a confirmation now and then.
    let sizes: Vec<_> = (0..10).map(|_| world.round().len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 10 + 2);
}

#[test]
fn smaller_path_is_found_within_seconds_and_never_exceeded() {
    for carries in [1200, 1201, 1350, 1400, 1450, 1496, 1499] {
        let mut world = World::new(1500, carries);
        // What is known to be too large is not used any more after the first tries.
        world.rounds(u32::from(TRIES) + 1);
        assert!(world.mtu().is_some_and(|mtu| mtu <= carries), "{carries}: {:?}", world.mtu());
        world.rounds(12);
        let found = world.mtu().unwrap();
        assert!(found <= carries && u32::from(carries - found) <= CLOSE_ENOUGH, "{carries}: {found}");
    }
}

#[test]
fn path_below_the_base_is_found_too() {
    let mut world = World::new(1500, 600);
    world.rounds(40);
    assert!(world.mtu().is_some_and(|mtu| (590..=600).contains(&mtu)), "{:?}", world.mtu());
}

#[test]
fn shrinking_path_is_noticed_without_icmp() {
    let mut world = World::new(1500, 1500);
    world.rounds(20);
    world.carries = 1400;
    world.rounds(CONFIRM_ROUNDS + u32::from(TRIES) + 1);
    assert!(world.mtu().unwrap() <= 1400, "back to what arrives: {:?}", world.mtu());
    world.rounds(20);
    assert!((1396..=1400).contains(&world.mtu().unwrap()), "{:?}", world.mtu());
}

#[test]
fn larger_path_is_tried_again_after_ten_minutes() {
    let mut world = World::new(1500, 1400);
    world.rounds(30);
    world.carries = 1500;
    world.rounds(500);
    assert!(world.mtu().unwrap() <= 1400);
    world.rounds(150);
    assert_eq!(world.mtu(), Some(1500));
}

#[test]
fn outage_says_nothing_about_sizes() {
    let mut world = World::new(1500, 1500);
    world.rounds(10);
    world.loses = 60;
    world.rounds(60);
    assert_eq!(world.mtu(), Some(1500));
    assert_eq!(world.path.is_reachable(world.now), Some(false));
    assert_eq!(world.path.loss_percent(), Some(85));
    world.rounds(1);
    assert_eq!(world.path.is_reachable(world.now), Some(true));
}

#[test]
fn health_is_unknown_until_there_was_time_to_answer() {
    let mut world = World::new(1500, 1500);
    assert_eq!(world.path.is_reachable(world.now), None);
    world.loses = u32::MAX;
    world.rounds(2);
    assert_eq!(world.path.is_reachable(world.now), None);
    world.rounds(2);
    assert_eq!(world.path.is_reachable(world.now), Some(false));
    assert_eq!((world.path.rtt_micros(), world.mtu()), (None, None));
}

#[test]
fn answers_nobody_waits_for_change_nothing() {
    let mut path = Path::new(1500);
    let now = Instant::from_nanos(1);
    assert_eq!(path.on_answer(0, now), None);
    let first = path.begin_round(10, now);
    assert_eq!(path.on_answer(first.nonce + 3, now), None, "not sent");
    assert_eq!(path.on_answer(first.nonce, now), Some(false));
    assert_eq!(path.on_answer(first.nonce, now), None, "twice");
    path.begin_round(1 << 40, now);
    assert_eq!(path.on_answer(first.nonce + 1, now), None, "too late");
    assert_eq!(path.mtu(), None);
}

#[test]
fn underlay_that_shrinks_counts_at_once() {
    let mut world = World::new(9000, 9000);
    world.rounds(3);
    assert_eq!(world.mtu(), Some(9000));
    world.path.restart(1500);
    assert_eq!(world.mtu(), Some(1500));
    world.carries = 1500;
    world.rounds(3);
    assert_eq!(world.mtu(), Some(1500));
}
