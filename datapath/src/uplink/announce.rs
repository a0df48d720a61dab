//! Telling the link unasked that this node has an address (RFC 5227 §2.3): at once, after 1, 2, 4, … s, then every 150 s.
//!
//! Other stations remember who had the address before for up to twenty minutes, and bridges where it was; one announcement may be
//! lost. The last interval is half a bridge's ageing time of 300 s. Many addresses at once are spread: a few each some
//! milliseconds, so that thousands are told within seconds and no queue is full.
//!
//! Of an address that may be another station's by now the link is asked instead (a probe, RFC 5227 §2.1.1, which nobody learns from).

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::time::Instant;

/// Between announcements, in the end.
const LAST_INTERVAL: Duration = Duration::from_secs(150);
/// Between questions, in the end: so long two may answer, if the other's announcements were lost.
const LAST_ASK_INTERVAL: Duration = Duration::from_secs(4);
/// Announcements sent at once.
const AT_ONCE: usize = 4;
/// ... and the pause after them.
const PAUSE: Duration = Duration::from_millis(4);

/// Which addresses are announced, and when next.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    /// Sorted by address.
    rows: Vec<Row>,
    manner: Manner,
    /// Nothing is sent before.
    paused_until: Instant,
    due: Option<Instant>,
}

/// What is said of the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Manner {
    /// That they are here.
    #[default]
    Tell,
    /// Nothing; the link is asked who has them.
    Ask,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    address: Ipv4Addr,
    due: Instant,
    /// Time to the one after the next.
    interval: Duration,
}

impl Announcer {
    /// Announces these, sorted, from now on. The ones that it has been announcing go on as they were; `is_fresh`: they begin anew as well.
    pub(crate) fn install(&mut self, addresses: &[Ipv4Addr], manner: Manner, is_fresh: bool, now: Instant) {
        let old = std::mem::take(&mut self.rows);
        let is_fresh = is_fresh || manner != self.manner;
        self.manner = manner;
        let kept = |address: &Ipv4Addr| {
            let position = old.binary_search_by_key(address, |row| row.address).ok()?;
            old.get(position).filter(|_| !is_fresh).copied()
        };
        let row = |address: &Ipv4Addr| {
            let fresh = Row { address: *address, due: now, interval: Duration::from_secs(1) };
            kept(address).unwrap_or(fresh)
        };
        self.rows = addresses.iter().map(row).collect();
        self.schedule();
    }

    /// Nothing more is said of this one.
    pub(crate) fn forget(&mut self, address: Ipv4Addr) {
        self.rows.retain(|row| row.address != address);
        self.schedule();
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Announces what is due, a bounded number: the address, and whom that is said to be from.
    pub(crate) fn tick(&mut self, now: Instant, mut announce: impl FnMut(Ipv4Addr, Ipv4Addr)) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        for _ in 0..AT_ONCE {
            // Who waits longest comes first, so that none is repeated before all were told once.
            let first = self.rows.iter_mut().min_by_key(|row| row.due);
            let Some(row) = first.filter(|row| row.due <= now) else { break };
            let (sender, last) = match self.manner {
                Manner::Tell => (row.address, LAST_INTERVAL),
                Manner::Ask => (Ipv4Addr::UNSPECIFIED, LAST_ASK_INTERVAL),
            };
            announce(row.address, sender);
            row.due = now + row.interval;
            row.interval = (row.interval * 2).min(last);
        }
        self.paused_until = now + PAUSE;
        self.schedule();
    }

