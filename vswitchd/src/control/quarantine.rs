//! Which ports are not read any more because their frames crash the datapath.
//!
//! A frame that crashes the switch is our mistake, and it will be sent again. The first crash is
//! forgiven, because it may have been anybody's; a second one within a minute, while a frame of the
//! same port was being worked on, is not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use protocol::PortId;
use store::desired::GATEWAY_PORT;

/// Two crashes within this time are one too many.
const WINDOW: Duration = Duration::from_secs(60);

/// Crashes by port.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    last_crash: BTreeMap<PortId, Instant>,
    ports: BTreeSet<PortId>,
}

impl Quarantine {
    /// The datapath crashed over a frame of `port`. True if the port is quarantined from now on.
    pub(super) fn on_crash(&mut self, port: PortId, now: Instant) -> bool {
        let last = self.last_crash.insert(port, now);
        let again = last.is_some_and(|last| now.saturating_duration_since(last) < WINDOW);
        // Without the gateway the node loses all its pods; it is read however often that crashes.
        again && port != GATEWAY_PORT && self.ports.insert(port)
    }

    /// The port is gone; its number may be used for another.
    pub(super) fn forget(&mut self, port: PortId) {
        self.last_crash.remove(&port);
        self.ports.remove(&port);
    }

    pub(super) const fn ports(&self) -> &BTreeSet<PortId> {
        &self.ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(3);

    #[test]
    fn the_second_crash_within_a_minute_quarantines_its_port_only() {
        let mut quarantine = Quarantine::default();
        let start = Instant::now();
        assert!(!quarantine.on_crash(PORT, start));
        assert!(!quarantine.on_crash(PortId(4), start + Duration::from_secs(1)));
        assert!(quarantine.on_crash(PORT, start + Duration::from_secs(59)));
        assert_eq!(*quarantine.ports(), BTreeSet::from([PORT]));
    }

    #[test]
    fn crashes_far_apart_are_forgiven() {
        let mut quarantine = Quarantine::default();
        let start = Instant::now();
        for minute in 0..5 {
            assert!(!quarantine.on_crash(PORT, start + minute * WINDOW));
        }
    }

    #[test]
    fn the_gateway_is_never_quarantined() {
        let mut quarantine = Quarantine::default();
        let start = Instant::now();
        assert!(!quarantine.on_crash(GATEWAY_PORT, start) && !quarantine.on_crash(GATEWAY_PORT, start));
    }

    #[test]
    fn a_new_port_does_not_inherit_the_quarantine_of_its_number() {
        let mut quarantine = Quarantine::default();
        let start = Instant::now();
        assert!(!quarantine.on_crash(PORT, start) && quarantine.on_crash(PORT, start));
        quarantine.forget(PORT);
        assert!(quarantine.ports().is_empty() && !quarantine.on_crash(PORT, start));
    }
}
