//! Who on the link takes a packet: the MACs of next hops, by the switch's own ARP.
//!
//! ```text
//!            ask                 answer                  30 s
//!  (absent) ────▶ asked, 1/s ─────────────▶ known ────────────────▶ probed, 1/s ──┐
//!                   │ 3 s of silence         ▲ ▲                      │           │ 3 s of silence
//!                   ▼                        │ └────── answer ────────┘           ▼
//!                 absent                     └──────────────────────────── asked, 1/s
//! ```
//!
//! Questions are broadcast, probes go to the MAC that is known, as the kernel's (RFC 1122 §2.3.2.1). Learned is only from answers, and from
//! what a known next hop says of itself. A MAC changes at most once in [`LOCK`], so that of two answers the first counts.
//!
//! The gateway is pinned: it is there from the start, and the first worker keeps it fresh whether or not it is used. Others go when
//! nobody uses them: every [`REVIEW`] what was not asked for since the last one is marked, the flows are decided again, and what is
//! still not asked for at the next one is forgotten. Frames of a cached flow are not seen here, and need not be.
//!
//! Each worker has a table of its own; an answer heard by one is told to all, and counts where the question was
//! ([`crate::replication`]).
//!
//! An entry belongs to the port whose packet asked for it: a pod that scans the link pushes out its own.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::Duration;

use protocol::{Mac, PortId};

use crate::bounded::BoundedTable;
use crate::time::Instant;

/// Next hops in all: the kernel's `gc_thresh3`, with which links of a /22 work.
const MAX_NEXT_HOPS: u32 = 1024;
/// ... that packets of one port asked for.
const MAX_NEXT_HOPS_OF_PORT: u32 = 128;
/// Between two questions: the kernel's `retrans_time_ms`.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Questions, and probes, before silence is an answer: the kernel's `mcast_solicit` and `ucast_solicit`.
const ASK_TIMES: u8 = 3;
/// Between questions for a gateway that is silent.
const ASK_IN_VAIN_INTERVAL: Duration = Duration::from_secs(10);
/// An answer is good for so long: the kernel's `base_reachable_time_ms`.
const REACHABLE: Duration = Duration::from_secs(30);
/// Other workers probe later; the answer to the first's spares them it.
const PER_WORKER: Duration = Duration::from_secs(2);
/// A MAC that has just come stays: the kernel's `locktime`.
const LOCK: Duration = Duration::from_secs(1);
/// Between looks for what nobody uses: the kernel's `gc_stale_time`.
const REVIEW: Duration = Duration::from_secs(60);
/// Questions of one call, so that the worker is soon back at its frames.
const ASK_BUDGET: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct NextHops {
    table: BoundedTable<Ipv4Addr, NextHop>,
    gateway: Option<Ipv4Addr>,
    /// Keeps the gateway fresh.
    is_first: bool,
    reachable: Duration,
    /// When the earliest question is due.
    due: Option<Instant>,
    review_due: Option<Instant>,
}

/// One.
#[derive(Debug)]
pub(crate) struct NextHop {
    pub(crate) mac: Option<Mac>,
    /// Questions since the last answer.
    unanswered: u8,
    /// The next question; `None` until somebody asks.
    due: Option<Instant>,
    /// When the MAC came.
    since: Instant,
    /// Asked for since the last review. Set by lookups.
    is_used: Cell<bool>,
}

/// A question to send: to everybody, or to the MAC that is to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) target: Ipv4Addr,
    pub(crate) to: Option<Mac>,
}

/// What a station says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: Mac,
    /// As the answer to a question of this node's.
    pub(crate) is_answer: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nobody asked, and nobody knows it.
    Unasked,
    /// As known.
    Same,
    /// Frames can go there.
    Found,
    /// It has another MAC: whatever was decided with the old one is void.
    Moved,
}

/// What is known about where a frame waits to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Known,
    Asked,
    Silent,
}

impl NextHops {
    pub(crate) fn new(seed: u64, worker: u32) -> Self {
        Self {
            table: BoundedTable::new(seed, MAX_NEXT_HOPS, MAX_NEXT_HOPS_OF_PORT),
            gateway: None,
            is_first: worker == 0,
            reachable: REACHABLE + PER_WORKER * worker,
            due: None,
            review_due: None,
        }
    }

    /// Makes room for what packets of `port` ask for.
    pub(crate) fn reserve(&mut self, port: PortId) {
        self.table.reserve_owner(port);
    }

    /// Forgets everything: it was another link.
    pub(crate) fn clear(&mut self) {
        self.table.retain(|_| false);
        (self.gateway, self.due, self.review_due) = (None, None, None);
    }

    /// This is the gateway, of the port `owner`, from now on.
    pub(crate) fn pin(&mut self, gateway: Option<Ipv4Addr>, owner: PortId, now: Instant) {
        if self.gateway != gateway {
            // The one before goes as others do.
            (self.gateway, self.review_due) = (gateway, self.review_due.or(Some(now + REVIEW)));
        }
        if let Some(address) = gateway
            && self.table.lookup(&address).is_none()
        {
            let due = self.is_first.then_some(now);
            self.table.insert(address, owner, NextHop { due, ..NextHop::unknown(now) }, now);
            self.schedule(due);
        }
    }

