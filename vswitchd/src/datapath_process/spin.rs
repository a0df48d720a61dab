//! Whether to look again at once or to sleep, when every port was read empty.
//!
//! Sleeping costs the next sender a wake-up of this thread, in a virtual machine an interrupt to
//! another core and 5–50 µs until the frame is read. Spinning costs a core, which pays only if the
//! sender runs on another one: on the same one it cannot send while we spin. The worker cannot
//! know where the sender runs, but it sees whether spinning brought a frame:
//!
//! ```text
//!                 frame within WINDOW: penalty back to its minimum
//!              ┌──────────┐
//!              ▼          │
//!   ports ──▶ spin ───────┴─ WINDOW over: penalty × 2 ──▶ sleep ──▶ ports, `penalty` times
//!   empty      ▲                                                    without spinning
//!              └───────────────────────────────────────────────────────┘
//! ```
//!
//! So steady traffic from another core never finds the worker asleep, and an idle or overloaded
//! machine pays for one window in a thousand sleeps. Giving the core away with `sched_yield`
//! instead is worse: on Linux 6.18 it forfeits the thread's slice, and the next frame waits for
//! milliseconds.

use std::time::Duration;

use datapath::time::Instant;

/// How long to spin: about what a wake-up costs.
pub(super) const WINDOW: Duration = Duration::from_micros(30);
/// Sleeps without spinning after the first failure.
const MIN_PENALTY: u32 = 8;
/// And after many: what is lost by spinning in vain stays below a thousandth of a wake-up each.
const MAX_PENALTY: u32 = 1024;

/// What to do when all ports are read empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// Poll again without waiting.
    Spin,
    /// Wait for the next event.
    Sleep,
}

/// The state of the decision.
#[derive(Debug)]
pub(super) struct Spin {
    spinning: bool,
    /// First poll of this spin that brought nothing; the window begins there, since the clock is not
    /// read after the last frame.
    since: Option<Instant>,
    /// Sleeps to come without a spin before them.
    skip: u32,
    penalty: u32,
}

impl Spin {
    pub(super) const fn new() -> Self {
        Self { spinning: false, since: None, skip: 0, penalty: MIN_PENALTY }
    }

    /// All ports are empty after a poll that `found` frames, or did not.
    pub(super) fn on_idle(&mut self, found: bool, now: Instant) -> Idle {
        if found { self.on_found() } else { self.on_nothing(now) }
    }

    fn on_found(&mut self) -> Idle {
        // A frame that was there at the first look was not brought by spinning: on the same core, the
        // receiver of the last one has run in between and answered.
        if self.spinning && self.since.is_some() {
            self.penalty = MIN_PENALTY;
        }
        self.since = None;
        self.spinning = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        if self.spinning { Idle::Spin } else { Idle::Sleep }
    }

    fn on_nothing(&mut self, now: Instant) -> Idle {
        // Otherwise a sleep ended by a timer or a request.
        if self.spinning {
            let since = *self.since.get_or_insert(now);
            if now.saturating_since(since) < WINDOW {
                return Idle::Spin;
            }
            self.spinning = false;
            self.skip = self.penalty;
            self.penalty = (self.penalty * 2).min(MAX_PENALTY);
        }
        Idle::Sleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that gets a frame every `gap` and polls once per microsecond while it spins:
    /// how often it slept, and how many microseconds it spun, in `frames` gaps.
    fn simulate(gap: u64, frames: u64) -> (u64, u64) {
        let at = |micros: u64| Instant::from_nanos(micros * 1000);
        let mut spin = Spin::new();
        let (mut sleeps, mut spun) = (0, 0);
        for frame in 0..frames {
            let arrival = frame * gap;
            let mut now = arrival;
            let mut idle = spin.on_idle(true, at(now));
            while idle == Idle::Spin && now + 1 < arrival + gap {
                now += 1;
                spun += 1;
                idle = spin.on_idle(false, at(now));
            }
            sleeps += u64::from(idle == Idle::Sleep);
        }
        (sleeps, spun)
    }

    #[test]
    fn frames_in_quick_succession_never_find_the_worker_asleep() {
        assert_eq!(simulate(20, 10_000).0, 0);
    }

    #[test]
    fn rare_frames_cost_next_to_no_spinning() {
        let (sleeps, spun) = simulate(1000, 100_000);
        assert_eq!(sleeps, 100_000);
        assert!(spun < 5 * 1000, "{spun} µs in 100 s");
    }

    #[test]
    fn spinning_comes_back_when_it_pays_again() {
        let mut spin = Spin::new();
        let at = Instant::from_nanos;
        let mut now = 0;
        // In vain until the longest penalty.
        for _ in 0..10_000 {
            now += 1_000_000;
            if spin.on_idle(true, at(now)) == Idle::Spin {
                assert_eq!(spin.on_idle(false, at(now)), Idle::Spin);
                assert_eq!(spin.on_idle(false, at(now + 100_000)), Idle::Sleep);
            }
        }
        let mut slept = 0;
        while spin.on_idle(true, at(now)) == Idle::Sleep {
            slept += 1;
        }
        assert!(slept <= MAX_PENALTY);
        for _ in 0..100 {
            assert_eq!(spin.on_idle(false, at(now)), Idle::Spin);
            now += 10_000;
            assert_eq!(spin.on_idle(true, at(now)), Idle::Spin, "found while spinning");
        }
        assert_eq!(spin.penalty, MIN_PENALTY);
    }

    #[test]
    fn a_frame_at_the_first_look_says_nothing_about_spinning() {
        let mut spin = Spin::new();
        let at = Instant::from_nanos;
        assert_eq!(spin.on_idle(true, at(0)), Idle::Spin);
        assert_eq!(spin.on_idle(false, at(1)), Idle::Spin);
        assert_eq!(spin.on_idle(false, at(100_000)), Idle::Sleep);
        let penalty = spin.penalty;
        for now in 0..2 * u64::from(MIN_PENALTY) {
            let _ = spin.on_idle(true, at(200_000 + now));
        }
        assert_eq!(spin.penalty, penalty);
    }

    #[test]
    fn a_timer_does_not_start_a_spin() {
        let mut spin = Spin::new();
        assert_eq!(spin.on_idle(false, Instant::from_nanos(1)), Idle::Sleep);
    }
}
