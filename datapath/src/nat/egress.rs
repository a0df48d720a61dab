//! Pods and the outside: by mappings, each of which makes a pod's address and port appear as one of the node's (RFC 4787).
//!
//! ```text
//!  pod ─▶ mapping of its address and port? ── no ─▶ a free port of its egress address
//!               │ yes                                       │
//!               └───────────────▶ connection ◀──────────────┘        (holds the mapping)
//!  outside ─▶ connection? ── no ─▶ mapping to this port? ── yes, and it lets everybody in ─▶ connection
//! ```
//!
//! A pod that sends to a port some pod of this node is mapped to is turned round here (RFC 4787 REQ-9): it appears as its own mapping,
//! as it would have done if the packet had gone out and come back. Where mappings do not let everybody in, such a connection is made,
//! but waits for the other pod to send as well, as both would have to before a NAT of each their own.
//!
//! Whatever is asked for in vain from outside is dropped in silence (RFC 5382 REQ-4 a): a port that nobody is mapped to must look like
//! one that lets nobody in.
//!
//! `docs/nat.md` lists the requirements of the RFCs, and how each is met.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use protocol::link::{Filtering, PortConfig, UplinkConfig};
use protocol::object::PortKind;

use super::tcp_flags;
use crate::action::Refusal;
use crate::conntrack::{Client, ConnectionId, End, Hit, Key, Kind, Mapped, NewConnection, Refused};
use crate::l3::route::Target;
use crate::rewrite::Tuple;
use crate::slow_path::SlowPath;
use crate::time::Instant;
use crate::verdict::DropReason;
use crate::wire::Packet;
use crate::wire::icmp::{self, IcmpError};
use crate::wire::ipv4::Ipv4;
use crate::wire::l4::L4;

/// Of an address that is the switch's alone, all ports are: also those below 1024, for pods that send from such
/// (RFC 4787 REQ-3 a).
const ALL_PORTS: RangeInclusive<u16> = 1..=u16::MAX;

impl SlowPath {
    /// Whether a packet, for no service, is a pod's that the router is to send out of the cluster; or back in, by the mapping of another pod.
    pub(super) fn leaves(&self, port: &PortConfig, packet: &Packet, key: &Key) -> bool {
        let is_for_router = || self.node.as_ref().is_some_and(|node| packet.destination == node.router_mac);
        let leads_outside = || self.routes.lookup(key.tuple().destination) == Some(Target::Uplink);
        port.kind == PortKind::Pod
            && self.uplink.is_attached()
            && is_for_router()
            && (self.is_external(key) || leads_outside())
    }

    /// Whether a packet is for an address and port that only pods are mapped to.
    ///
    /// The node's own address is routed to the node, but for the ports of it that are the switch's.
    pub(super) fn is_external(&self, key: &Key) -> bool {
        let Tuple { destination, destination_port, .. } = key.tuple();
        self.uplink_config().is_some_and(|uplink| ports_of(uplink, destination).contains(&destination_port))
    }

    /// Begins the connection of a pod with the outside, of which `ip` is the first packet: it has none, and [`leaves`](Self::leaves).
    /// `None`: it leaves with the pod's address.
    pub(super) fn begin_egress(
        &mut self,
        port: &PortConfig,
        ip: &Ipv4,
        key: &Key,
        now: Instant,
    ) -> Result<Option<Hit>, Refusal> {
        let Some(uplink) = self.uplink_config() else { return Ok(None) };
        let tuple = key.tuple();
        if uplink.not_translated.iter().any(|range| range.contains(&tuple.destination)) {
            return Ok(None);
        }
        self.uplink.check_group(tuple.destination)?;
        if !self.in_pod_cidr(tuple.source) {
            // Behind a port without port security; it is no pod's, so nothing it could appear as.
            return Err(DropReason::SpoofedIp.into());
        }
        if !begins(ip) {
            // Who sends in the middle of a TCP connection is told, as with services.
            return Err(match ip.l4 {
                L4::Tcp { .. } => Refusal::unreachable(DropReason::NoConnection),
                L4::Udp { .. } | L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other => {
                    DropReason::NoConnection.into()
                }
            });
        }
        let inside = (tuple.source, tuple.source_port);
        let address = self.egress_address(uplink, key.protocol(), inside, now);
        let ports = ports_of(uplink, address);
        let (server, client, is_hairpin) = match self.turned_round(uplink, key, now)? {
            Some((server, is_let_in)) => (server, Client::TurnedRound { address, is_let_in }, true),
            None => ((tuple.destination, tuple.destination_port), Client::Mapped(address), false),
        };
        if is_hairpin && let Some(mapped) = self.shared.connections.mapping_of(key.protocol(), inside, now) {
            self.clear_way(&Key::between(key.protocol(), server, mapped.outside));
        }
        let new = NewConnection {
            protocol: key.protocol(),
            original: tuple,
            server,
            client,
            owner: port.id,
            kind: Kind { is_hairpin, ..Kind::default() },
            backend: None,
            ports,
        };
        let created = self.shared.connections.create(&new, now).map_err(exhausted)?;
        match client {
            Client::TurnedRound { is_let_in: false, .. } => Err(DropReason::FilteredByMapping.into()),
            _ => Ok(Some(created.hit())),
        }
    }