    /// The MAC of a next hop, if it is known; marks it as used.
    pub(crate) fn mac(&self, address: Ipv4Addr) -> Option<Mac> {
        let hop = &self.table.lookup(&address)?.value;
        hop.is_used.set(true);
        hop.mac
    }

    /// What is known about it.
    pub(crate) fn reach(&self, address: Ipv4Addr) -> Reach {
        match self.table.lookup(&address).map(|entry| &entry.value) {
            Some(NextHop { mac: Some(_), .. }) => Reach::Known,
            Some(hop) if hop.is_asked() => Reach::Asked,
            Some(_) | None => Reach::Silent,
        }
    }

    /// A packet from `owner` is for it: it is asked for, if it is not already.
    pub(crate) fn ask(&mut self, address: Ipv4Addr, owner: PortId, now: Instant) {
        match self.table.touch(&address, now) {
            Some(hop) if hop.mac.is_some() || hop.is_asked() => return,
            Some(hop) => (hop.unanswered, hop.due) = (0, Some(now)),
            None => {
                self.table.insert(address, owner, NextHop { due: Some(now), ..NextHop::unknown(now) }, now);
            }
        }
        self.schedule(Some(now));
        self.review_due = self.review_due.or(Some(now + REVIEW));
    }

    /// A station was heard, here or by another worker.
    pub(crate) fn hear(&mut self, said: &Said, now: Instant) -> Heard {
        let Some(hop) = self.table.touch(&said.address, now) else { return Heard::Unasked };
        let heard = match hop.mac {
            None if said.is_answer => Heard::Found,
            None => return Heard::Unasked,
            Some(mac) if mac == said.mac && said.is_answer => Heard::Same,
            // That it speaks does not prove that it hears.
            Some(mac) if mac == said.mac => return Heard::Same,
            Some(_) if now.saturating_since(hop.since) < LOCK => return Heard::Same,
            Some(_) => Heard::Moved,
        };
        if heard != Heard::Same {
            (hop.mac, hop.since) = (Some(said.mac), now);
        }
        hop.unanswered = 0;
        let due = if said.is_answer { now + self.reachable } else { now };
        hop.due = Some(due);
        self.schedule(Some(due));
        heard
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.review_due).min()
    }

    /// Asks what is due to be asked; true if a next hop was lost, or may be unused, so that flows have to be decided again.
    pub(crate) fn tick(&mut self, now: Instant, mut ask: impl FnMut(Question)) -> bool {
        let mut is_void = self.review(now);
        if self.due.is_none_or(|due| now < due) {
            return is_void;
        }
        let mut budget = ASK_BUDGET;
        let mut is_any_silent = false;
        let mut next = None;
        for (target, hop) in self.table.values_mut() {
            let Some(due) = hop.due else { continue };
            if due <= now && budget > 0 {
                budget -= 1;
                let is_pinned = self.is_first && self.gateway == Some(target);
                if hop.mac.is_some() && hop.unanswered >= ASK_TIMES {
                    (hop.mac, hop.unanswered) = (None, 0);
                    is_void = true;
                }
                if hop.unanswered < ASK_TIMES || is_pinned {
                    ask(Question { target, to: hop.mac });
                    hop.unanswered = (hop.unanswered + 1).min(ASK_TIMES + 1);
                    let in_vain = hop.unanswered > ASK_TIMES;
                    hop.due = Some(now + if in_vain { ASK_IN_VAIN_INTERVAL } else { ASK_INTERVAL });
                } else {
                    (hop.unanswered, hop.due) = (ASK_TIMES + 1, None);
                    is_any_silent = true;
                }
            }
            next = next.into_iter().chain(hop.due).min();
        }
        self.due = next;
        if is_any_silent {
            let gateway = self.gateway;
            self.table.retain(|entry| entry.value.due.is_some() || gateway == Some(entry.key));
        }
        is_void
    }

    /// Known next hops from slot `cursor` on, with their slots, MACs, and when they were last heard.
    pub(crate) fn rows_from(&self, cursor: usize) -> impl Iterator<Item = (usize, Ipv4Addr, Mac, Instant)> {
        let rows = self.table.rows_from(cursor);
        rows.filter_map(|(slot, entry)| Some((slot, entry.key, entry.value.mac?, entry.last_used)))
    }

    /// See the module.
    fn review(&mut self, now: Instant) -> bool {
        if self.review_due.is_none_or(|due| now < due) {
            return false;
        }
        let gateway = self.gateway;
        let is_unused = |hop: &NextHop| hop.mac.is_some() && !hop.is_used.get();
        // Used is what was asked for since the review before, when every flow was decided again.
        self.table.retain(|entry| gateway == Some(entry.key) || !is_unused(&entry.value));
        let mut has_others = false;
        for (address, hop) in self.table.values_mut() {
            hop.is_used.set(false);
            has_others |= gateway != Some(address);
        }
        self.review_due = has_others.then(|| now + REVIEW);
        has_others
    }

    fn schedule(&mut self, due: Option<Instant>) {
        self.due = self.due.into_iter().chain(due).min();
    }
}

impl NextHop {
    const fn unknown(now: Instant) -> Self {
        Self { mac: None, unanswered: 0, due: None, since: now, is_used: Cell::new(true) }
    }

    /// A question is under way, and not yet in vain.
    const fn is_asked(&self) -> bool {
        self.due.is_some() && self.unanswered <= ASK_TIMES
    }
}

#[cfg(test)]
mod tests;
