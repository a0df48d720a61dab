//! Telling the link unasked that this node has an address (RFC 5227 §2.3): at once, after 1, 2, 4, … s, then every 150 s.
//!
//! Other stations remember who had the address before for up to twenty minutes, and bridges where it was; one announcement may be
//! lost. The last interval is half a bridge's ageing time of 300 s. Many addresses at once are spread: a few each some
//! milliseconds, so that thousands are told within seconds and no queue is full.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::time::Instant;

/// Between announcements, in the end.
const LAST_INTERVAL: Duration = Duration::from_secs(150);
/// Announcements sent at once.
const AT_ONCE: usize = 4;
/// ... and the pause after them.
const PAUSE: Duration = Duration::from_millis(4);

/// Which addresses are announced, and when next.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    /// Sorted by address.
    rows: Vec<Row>,
    /// Nothing is sent before.
    paused_until: Instant,
    due: Option<Instant>,
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
    pub(crate) fn install(&mut self, addresses: &[Ipv4Addr], is_fresh: bool, now: Instant) {
        let old = std::mem::take(&mut self.rows);
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

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Announces what is due, a bounded number.
    pub(crate) fn tick(&mut self, now: Instant, mut announce: impl FnMut(Ipv4Addr)) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        for _ in 0..AT_ONCE {
            // Who waits longest comes first, so that none is repeated before all were told once.
            let first = self.rows.iter_mut().min_by_key(|row| row.due);
            let Some(row) = first.filter(|row| row.due <= now) else { break };
            announce(row.address);
            row.due = now + row.interval;
            row.interval = (row.interval * 2).min(LAST_INTERVAL);
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
            announcer.tick(due, |address| announced.push((u64::try_from(millis).unwrap(), address)));
        }
        announced
    }

    #[test]
    fn intervals_double_up_to_half_the_ageing_time_of_bridges() {
        let mut announcer = Announcer::default();
        announcer.install(&[Ipv4Addr::new(192, 0, 2, 80)], false, START);
        let times: Vec<u64> =
            run(&mut announcer, START, 800).into_iter().map(|(millis, _)| millis / 1000).collect();
        assert_eq!(times, [0, 1, 3, 7, 15, 31, 63, 127, 255, 405, 555, 705]);
    }

    #[test]
    fn many_addresses_are_announced_soon_and_in_no_burst() {
        let addresses: Vec<Ipv4Addr> = (1..=1000).map(|n| Ipv4Addr::from_bits(0xc633_6400 + n)).collect();
        let mut announcer = Announcer::default();
        announcer.install(&addresses, false, START);
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
        announcer.install(&[old], false, START);
        run(&mut announcer, START, 100);
        let later = START + Duration::from_secs(100);
        announcer.install(&[old, new], false, later);
        assert!(run(&mut announcer, later, 1).iter().all(|(_, address)| *address == new));
        announcer.install(&[new], false, later + Duration::from_secs(1));
        assert!(run(&mut announcer, later, 300).iter().all(|(_, address)| *address == new), "stopped");
        announcer.install(&[], false, later);
        assert_eq!(announcer.due(), None);
        let later = later + Duration::from_secs(400);
        announcer.install(&[old], false, later);
        let again = run(&mut announcer, later, 1);
        assert_eq!(again.len(), 1, "who comes back is new: {again:?}");
    }
}