    /// Begins the connection of an outsider with a pod, of which `ip` is the first packet: it came by the uplink `port`, for an address and
    /// port that [`is_external`](Self::is_external), and has no connection.
    pub(super) fn admit_by_mapping(
        &mut self,
        port: &PortConfig,
        ip: &Ipv4,
        key: &Key,
        now: Instant,
    ) -> Result<Hit, Refusal> {
        let uplink = self.uplink_config().ok_or(DropReason::NoMapping)?;
        let tuple = key.tuple();
        let mapped = self.mapping_to(key, now).ok_or(DropReason::NoMapping)?;
        if uplink.filtering != Filtering::EndpointIndependent {
            return Err(DropReason::FilteredByMapping.into());
        }
        if !begins(ip) {
            return Err(DropReason::NoConnection.into());
        }
        self.clear_way(&Key::between(key.protocol(), mapped.inside, (tuple.source, tuple.source_port)));
        let new = NewConnection {
            protocol: key.protocol(),
            original: tuple,
            server: mapped.inside,
            client: Client::Admitted,
            // Outsiders use up the uplink's share, not the pod's.
            owner: port.id,
            kind: Kind::default(),
            backend: None,
            ports: RangeInclusive::new(1, 0),
        };
        let created = self.shared.connections.create(&new, now).map_err(super::refused)?;
        Ok(created.hit())
    }

    /// Whether an end of the connection appears as an address and port that are the switch's no more, so that nothing comes of it.
    pub(super) fn has_lost_an_end(&self, id: ConnectionId) -> bool {
        self.shared.connections.outsides(id).into_iter().flatten().any(|outside| self.has_lost(outside))
    }

    fn has_lost(&self, (address, port): End) -> bool {
        !self.uplink_config().is_some_and(|uplink| ports_of(uplink, address).contains(&port))
    }

    /// A connection that nothing comes of any more is not in the way of one whose server is to `answer` as its client sent: no packet of
    /// its own may ever come to take it out.
    fn clear_way(&self, answer: &Key) {
        if let Some(hit) = self.shared.connections.lookup(answer)
            && self.has_lost_an_end(hit.id)
        {
            self.shared.connections.remove(hit.id);
        }
    }

    /// The pod behind the mapping that a pod of this node sends to, and whether that lets it in.
    fn turned_round(
        &self,
        uplink: &UplinkConfig,
        key: &Key,
        now: Instant,
    ) -> Result<Option<(End, bool)>, DropReason> {
        let tuple = key.tuple();
        if !self.is_external(key) {
            return Ok(None);
        }
        let mapped = self.mapping_to(key, now).ok_or(DropReason::NoMapping)?;
        if mapped.inside == (tuple.source, tuple.source_port) {
            // Its answer would be itself.
            return Err(DropReason::Hairpin);
        }
        Ok(Some((mapped.inside, uplink.filtering == Filtering::EndpointIndependent)))
    }

    fn mapping_to(&self, key: &Key, now: Instant) -> Option<Mapped> {
        let Tuple { destination, destination_port, .. } = key.tuple();
        let mapped =
            self.shared.connections.mapping_to(key.protocol(), (destination, destination_port), now)?;
        mapped.is_open.then_some(mapped)
    }

    /// What a pod's address and port appear as: as ever, if they have a mapping to an address that still is the switch's.
    pub(super) fn egress_address(
        &self,
        uplink: &UplinkConfig,
        protocol: u8,
        inside: End,
        now: Instant,
    ) -> Ipv4Addr {
        let connections = &self.shared.connections;
        if let Some(mapped) = connections.mapping_of(protocol, inside, now)
            && self.has_lost(mapped.outside)
        {
            connections.remove(mapped.id);
        }
        let rule = uplink.egress.iter().find(|rule| rule.sources.iter().any(|net| net.contains(&inside.0)));
        rule.map_or(uplink.address, |rule| rule.address)
    }

    fn uplink_config(&self) -> Option<&UplinkConfig> {
        self.node.as_ref()?.uplink.as_ref()
    }
}

/// Ports of an address that are the switch's; none if it is not one of the uplink's.
fn ports_of(uplink: &UplinkConfig, address: Ipv4Addr) -> RangeInclusive<u16> {
    if address == uplink.address {
        uplink.source_ports.clone()
    } else if uplink.egress.iter().any(|rule| rule.address == address) {
        ALL_PORTS
    } else {
        RangeInclusive::new(1, 0)
    }
}

/// Whether a packet may be the first of a connection: neither the middle of TCP's, nor the answer to a query.
fn begins(ip: &Ipv4) -> bool {
    tcp_flags(ip).is_none_or(|flags| flags.begins())
        && !matches!(ip.l4, L4::Icmp { kind: icmp::ECHO_REPLY, .. })
}

/// The sender is told what it could not guess (RFC 5508 REQ-8, RFC 6888 REQ-11).
fn exhausted(why: Refused) -> Refusal {
    let refusal = super::refused(why);
    match why {
        Refused::TableFull | Refused::PortShare | Refused::PortPoolExhausted | Refused::MappingShare => {
            Refusal::with_error(refusal.reason, IcmpError::AdminProhibited)
        }
        Refused::NoMapping => refusal,
    }
}
