//! The table alone, by the clock.

use super::*;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 50]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 51]);
const UPLINK: PortId = PortId(9);
const POD: PortId = PortId(1);

struct Bed {
    hops: NextHops,
    now: Instant,
}

impl Bed {
    fn new(worker: u32, gateway: Option<Ipv4Addr>) -> Self {
        let mut hops = NextHops::new(7, worker);
        for port in 0..=UPLINK.0 {
            hops.reserve(PortId(port));
        }
        let now = Instant::from_nanos(1_000_000_000_000);
        hops.pin(gateway, UPLINK, now);
        Self { hops, now }
    }

    fn answer(&mut self, address: Ipv4Addr, mac: Mac) -> Heard {
        self.hops.hear(&Said { address, mac, is_answer: true }, self.now)
    }

    fn update(&mut self, address: Ipv4Addr, mac: Mac) -> Heard {
        self.hops.hear(&Said { address, mac, is_answer: false }, self.now)
    }

    /// Lets time pass; gives the questions with the milliseconds after which they were asked, and whether flows became void.
    fn wait(&mut self, seconds: u64) -> (Vec<(u64, Question)>, bool) {
        let (start, mut asked, mut is_void) = (self.now, Vec::new(), false);
        let end = start + Duration::from_secs(seconds);
        while let Some(due) = self.hops.due().filter(|due| *due < end) {
            let due = due.max(self.now);
            let millis = u64::try_from(due.saturating_since(start).as_millis()).unwrap();
            is_void |= self.hops.tick(due, |question| asked.push((millis, question)));
        }
        self.now = end;
        (asked, is_void)
    }
}

fn broadcast(target: Ipv4Addr) -> Question {
    Question { target, to: None }
}

#[test]
fn who_is_silent_for_three_seconds_is_not_there() {
    let mut bed = Bed::new(0, None);
    assert_eq!(bed.hops.due(), None, "nothing to do");
    bed.hops.ask(HOST, POD, bed.now);
    assert_eq!(bed.hops.reach(HOST), Reach::Asked);
    let (asked, _) = bed.wait(3);
    assert_eq!(asked, [0, 1000, 2000].map(|at| (at, broadcast(HOST))));
    assert_eq!(bed.hops.reach(HOST), Reach::Asked, "the last one is still under way");
    assert_eq!(bed.wait(1), (vec![], false));
    assert_eq!(bed.hops.reach(HOST), Reach::Silent);
    assert_eq!(bed.hops.table.len(), 0);
    bed.hops.ask(HOST, POD, bed.now);
    assert_eq!(bed.wait(1).0.len(), 1, "asked again for the next packet");
}

#[test]
fn only_answers_to_questions_are_learned() {
    let mut bed = Bed::new(0, None);
    assert_eq!(bed.answer(HOST, MAC), Heard::Unasked);
    bed.hops.ask(HOST, POD, bed.now);
    assert_eq!(bed.update(HOST, MAC), Heard::Unasked, "nor what it says to others");
    assert_eq!(bed.hops.mac(HOST), None);
    assert_eq!(bed.answer(HOST, MAC), Heard::Found);
    assert_eq!(bed.hops.mac(HOST), Some(MAC));
}

#[test]
fn known_hop_is_probed_by_its_own_mac_before_everybody_is_asked() {
    let mut bed = Bed::new(0, Some(GATEWAY));
    assert_eq!(bed.wait(1).0, [(0, broadcast(GATEWAY))], "asked for at once");
    assert_eq!(bed.answer(GATEWAY, MAC), Heard::Found);
    assert!(bed.wait(30).0.is_empty());
    let probe = Question { target: GATEWAY, to: Some(MAC) };
    assert_eq!(bed.wait(1).0, [(0, probe)]);
    assert_eq!(bed.answer(GATEWAY, MAC), Heard::Same);
    assert_eq!(bed.wait(32).0, [(30_000, probe), (31_000, probe)]);
    let (asked, is_void) = bed.wait(2);
    assert_eq!(asked, [(0, probe), (1000, broadcast(GATEWAY))]);
    assert!(is_void, "nobody goes on sending to a MAC that is silent");
    assert_eq!(bed.hops.reach(GATEWAY), Reach::Asked);
}

