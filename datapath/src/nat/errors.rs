//! ICMP errors about packets of connections (RFC 5508 §4): translated inside and out.
//!
//! Whoever sends an error saw the packet it is about as it had been translated, and sends it to whom that seemed to come
//! from. The one who sent the packet is to get it, and to find in it the packet that it sent:
//!
//! ```text
//!            client 4000 ─▶ service 80        is sent on as      client 4000 ─▶ backend 8080
//!   service ─▶ client │ client 4000 ─▶ service 80    is made of    router ─▶ client │ client 4000 ─▶ backend 8080
//!                       (quoted)                                                      (quoted)
//! ```
//!
//! So an error goes the other way than the packet it quotes, and is translated outside as a packet of its own way: to whom it
//! goes, and from whom it comes if that way's source is translated, whoever on that side sent it. Addresses of
//! one side mean nothing on the other (RFC 5508 REQ-4, REQ-5; Linux does the same).
//!
//! Checked are the error's checksum and that of the quoted header (REQ-3), not that of the quoted transport, of which most
//! is missing. An error neither refreshes nor ends its connection (RFC 5508 §4.3, RFC 4787 REQ-12): anybody on the way may
//! send one. The MTU it may speak of is as good for the other side: no header changes its length.

use std::net::Ipv4Addr;

use protocol::link::PortConfig;

use super::quote::Quote;
use crate::action::{Action, Forward, Refusal};
use crate::conntrack::{ConnectionId, Direction, Hit};
use crate::frame::Frame;
use crate::ports::Ports;
use crate::received::Received;
use crate::rewrite::Tuple;
use crate::slow_path::SlowPath;
use crate::switch::Switch;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ipv4::{Fragment, Ipv4, Ipv4Header};
use crate::wire::l4::L4;
use crate::wire::{Body, Packet, checksum, icmp};

impl SlowPath {
    /// What becomes of an ICMP error about a translated packet; `None` for whatever is none.
    pub(crate) fn forward_error(
        &mut self,
        ports: &Ports,
        port: &PortConfig,
        packet: &Packet,
        ip: &Ipv4,
        frame: &Frame,
        now: Instant,
    ) -> Result<Option<Action>, Refusal> {
        let L4::Icmp { kind, .. } = ip.l4 else { return Ok(None) };
        if !icmp::is_about_packet(kind) || packet.destination.is_multicast() || ip.destination.is_multicast()
        {
            return Ok(None);
        }
        let Some((quote, hit)) = self.quoted_connection(frame.ethernet(), ip) else {
            return if self.is_of_services(ip.destination) {
                Err(DropReason::IcmpErrorUnrelated.into())
            } else {
                Ok(None)
            };
        };
        check(&quote, ip, frame.ethernet())?;
        if self.is_plain(hit) {
            return Ok(None);
        }
        if self.on_unreachable(hit, &quote, ip, frame, now) {
            return Err(DropReason::FailedOver.into());
        }
        let mut translated = *ip;
        (translated.source, translated.destination) = self.outside(hit, ip)?;
        match self.route_connection(ports, port, &translated, hit)? {
            Action::Forward { forward, .. } => Ok(Some(Action::ForwardError(forward.of_connection(hit)))),
            Action::Resolve { next_hop } => Ok(Some(Action::Resolve { next_hop })),
            Action::ForwardError(_)
            | Action::Hold
            | Action::Flood(_)
            | Action::AnswerArp { .. }
            | Action::AnswerEcho { .. } => Err(DropReason::NoNeighbor.into()),
        }
    }

    /// The quoted packet, and the connection it belongs to, with the way that the error goes.
    fn quoted_connection(&self, ethernet: &[u8], ip: &Ipv4) -> Option<(Quote, Hit)> {
        let quote = Quote::read(ethernet, ip)?;
        let packet = self.shared.connections.lookup_embedded(&quote.key())?;
        Some((quote, Hit { id: packet.id, direction: packet.direction.reversed() }))
    }

    /// Whether an error is about a packet of a connection that is not translated.
    pub(crate) fn is_about_plain(&self, frame: &Frame, ip: &Ipv4) -> bool {
        let Some((quote, hit)) = self.quoted_connection(frame.ethernet(), ip) else { return false };
        self.is_plain(hit) && check(&quote, ip, frame.ethernet()).is_ok()
    }

    pub(super) fn is_plain(&self, hit: Hit) -> bool {
        self.shared.connections.kind(hit.id).is_some_and(|kind| kind.is_plain)
    }

    /// From whom an error is, and to whom it goes, as the one sees it who gets it.
    fn outside(&self, hit: Hit, ip: &Ipv4) -> Verdict<(Ipv4Addr, Ipv4Addr)> {
        let from = self.tuple(hit.id, hit.direction)?;
        let to = self.tuple(hit.id, hit.direction.reversed())?.reversed();
        Ok((if to.source == from.source { ip.source } else { to.source }, to.destination))
    }

    fn tuple(&self, id: ConnectionId, direction: Direction) -> Verdict<Tuple> {
        self.shared.connections.tuple(id, direction).ok_or(DropReason::NoConnection)
    }
}

impl Switch {
    /// Translates the error in the frame; says how it is forwarded then.
    pub(crate) fn translate_error(
        &self,
        forward: Forward,
        frame: &mut Frame,
        received: &mut Received,
    ) -> Verdict<Forward> {
        let (Some(hit), Body::Ipv4(ip)) = (forward.connection(), &mut received.packet.body) else {
            return Err(DropReason::NoConnection);
        };
        let (source, destination) = self.slow_path.outside(hit, ip)?;
        let quoted = self.slow_path.tuple(hit.id, hit.direction.reversed())?;
        let ethernet = frame.ethernet_mut();
        let quote = Quote::read(ethernet, ip).ok_or(DropReason::IcmpErrorInvalid)?;
        quote.rewrite(ethernet, quoted);
        if let Some(header) = Ipv4Header::in_frame(ethernet) {
            header.readdress(source, destination);
        }
        (ip.source, ip.destination) = (source, destination);
        if let Some(message) = ethernet.get_mut(ip.l4_offset()..ip.end()) {
            icmp::store_checksum(message);
        }
        Ok(forward.of_no_connection())
    }
}

/// Whether the error may be believed: nobody but who sent the quoted packet is told about it.
fn check(quote: &Quote, ip: &Ipv4, ethernet: &[u8]) -> Verdict {
    let message = ethernet.get(ip.l4_offset()..ip.end()).unwrap_or_default();
    let is_for_sender = quote.key().tuple().source == ip.destination;
    // Routers quote 576 bytes at most, so there is no reason for fragments.
    let is_whole = ip.fragment == Fragment::Whole;
    if is_whole && is_for_sender && quote.is_intact && checksum::is_valid(message) {
        Ok(())
    } else {
        Err(DropReason::IcmpErrorInvalid)
    }
}
