//! The first packet of a connection fails over: a SYN that a backend refuses, or does not answer, is offered to another one.
//!
//! ```text
//!   SYN ─▶ backend chosen, connection made, SYN kept (`openings`) ─▶ sent
//!             RST+ACK of this SYN, or ICMP unreachable about it ───────┐
//!             no way to the backend (its pod has just gone) ───────────┤      another one is eligible?
//!             the client's SYN again, after PATIENCE ──────────────────┴─▶ yes: the connection is its (`conntrack::replace`),
//!                                                                              the SYN is sent there, the refusal dropped
//!                                                                          no: as if there were no fail-over
//! ```
//!
//! Why this is safe: nothing has been said but a SYN, so no backend has done anything for the client, and the client has
//! heard from none. It is offered to [`openings::MAX_OTHERS`] backends after the first, each another one, chosen by the service's own scheduler under its own
//! policies; affinity follows. A refusal counts if it comes from the backend itself, as an answer of this connection, and names the
//! SYN's sequence number (RFC 9293 §3.10.7.3, RFC 5927 §4.1), so that nobody else can move a connection. Only TCP: nobody knows of a datagram whether
//! it was taken.
//!
//! A backend that was left although it might still answer is remembered for that (`ABANDONED`): its SYN+ACK goes no further, and it is told to forget
//! the connection.
//!
//! What is sent once more is nobody's received frame: it is counted as sent by the switch itself. Copies die with the process: what a SYN of
//! those milliseconds needs, its sender's repetition gives.

mod again;
mod openings;

use std::time::Duration;

use protocol::link::PortConfig;
use zerocopy::FromBytes;

use self::openings::{MAX_OTHERS, Opening};
use super::quote::Quote;
use crate::action::Refusal;
use crate::conntrack::{Cause, ConnectionId, Direction, Hit, Key, Tracked};
use crate::frame::Frame;
use crate::offload::gso::TcpHeader;
use crate::service::Origin;
use crate::slow_path::SlowPath;
use crate::time::Instant;
use crate::verdict::DropReason;
use crate::wire::icmp;
use crate::wire::ipv4::{Fragment, Ipv4};
use crate::wire::l4::{L4, TcpFlags};

pub(crate) use again::Again;
pub(crate) use openings::Openings;

/// How long a backend may take to answer before the client's repetition goes to another one. Clients repeat after a second
/// (RFC 6298 §2.1); what comes much earlier is a duplicate of the network's.
const PATIENCE: Duration = Duration::from_millis(500);

impl SlowPath {
    /// Keeps the packet that began a connection, if it is a SYN that can be offered again.
    pub(super) fn keep_opening(
        &self,
        id: ConnectionId,
        port: &PortConfig,
        origin: Origin,
        frame: &Frame,
        ip: &Ipv4,
        now: Instant,
    ) {
        if let Some(sequence) = sequence_of_syn(frame, ip)
            && let Some(opening) = Opening::new(port.id, origin, sequence, frame, now)
        {
            self.put_opening(id, &opening);
        }
    }

    /// A backend resets a connection that nothing has come of: another one is offered it, or the client hears of it.
    pub(super) fn on_refused(
        &mut self,
        hit: Hit,
        frame: &Frame,
        ip: &Ipv4,
        now: Instant,
    ) -> Result<Option<Hit>, Refusal> {
        if let Some(opening) = self.shared.openings.lookup(hit.id) {
            let acknowledgment = tcp_header(frame, ip)
                .filter(|_| is_with_acknowledgment(ip))
                .map(|header| header.acknowledgment.get());
            if !acknowledgment.is_some_and(|number| opening.is_acknowledged_by(number)) {
                // Of something else; the client does not heed it either, and nothing changes.
                return Ok(Some(hit));
            }
            if self.fail_over(hit.id, &opening, Cause::Refused, now) {
                return Err(DropReason::FailedOver.into());
            }
        }
        if self.shared.connections.refuse(hit.id, now) == Tracked::Forward {
            Ok(Some(hit))
        } else {
            // Another worker has just given it to another backend.
            Err(DropReason::FailedOver.into())
        }
    }

    /// A client repeats its SYN; gives the connection that it belongs to then.
    pub(super) fn on_repeated(&mut self, hit: Hit, frame: &Frame, ip: &Ipv4, now: Instant) -> Hit {
        let Some(opening) = self.shared.openings.lookup(hit.id) else { return hit };
        let Some(sequence) = sequence_of_syn(frame, ip) else { return hit };
        if sequence != opening.sequence {
            // Another attempt from the same port.
            if let Some(opening) = Opening::new(opening.ingress, opening.origin, sequence, frame, now) {
                self.put_opening(hit.id, &opening);
            }
            return hit;
        }
        if now.saturating_since(opening.since) >= PATIENCE
            && self.fail_over(hit.id, &opening, Cause::Unanswered, now)
        {
            // It goes there itself.
            return self.again.hit.take().unwrap_or(hit);
        }
        hit
    }