#[test]
fn silent_gateway_is_asked_for_less_often_and_never_forgotten() {
    let mut bed = Bed::new(0, Some(GATEWAY));
    let (asked, _) = bed.wait(60);
    let times: Vec<u64> = asked.iter().map(|(at, _)| at / 1000).collect();
    assert_eq!(times, [0, 1, 2, 3, 13, 23, 33, 43, 53]);
    assert_eq!(bed.hops.reach(GATEWAY), Reach::Silent);
    bed.hops.ask(GATEWAY, POD, bed.now);
    assert_eq!(bed.hops.reach(GATEWAY), Reach::Asked);
    assert_eq!(bed.wait(1).0, [(0, broadcast(GATEWAY))], "a packet does not wait for ten seconds");
    assert_eq!(bed.answer(GATEWAY, MAC), Heard::Found);
}

#[test]
fn other_workers_take_the_first_ones_answer_and_ask_only_for_packets() {
    let mut bed = Bed::new(1, Some(GATEWAY));
    assert!(bed.wait(100).0.is_empty());
    assert_eq!(bed.answer(GATEWAY, MAC), Heard::Found, "without having asked");
    assert!(bed.wait(31).0.is_empty(), "the first one's probe comes before");
    assert_eq!(bed.answer(GATEWAY, MAC), Heard::Same);
    assert!(bed.wait(31).0.is_empty());
}

#[test]
fn mac_changes_void_flows_but_not_within_a_second() {
    let mut bed = Bed::new(0, None);
    bed.hops.ask(HOST, POD, bed.now);
    bed.answer(HOST, MAC);
    assert_eq!(bed.answer(HOST, OTHER), Heard::Same, "of two answers the first counts");
    assert_eq!(bed.hops.mac(HOST), Some(MAC));
    bed.wait(1);
    assert_eq!(bed.update(HOST, OTHER), Heard::Moved);
    assert_eq!(bed.hops.mac(HOST), Some(OTHER));
    assert_eq!(bed.wait(1).0, [(0, Question { target: HOST, to: Some(OTHER) })], "and is confirmed");
}

#[test]
fn unused_hop_is_forgotten_after_flows_were_decided_again() {
    let mut bed = Bed::new(0, None);
    bed.hops.ask(HOST, POD, bed.now);
    bed.answer(HOST, MAC);
    let mut voids = 0;
    // In use by one cached flow, which comes back when flows are void.
    for _ in 0..400 {
        if bed.wait(1).1 {
            voids += 1;
            assert_eq!(bed.hops.mac(HOST), Some(MAC));
        }
        bed.answer(HOST, MAC);
    }
    assert_eq!(voids, 6, "once a minute");
    for _ in 0..121 {
        bed.wait(1);
        bed.answer(HOST, MAC);
    }
    assert_eq!(bed.hops.table.len(), 0);
    assert_eq!(bed.hops.due(), None);
}

#[test]
fn port_that_scans_the_link_pushes_out_its_own() {
    let mut bed = Bed::new(0, Some(GATEWAY));
    bed.answer(GATEWAY, MAC);
    bed.hops.ask(HOST, PortId(2), bed.now);
    bed.answer(HOST, MAC);
    for n in 0..5000_u32 {
        bed.hops.ask(Ipv4Addr::from_bits(0xc612_0000 + n), POD, bed.now);
    }
    assert_eq!(bed.hops.table.len(), MAX_NEXT_HOPS_OF_PORT as usize + 2);
    assert_eq!((bed.hops.mac(GATEWAY), bed.hops.mac(HOST)), (Some(MAC), Some(MAC)));
    let mut asked = 0;
    bed.hops.tick(bed.now, |_| asked += 1);
    assert_eq!(asked, ASK_BUDGET);
    assert_eq!(bed.hops.due(), Some(bed.now), "the rest is due at once");
}