    fn schedule(&mut self) {
        let due = self.rows.iter().map(|row| row.due).min();
        self.due = due.map(|due| due.max(self.paused_until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(1_000_000_000_000);

    /// Runs for `seconds`; when which address was announced, in milliseconds.
    fn run(announcer: &mut Announcer, from: Instant, seconds: u64) -> Vec<(u64, Ipv4Addr)> {
        let mut announced = Vec::new();
        while let Some(due) = announcer.due().filter(|due| *due < from + Duration::from_secs(seconds)) {
            let millis = due.saturating_since(START).as_nanos() / 1_000_000;
            announcer.tick(due, |address, _| announced.push((u64::try_from(millis).unwrap(), address)));
        }
        announced
    }

    #[test]
    fn intervals_double_up_to_half_the_ageing_time_of_bridges() {
        let mut announcer = Announcer::default();
        announcer.install(&[Ipv4Addr::new(192, 0, 2, 80)], Manner::Tell, false, START);
        let times: Vec<u64> =
            run(&mut announcer, START, 800).into_iter().map(|(millis, _)| millis / 1000).collect();
        assert_eq!(times, [0, 1, 3, 7, 15, 31, 63, 127, 255, 405, 555, 705]);
    }

    #[test]
    fn many_addresses_are_announced_soon_and_in_no_burst() {
        let addresses: Vec<Ipv4Addr> = (1..=1000).map(|n| Ipv4Addr::from_bits(0xc633_6400 + n)).collect();
        let mut announcer = Announcer::default();
        announcer.install(&addresses, Manner::Tell, false, START);
        let announced = run(&mut announcer, START, 3);
        for (address, count) in
            addresses.iter().map(|a| (a, announced.iter().filter(|(_, b)| a == b).count()))
        {
            assert!(count >= 1, "{address} waits longer than a second");
        }
        for window in announced.windows(AT_ONCE + 1) {
            assert!(window[AT_ONCE].0 > window[0].0, "more than {AT_ONCE} at once");
        }
        let first_round =
            announced.iter().take(1000).map(|(_, a)| *a).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(first_round.len(), 1000, "each once before any twice");
    }

    #[test]
    fn change_announces_what_is_new_and_leaves_the_rest_as_it_was() {
        let (old, new) = (Ipv4Addr::new(192, 0, 2, 80), Ipv4Addr::new(192, 0, 2, 81));
        let mut announcer = Announcer::default();
        announcer.install(&[old], Manner::Tell, false, START);
        run(&mut announcer, START, 100);
        let later = START + Duration::from_secs(100);
        announcer.install(&[old, new], Manner::Tell, false, later);
        assert!(run(&mut announcer, later, 1).iter().all(|(_, address)| *address == new));
        announcer.install(&[new], Manner::Tell, false, later + Duration::from_secs(1));
        assert!(run(&mut announcer, later, 300).iter().all(|(_, address)| *address == new), "stopped");
        announcer.install(&[], Manner::Tell, false, later);
        assert_eq!(announcer.due(), None);
        let later = later + Duration::from_secs(400);
        announcer.install(&[old], Manner::Tell, false, later);
        let again = run(&mut announcer, later, 1);
        assert_eq!(again.len(), 1, "who comes back is new: {again:?}");
    }

    #[test]
    fn who_may_have_lost_an_address_asks_for_it_without_claiming_it() {
        let address = Ipv4Addr::new(192, 0, 2, 80);
        let mut announcer = Announcer::default();
        announcer.install(&[address], Manner::Tell, false, START);
        run(&mut announcer, START, 100);
        let from = START + Duration::from_secs(100);
        announcer.install(&[address], Manner::Ask, false, from);
        let mut asked = Vec::new();
        while let Some(due) = announcer.due().filter(|due| *due < from + Duration::from_secs(20)) {
            announcer
                .tick(due, |what, sender| asked.push((due.saturating_since(from).as_secs(), what, sender)));
        }
        let times: Vec<u64> = asked.iter().map(|(second, ..)| *second).collect();
        assert_eq!(times, [0, 1, 3, 7, 11, 15, 19]);
        assert!(asked.iter().all(|(_, what, sender)| (*what, *sender) == (address, Ipv4Addr::UNSPECIFIED)));
        announcer.forget(address);
        assert_eq!(announcer.due(), None);
    }
}