    /// An ICMP error goes to the client, about a packet of the connection: whether that is offered to another backend instead.
    pub(super) fn on_unreachable(
        &mut self,
        hit: Hit,
        quote: &Quote,
        ip: &Ipv4,
        frame: &Frame,
        now: Instant,
    ) -> bool {
        let is_unreachable = matches!(ip.l4, L4::Icmp { kind, code, .. } if icmp::is_unreachable(kind, code));
        if !is_unreachable || hit.direction != Direction::Reply || !quote.key().is_tcp() {
            return false;
        }
        let Some(opening) = self.shared.openings.lookup(hit.id) else { return false };
        quote.tcp_sequence(frame.ethernet()) == Some(opening.sequence)
            && self.fail_over(hit.id, &opening, Cause::Unreachable, now)
    }

    /// Whether a packet is a SYN whose connection is another backend's by now: nothing is to be said about its way to the first.
    pub(crate) fn is_offered_elsewhere(&self, ip: &Ipv4) -> bool {
        let hit = || self.shared.connections.lookup(&Key::of(ip)?);
        let opening = hit().filter(|_| begins(ip)).and_then(|hit| self.shared.openings.lookup(hit.id));
        opening.is_some_and(|opening| opening.tried.iter().next().is_some())
    }

    /// The SYN of a client's finds no way to its backend: whether it is offered to another one.
    fn on_no_way(&mut self, connection: Option<Hit>, ip: &Ipv4, now: Instant) -> bool {
        let known = || self.shared.connections.lookup(&Key::of(ip)?);
        let hit = connection.or_else(known);
        let Some(hit) = hit.filter(|hit| hit.direction == Direction::Original) else { return false };
        let Some(opening) = self.shared.openings.lookup(hit.id) else { return false };
        self.fail_over(hit.id, &opening, Cause::Unreachable, now)
    }

    /// Gives the connection to another backend, if there is one that was not asked yet, and leaves the SYN to be sent there.
    fn fail_over(&mut self, id: ConnectionId, opening: &Opening, cause: Cause, now: Instant) -> bool {
        let replaced = self.replace(id, opening, cause, now);
        if replaced.is_some() {
            self.again.hit = replaced;
        }
        replaced.is_some()
    }

    fn replace(&mut self, id: ConnectionId, opening: &Opening, cause: Cause, now: Instant) -> Option<Hit> {
        let connections = &self.shared.connections;
        if !connections.is_opening(id) {
            return None;
        }
        let key = connections.key(id, Direction::Original)?;
        let server = connections.translation(id, Direction::Original)?.to();
        let tried = opening.tried.with((server.destination, server.destination_port))?;
        let frontend = match opening.origin {
            Origin::Inside => self.frontend(&key)?,
            Origin::Outside => self.frontend_outside(self.place(key.tuple().destination, now)?, &key)?,
        };
        let mut exclude = [u32::MAX; MAX_OTHERS];
        for (place, (address, port)) in exclude.iter_mut().zip(tried.iter()) {
            *place = self.services.slot(frontend.service, address, port).unwrap_or(u32::MAX);
        }
        let new = self.offer(opening.ingress, &key, &frontend, opening.origin, &exclude, now).ok()?;
        let hit = self.shared.connections.replace(id, &new, cause, now).ok()??;
        if let Some(backend) = new.backend {
            self.services.count_offer(backend);
        }
        self.put_opening(hit.id, &opening.offered_after(tried, now));
        Some(hit)
    }

    fn put_opening(&self, id: ConnectionId, opening: &Opening) {
        let connections = &self.shared.connections;
        self.shared.openings.put(id, opening, |id| connections.is_opening(id));
    }
}

fn begins(ip: &Ipv4) -> bool {
    ip.fragment == Fragment::Whole && super::tcp_flags(ip).is_some_and(TcpFlags::begins)
}

fn is_with_acknowledgment(ip: &Ipv4) -> bool {
    super::tcp_flags(ip).is_some_and(|flags| flags.intersects(TcpFlags::ACK))
}

/// Of a SYN without data.
fn sequence_of_syn(frame: &Frame, ip: &Ipv4) -> Option<u32> {
    let is_bare = ip.payload_offset() == ip.end();
    tcp_header(frame, ip).filter(|_| begins(ip) && is_bare).map(|header| header.sequence.get())
}

fn tcp_header<'a>(frame: &'a Frame, ip: &Ipv4) -> Option<&'a TcpHeader> {
    TcpHeader::ref_from_prefix(frame.ethernet().get(ip.l4_offset()..)?).ok().map(|(header, _)| header)
}
