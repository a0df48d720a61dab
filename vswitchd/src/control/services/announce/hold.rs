//! Telling the datapath until when this node's lease lasts, in time both processes know.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::super::super::error::chain;
use super::super::super::node::Control;

/// The lease lasts until then; without one, there is none.
pub(super) fn tell(control: &Control, until: Option<Instant>) {
    // A datapath that cannot be told knows how long; whoever supervises it says what is wrong.
    if let Err(error) = control.switch.hold_announced(until.map_or(0, on_the_machines_clock)) {
        tracing::debug!("the datapath does not know how long it has its addresses: {}", chain(&error));
    }
}

/// A moment in nanoseconds of `CLOCK_MONOTONIC`, rather earlier than later.
fn on_the_machines_clock(moment: Instant) -> u64 {
    // Fails for unknown clocks only.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let here = Instant::now();
    let (left, ago) = (moment.saturating_duration_since(here), here.saturating_duration_since(moment));
    let there = (now + left).saturating_sub(ago);
    // 0 means that there is no lease.
    u64::try_from(there.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_their_distance_to_come_and_past() {
        let now = Instant::now();
        let (second, third) = (Duration::from_secs(2), Duration::from_secs(3));
        let (near, far) = (on_the_machines_clock(now + second), on_the_machines_clock(now + third));
        assert!((900_000_000..=1_000_000_000 + 500_000_000).contains(&(far - near)), "{near} {far}");
        assert!(on_the_machines_clock(now) < near);
        if let Some(past) = now.checked_sub(second) {
            let ago = on_the_machines_clock(now) - on_the_machines_clock(past);
            assert!((1_500_000_000..=2_500_000_000).contains(&ago), "{ago}");
        }
    }
}
