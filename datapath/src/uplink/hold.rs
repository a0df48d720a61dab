//! How long this node stands for the addresses it announces.
//!
//! Where several nodes could announce an address, one has it by a lease of the cluster's store, which control renews. Another node may take
//! it the moment that lease ends, even if control here has died, hangs, or is cut off from the store. So control says until when it is surely
//! this node's ([`Switch::hold_announced`]). From then on it may be another's, who says so to everybody on the link as it begins; but
//! while the store is away from all nodes, nobody can have it, and clients are not to suffer. So the node goes on answering, asks the link
//! for the address again and again, and gives way to the first that says it has it, until control has renewed the lease.
//!
//! ```text
//!          told a later moment           the moment has come             another station has it
//!  let go ─────────────────────▶ held ────────────────────────▶ overdue ────────────────────────▶ (that address) given way
//!                      answers, announces               answers, asks the link                           silent
//!                                  ▲                              │                                        │
//!                                  └─── told a later moment ──────┴────────────────────────────────────────┘
//! ```
//!
//! Told that there is no lease, it lets go from everywhere. Nothing of the configuration changes with any of this: connections go on, and so do
//! clients who are led here by some router.
//!
//! Whoever does not hear the new owner does not hear the clients' questions either, both being broadcasts; one that is lost is made good by
//! the answer to the next question of this node.

use std::net::Ipv4Addr;

use super::Uplink;
use super::announce::Manner;
use crate::switch::Switch;
use crate::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hold {
    by_lease: bool,
    /// Of the lease; 0 without one, and before anything was said.
    until: Instant,
    /// What was last acted upon.
    acted: Phase,
    /// Of what is announced: others were heard to have it while it was overdue.
    given_way: Vec<Ipv4Addr>,
}

/// See the module's diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    LetGo,
    Held,
    Overdue,
}

impl Hold {
    /// A configuration whose addresses, sorted, are held by a lease, or simply there.
    pub(super) fn install(&mut self, by_lease: bool, announced: &[Ipv4Addr], now: Instant) {
        self.by_lease = by_lease;
        self.given_way.retain(|address| announced.binary_search(address).is_ok());
        self.given_way.reserve(announced.len().saturating_sub(self.given_way.len()));
        self.acted = self.phase(now);
    }

    /// At this moment. It is asked with the time of the frame, so that being late with timers changes nothing.
    fn phase(&self, now: Instant) -> Phase {
        if !self.by_lease || now < self.until {
            Phase::Held
        } else if self.until == Instant::default() {
            Phase::LetGo
        } else {
            Phase::Overdue
        }
    }

    /// Whether this node stands for an address that it announces.
    pub(super) fn lasts(&self, address: Ipv4Addr, now: Instant) -> bool {
        match self.phase(now) {
            Phase::Held => true,
            Phase::Overdue => !self.given_way.contains(&address),
            Phase::LetGo => false,
        }
    }

    /// When it is overdue.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.by_lease && self.acted == Phase::Held).then_some(self.until)
    }
}

impl Switch {
    /// This node has what it announces by a lease that lasts until then; 0 is never.
    pub fn hold_announced(&mut self, until: Instant, now: Instant) {
        let uplink = &mut self.slow_path.uplink;
        uplink.hold.until = until;
        if now < until {
            uplink.hold.given_way.clear();
        }
        // Who was told of nobody, or of somebody else meanwhile, is told again.
        uplink.on_phase(now);
    }
}

impl Uplink {
    /// Tells the link of what is announced, as long as it is held, and asks it while it is not known; `is_fresh`: anew.
    pub(super) fn announce(&mut self, is_fresh: bool, now: Instant) {
        let manner = match self.hold.phase(now) {
            Phase::Held => Some(Manner::Tell),
            Phase::Overdue => Some(Manner::Ask),
            Phase::LetGo => None,
        };
        let manner = manner.filter(|_| self.announces && self.link.is_some());
        let announced: &[_] = if manner.is_some() { &self.announced } else { &[] };
        self.announcer.install(announced, manner.unwrap_or_default(), is_fresh, now);
        for address in &self.hold.given_way {
            self.announcer.forget(*address);
        }
    }

    /// Does otherwise what is held no longer, or again.
    pub(super) fn on_phase(&mut self, now: Instant) {
        let phase = self.hold.phase(now);
        if self.hold.acted != phase {
            self.hold.acted = phase;
            self.announce(true, now);
        }
    }

    /// Another station says that it has this address. True if that is to be believed: this node has it no longer for sure.
    pub(crate) fn give_way(&mut self, address: Ipv4Addr, now: Instant) -> bool {
        let is_believed =
            self.hold.phase(now) == Phase::Overdue && self.announced.binary_search(&address).is_ok();
        if is_believed && !self.hold.given_way.contains(&address) {
            self.hold.given_way.push(address);
            self.announcer.forget(address);
        }
        is_believed
    }
}
