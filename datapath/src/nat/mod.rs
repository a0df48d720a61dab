//! Translation: which connection a packet belongs to, and what it becomes.
//!
//! ```text
//!  packet ─▶ a connection? ── yes ──▶ still so? ───────────────┐
//!               │ no           (UDP whose backend is gone: no) ▼
//!               └─▶ for a service? ── yes ─▶ choose, begin ─▶ route what it becomes ─▶ flow
//!                      │ no                                      (refers to the connection)
//!                      └─▶ as it is
//! ```
//!
//! Taken for the first packet of a flow and after each change of configuration; from then on the flow refers to the connection,
//! and a packet costs a look at it ([`Switch::follow`](crate::switch::Switch)). It is asked about
//! every unicast IPv4 packet, whoever its frame is for: a pod answers a client on its own node at layer 2.
//!
//! # Who the client seems to be
//!
//! Itself, whatever its way: a pod's connection to a service address is translated where it leaves the pod, also for a
//! `NodePort` of another node, so the answer passes the same switch. Only a pod that is its own backend would answer
//! itself; it sees the gateway's address (hairpin).
//!
//! # Fragments
//!
//! A later fragment does not say its ports, so none of a datagram that would have to be translated is let
//! through. What is for a service address is told by that; an answer by its first fragment.

mod charge;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use protocol::link::PortConfig;

use crate::action::{Action, Refusal};
use crate::conntrack::{Client, Direction, Hit, Key, Kind, NewConnection, Refused, TcpInvalid, Tracked};
use crate::l3::route::Target;
use crate::ports::Ports;
use crate::rewrite::Tuple;
use crate::service::{FrontendHit, NoBackend, Origin};
use crate::slow_path::SlowPath;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Packet;
use crate::wire::ipv4::{Fragment, Ipv4};
use crate::wire::l4::{L4, TcpFlags};

/// Source ports for connections that cannot keep their client's: those that the node's kernel does not use.
const SOURCE_PORTS: RangeInclusive<u16> = 61_000..=65_535;

impl SlowPath {
    /// The connection a packet belongs to or begins; `None`: it is not translated.
    pub(crate) fn connect(
        &mut self,
        port: &PortConfig,
        packet: &Packet,
        ip: &Ipv4,
        now: Instant,
    ) -> Result<Option<Hit>, Refusal> {
        if packet.destination.is_multicast() || ip.destination.is_multicast() {
            return Ok(None);
        }
        let Some(key) = Key::of(ip) else { return self.pass_without_ports(ip) };
        if let Some(hit) = self.shared.connections.lookup(&key)
            && let Some(hit) = self.go_on(hit, &key, ip, now)?
        {
            return if ip.fragment == Fragment::Whole {
                Ok(Some(hit))
            } else {
                Err(DropReason::FragmentOfConnection.into())
            };
        }
        self.begin(port, ip, &key, now)
    }

    /// What becomes of a packet that is translated: it is routed, whether its frame was for the router or not.
    pub(crate) fn route_translated(
        &self,
        ports: &Ports,
        port: &PortConfig,
        ip: &Ipv4,
        hit: Hit,
    ) -> Result<Action, Refusal> {
        let translation = self.shared.connections.translation(hit.id, hit.direction);
        let to = translation.ok_or(DropReason::NoConnection)?.to();
        let mut translated = *ip;
        (translated.source, translated.destination) = (to.source, to.destination);
        match self.route(ports, port, &translated)? {
            Action::Forward { forward, cacheable } => {
                Ok(Action::Forward { forward: forward.of_connection(hit), cacheable })
            }
            // Nobody's address that a connection could lead to.
            Action::Flood(_) | Action::AnswerArp { .. } | Action::AnswerEcho { .. } => {
                Err(DropReason::NoNeighbor.into())
            }
        }
    }

    /// What has no ports has no connection: it may pass unless it is for a service.
    fn pass_without_ports(&self, ip: &Ipv4) -> Result<Option<Hit>, Refusal> {
        if !self.is_of_services(ip.destination) {
            return Ok(None);
        }
        Err(match ip.l4 {
            L4::Headless => DropReason::FragmentOfConnection.into(),
            L4::Tcp { .. } | L4::Udp { .. } | L4::Icmp { .. } | L4::Other => {
                Refusal::unreachable(DropReason::ServicePortUnknown)
            }
        })
    }

    /// Goes on with a connection that was found, unless it has to make room for a new one.
    fn go_on(&self, hit: Hit, key: &Key, ip: &Ipv4, now: Instant) -> Verdict<Option<Hit>> {
        let connections = &self.shared.connections;
        if !key.is_tcp() && hit.direction == Direction::Original && self.lost_its_backend(hit, key) {
            connections.remove(hit.id);
            return Ok(None);
        }
        match connections.track(hit.id, hit.direction, tcp_flags(ip), now) {
            Tracked::Forward => Ok(Some(hit)),
            Tracked::Gone => Ok(None),
            Tracked::Reopen => {
                connections.remove(hit.id);
                Ok(None)
            }
            Tracked::Invalid(reason) => Err(invalid(reason)),
        }
    }

