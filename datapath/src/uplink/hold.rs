//! How long this node stands for the addresses it announces.
//!
//! Where several nodes could announce an address, one has it by a lease of the cluster's store, which control renews. Another node may take
//! it the moment that lease ends, so by then this one must have stopped, even if control has died, hangs, or is cut off from the store:
//! control says until when ([`Switch::hold_announced`]), and a datapath that hears nothing more lets go by itself. Nothing of
//! the configuration changes: connections go on, and so do clients who are led here by some router.
//!
//! ```text
//!             told a later moment                  the moment has come
//!   let go ────────────────────────▶ held ─────────────────────────────▶ let go
//!             announced anew                       neither answered nor announced
//! ```

use super::Uplink;
use crate::switch::Switch;
use crate::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hold {
    by_lease: bool,
    /// Of the lease; before anything was said, long ago.
    until: Instant,
    /// It ends at `until`, and that has not been acted upon.
    is_running: bool,
}

impl Hold {
    /// A configuration whose addresses are held by a lease, or simply there.
    pub(super) fn install(&mut self, by_lease: bool, now: Instant) {
        self.by_lease = by_lease;
        self.is_running = by_lease && self.lasts(now);
    }

    /// At this moment. It is asked with the time of the frame, so that being late with timers prolongs nothing.
    pub(super) fn lasts(&self, now: Instant) -> bool {
        !self.by_lease || now < self.until
    }

    /// When to let go.
    pub(super) fn due(&self) -> Option<Instant> {
        self.is_running.then_some(self.until)
    }
}

impl Switch {
    /// This node has what it announces by a lease that lasts until then.
    pub fn hold_announced(&mut self, until: Instant, now: Instant) {
        let uplink = &mut self.slow_path.uplink;
        let was_held = uplink.hold.is_running && uplink.hold.lasts(now);
        uplink.hold.until = until;
        uplink.hold.install(uplink.hold.by_lease, now);
        // Who was told of nobody, or of somebody else meanwhile, is told again.
        if uplink.hold.by_lease && was_held != uplink.hold.is_running {
            uplink.announce(true, now);
        }
    }
}

impl Uplink {
    /// Tells the link of what is announced, as long as it is held; `is_fresh`: anew.
    pub(super) fn announce(&mut self, is_fresh: bool, now: Instant) {
        let tells = self.announces && self.link.is_some() && self.hold.lasts(now);
        let announced: &[_] = if tells { &self.announced } else { &[] };
        self.announcer.install(announced, is_fresh, now);
    }

    /// Stops announcing what is held no longer.
    pub(super) fn let_go(&mut self, now: Instant) {
        if self.hold.is_running && !self.hold.lasts(now) {
            self.hold.is_running = false;
            self.announce(false, now);
        }
    }
}
