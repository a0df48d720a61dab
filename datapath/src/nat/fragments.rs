//! Fragments of datagrams that may have to be translated (RFC 791 §3.2, RFC 4787 REQ-14).
//!
//! Only the first fragment of a datagram says its ports. What is decided about it is remembered under what all of its
//! fragments have in common, and holds for the others: addresses are all that is translated of them. The
//! transport checksum is in the first one and is changed by what the whole datagram's changes by, so it is right
//! without the rest. Nothing is reassembled.
//!
//! ```text
//!   first ─▶ connection, as it is, or refused ─▶ remembered; those that wait follow it
//!   later ─▶ remembered? ── yes ─▶ the same
//!              └ no ─▶ waits (`held`)
//! ```
//!
//! Fragments come in order but for where a network has several ways, so few wait. Both tables are one worker's own, because a port is
//! read by one worker; both are bounded, a port that has its share loses its own, and who floods them with
//! fragments that belong to nothing loses those. A first fragment that does not hold its whole transport header was refused
//! when it was read (`wire`), so no later one can say ports that the first did not.

mod held;

use std::time::Duration;

use protocol::PortId;

use crate::action::Refusal;
use crate::bounded::BoundedTable;
use crate::burst::Burst;
use crate::conntrack::Hit;
use crate::frame::Frame;
use crate::output::Egress;
use crate::received::Received;
use crate::switch::{Done, Switch};
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::window::Seen;
use crate::wire::Body;
use crate::wire::ipv4::Ipv4;

pub(crate) use held::Held;

/// Datagrams remembered at most: at 100 bytes each 100 KiB a worker. Of a datagram that came in order only the next
/// few microseconds count.
const DATAGRAMS: u32 = 1024;
/// Of one port.
const DATAGRAMS_PER_PORT: u32 = DATAGRAMS / 8;
/// A datagram's identification may be used anew by then (RFC 6864 §1: at 6.5 Mbit/s of small ones; RFC 4963); what
/// is on its way for longer is late for the receiver too, mostly. Far below the 30 s of Linux's reassembly.
const REMEMBERED: Duration = Duration::from_secs(5);

/// What the fragments of a datagram have in common (RFC 791 §3.2), packed:
///
/// ```text
/// source address : 32  destination address : 32
/// zero : 24  ingress port : 16  protocol : 8  identification : 16
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Datagram([u64; 2]);

/// What was decided about a datagram by its first fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not translated.
    AsItIs,
    Connection(Hit),
    Refused(DropReason),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fragments {
    datagrams: BoundedTable<Datagram, Fate>,
    pub(crate) held: Held,
    /// The datagram whose first fragment has come while others waited for it.
    ready: Option<Datagram>,
    /// For one of them at a time.
    frame: Option<Frame>,
}

impl Datagram {
    pub(crate) fn of(ingress: PortId, ip: &Ipv4) -> Self {
        const { assert!(PortId::MAX_PORTS <= 1 << 16) };
        Self([
            u64::from(ip.source.to_bits()) << 32 | u64::from(ip.destination.to_bits()),
            u64::from(ingress.0) << 24 | u64::from(ip.protocol) << 16 | u64::from(ip.identification),
        ])
    }
}

impl Fragments {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            datagrams: BoundedTable::new(seed, DATAGRAMS, DATAGRAMS_PER_PORT),
            held: Held::new(),
            ready: None,
            frame: Some(Frame::new()),
        }
    }

    /// Makes room for datagrams of `port`.
    pub(crate) fn reserve(&mut self, port: PortId) {
        self.datagrams.reserve_owner(port);
    }

    /// A first fragment came, about which this was decided.
    pub(crate) fn begin(
        &mut self,
        port: PortId,
        ip: &Ipv4,
        connection: Result<Option<Hit>, Refusal>,
        now: Instant,
    ) {
        let fate = match connection {
            Ok(None) => Fate::AsItIs,
            Ok(Some(hit)) => Fate::Connection(hit),
            Err(Refusal { reason, .. }) => Fate::Refused(reason),
        };
        let datagram = Datagram::of(port, ip);
        self.datagrams.insert(datagram, port, fate, now);
        // Not if the table has no room for the port: they would wait again.
        let is_remembered = self.datagrams.lookup(&datagram).is_some();
        self.ready = (is_remembered && self.held.has(datagram)).then_some(datagram);
    }

    /// What was decided about the datagram of a later fragment.
    pub(crate) fn fate(&self, port: PortId, ip: &Ipv4) -> Option<Fate> {
        self.datagrams.lookup(&Datagram::of(port, ip)).map(|entry| entry.value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.datagrams.is_empty() && self.held.is_empty()
    }

    /// Forgets at most `budget` datagrams. `true` when none is left that is due.
    fn expire(&mut self, now: Instant, budget: u32) -> bool {
        self.datagrams.expire(now, REMEMBERED, budget)
    }
}

impl Switch {
    /// Keeps a later fragment until its first has come. What has to make room for it is dropped.
    pub(crate) fn hold_fragment(
        &mut self,
        ingress: PortId,
        frame: &Frame,
        received: &Received,
        now: Instant,
    ) -> Verdict<Done> {
        let Body::Ipv4(ip) = &received.packet.body else { return Err(DropReason::FragmentWithoutFirst) };
        let held = &mut self.slow_path.fragments.held;
        let evicted = held.put(Datagram::of(ingress, ip), ingress, frame, now)?;
        self.give_up(evicted);
        Ok(Done::Waits)
    }

    /// Forwards what waited for the first fragment that has just been decided, in the order in which it came.
    pub(crate) fn release_fragments(&mut self, now: Instant, egress: &mut impl Egress) {
        let Some(datagram) = self.slow_path.fragments.ready.take() else { return };
        let Some(mut frame) = self.slow_path.fragments.frame.take() else { return };
        while let Some(ingress) = self.slow_path.fragments.held.take(datagram, &mut frame) {
            let (bytes, packets) = (frame.received_bytes(), frame.packets());
            let mut seen = Seen { bytes, packets, received: Received::read(&mut frame), probe: None };
            let burst = Burst::single(&frame);
            let done = self.act(ingress, &mut frame, &mut seen, burst, now, egress);
            self.settle(ingress, seen.packets, seen.bytes, done);
        }
        self.slow_path.fragments.frame = Some(frame);
    }

    /// Drops what has waited for too long, and forgets datagrams. `true` when nothing is left that is due.
    pub(crate) fn expire_fragments(&mut self, now: Instant, budget: u32) -> bool {
        while let Some(late) = self.slow_path.fragments.held.late(now) {
            self.give_up(Some(late));
        }
        self.slow_path.fragments.expire(now, budget)
    }

    fn give_up(&mut self, waited: Option<held::Waited>) {
        if let Some(waited) = waited {
            self.account(waited.ingress, 1, waited.bytes, Err(DropReason::FragmentWithoutFirst));
        }
    }
}