    /// Whether the connection's server is no backend of the frontend any more. TCP goes on with it until it ends:
    /// a connection that is cut is worse than one that fails by itself.
    fn lost_its_backend(&self, hit: Hit, key: &Key) -> bool {
        let Some(frontend) = self.frontend(key) else { return true };
        let server = self.shared.connections.translation(hit.id, hit.direction);
        !server.is_some_and(|server| {
            let to = server.to();
            self.services.is_backend(frontend.service, to.destination, to.destination_port)
        })
    }

    /// Begins a connection if the packet is for a service.
    fn begin(
        &mut self,
        port: &PortConfig,
        ip: &Ipv4,
        key: &Key,
        now: Instant,
    ) -> Result<Option<Hit>, Refusal> {
        let tuple = key.tuple();
        let Some(frontend) = self.frontend(key) else {
            return if self.is_of_services(tuple.destination) {
                Err(Refusal::unreachable(DropReason::ServicePortUnknown))
            } else {
                Ok(None)
            };
        };
        if ip.fragment != Fragment::Whole {
            return Err(DropReason::FragmentOfConnection.into());
        }
        // What is no beginning belongs to a connection nobody remembers; its client is told.
        if tcp_flags(ip).is_some_and(|flags| !flags.begins()) {
            return Err(Refusal::unreachable(DropReason::NoConnection));
        }
        let client = (tuple.source, tuple.source_port);
        let chosen = self.services.choose(&frontend, client, Origin::Inside, now, &mut self.rng, &[]);
        let service = frontend.service;
        let chosen = chosen.map_err(no_backend).inspect_err(|refusal| {
            self.services.count_refused(service, refusal.reason);
        })?;
        let is_hairpin = chosen.address == tuple.source;
        let new = NewConnection {
            protocol: key.protocol(),
            original: tuple,
            server: (chosen.address, chosen.port),
            client: match &self.node {
                Some(node) if is_hairpin => Client::Address(node.gateway_ip),
                Some(_) | None => Client::Kept,
            },
            owner: port.id,
            kind: Kind { is_service: true, is_hairpin },
            backend: Some(chosen.slot),
            ports: SOURCE_PORTS,
        };
        let created = self.shared.connections.create(&new, now).map_err(refused).inspect_err(|refusal| {
            self.services.count_refused(service, refusal.reason);
        })?;
        if created.is_new() {
            self.services.count_connection(service, chosen.slot);
        }
        Ok(Some(created.hit()))
    }

    fn frontend(&self, key: &Key) -> Option<FrontendHit> {
        let Tuple { destination, destination_port, .. } = key.tuple();
        let is_nodes = self.is_node_address(destination);
        self.services.frontend(key.protocol(), destination, destination_port, is_nodes)
    }

    /// An address of a node, this one or another, where node ports are.
    fn is_node_address(&self, ip: Ipv4Addr) -> bool {
        match self.routes.lookup(ip) {
            Some(Target::Router | Target::Node) => true,
            Some(Target::Peer(id)) => self.overlay.peers.get(id).is_some_and(|peer| peer.is_node(ip)),
            Some(Target::Port(_) | Target::Connected | Target::Uplink | Target::Nowhere) | None => false,
        }
    }
}

/// Why a segment of a connection is dropped.
pub(crate) const fn invalid(reason: TcpInvalid) -> DropReason {
    match reason {
        TcpInvalid::Flags => DropReason::TcpFlagsInvalid,
        TcpInvalid::NoHandshake => DropReason::TcpNoHandshake,
    }
}

/// Flags of a TCP segment.
pub(crate) const fn tcp_flags(ip: &Ipv4) -> Option<TcpFlags> {
    match ip.l4 {
        L4::Tcp { flags, .. } => Some(flags),
        L4::Udp { .. } | L4::Icmp { .. } | L4::Headless | L4::Other => None,
    }
}

fn no_backend(why: NoBackend) -> Refusal {
    match why {
        NoBackend::None => Refusal::unreachable(DropReason::ServiceNoEndpoints),
        NoBackend::NoLocal => DropReason::ServiceNoLocalEndpoints.into(),
        NoBackend::SourceNotAllowed => DropReason::ServiceSourceRefused.into(),
    }
}

/// Silence: whoever tries again may find room.
fn refused(why: Refused) -> Refusal {
    match why {
        Refused::TableFull => DropReason::ConnectionTableFull,
        Refused::PortShare => DropReason::ConnectionShareUsed,
        Refused::PortPoolExhausted => DropReason::NatPortsExhausted,
    }
    .into()
}
