//! Translation: which connection a packet belongs to, and what it becomes.
//!
//! ```text
//!  packet ─▶ a connection? ── yes ──▶ still so? ───────────────┐
//!               │ no           (UDP whose backend is gone: no) ▼
//!               └─▶ for a service? ── yes ─▶ choose, begin ─▶ route what it becomes ─▶ flow
//!                      │ no                         ▲            (refers to the connection)
//!                      └─▶ leaves the cluster? ─────┘ (`egress`)
//!                             └─▶ no: as it is
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
//! itself; it sees the gateway's address (hairpin). The node as its own backend would not even look at what comes
//! from its own address: it sees the one that clients outside appear as to it (`outside`).
//!
//! # A backend that refuses
//!
//! A connection that nothing but a SYN has been said of is given to another backend if the first refuses it, or does not answer ([`fail_over`]).
//!
//! # Fragments
//!
//! A later fragment does not say its ports; it follows the first of its datagram ([`fragments`]).

mod egress;
mod errors;
pub(crate) mod fail_over;
pub(crate) mod fragments;
mod outside;
mod quote;

mod charge;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use protocol::PortId;
use protocol::link::{FrontendKind, PortConfig};
use protocol::object::PortKind;

use self::fragments::Fate;
use crate::action::{Action, Refusal};
use crate::conntrack::{Client, Direction, Hit, Key, Kind, NewConnection, Refused, TcpInvalid, Tracked};
use crate::frame::Frame;
use crate::l3::route::Target;
use crate::ports::Ports;
use crate::rewrite::Tuple;
use crate::service::{FrontendHit, NoBackend, Origin};
use crate::slow_path::{Node, SlowPath};
use crate::time::Instant;
use crate::verdict::DropReason;
use crate::wire::Packet;
use crate::wire::ipv4::{Fragment, Ipv4};
use crate::wire::l4::{L4, TcpFlags};

/// Source ports for connections that cannot keep their client's, where there is no uplink to say which: those that the node's kernel does
/// not use.
const SOURCE_PORTS: RangeInclusive<u16> = 61_000..=65_535;

impl SlowPath {
    /// What becomes of an IPv4 packet, which is translated, or not.
    pub(crate) fn translate_or_switch(
        &mut self,
        ports: &Ports,
        port: &PortConfig,
        frame: &Frame,
        packet: &Packet,
        ip: &Ipv4,
        now: Instant,
    ) -> Result<Action, Refusal> {
        if let Some(action) = self.forward_error(ports, port, packet, ip, frame, now)? {
            return Ok(action);
        }
        let connection = match ip.fragment {
            Fragment::Whole | Fragment::First => self.connect(port, packet, ip, frame, now),
            Fragment::Later => match self.fate(port, packet, ip) {
                Some(Fate::AsItIs) => Ok(None),
                Some(Fate::Connection(hit)) => Ok(Some(hit)),
                Some(Fate::Refused(reason)) => return Err(reason.into()),
                None => return Ok(Action::Hold),
            },
        };
        let way = connection.and_then(|connection| match connection {
            Some(hit) if !self.is_plain(hit) => self.route_translated(ports, port, ip, hit),
            Some(_) | None => self.switch(ports, port, packet, ip),
        });
        let hit = connection.unwrap_or_default();
        let policed = way.map(|way| self.police(ports, port, (frame, ip), hit, way, now));
        if ip.fragment == Fragment::First {
            // Where it goes is found out for each of them.
            let fate = match policed {
                Ok(Ok(action)) => Ok(action.connection().or(hit.filter(|hit| !self.is_plain(*hit)))),
                Ok(Err(refusal)) => Err(refusal),
                Err(_) => connection,
            };
            self.fragments.begin(port.id, ip, fate, now);
        }
        policed?
    }

    /// What was decided about a later fragment's datagram; `None`: it is to wait for that.
    fn fate(&self, port: &PortConfig, packet: &Packet, ip: &Ipv4) -> Option<Fate> {
        let is_group = packet.destination.is_multicast() || ip.destination.is_multicast();
        let is_nothing_translated =
            || self.shared.connections.is_empty() && !self.is_of_services(ip.destination);
        if is_group {
            return Some(Fate::AsItIs);
        }
        self.fragments.fate(port.id, ip).or_else(|| is_nothing_translated().then_some(Fate::AsItIs))
    }

    /// The connection a packet belongs to or begins; `None`: it is not translated.
    fn connect(
        &mut self,
        port: &PortConfig,
        packet: &Packet,
        ip: &Ipv4,
        frame: &Frame,
        now: Instant,
    ) -> Result<Option<Hit>, Refusal> {
        if packet.destination.is_multicast() || ip.destination.is_multicast() {
            return Ok(None);
        }
        let Some(key) = Key::of(ip) else {
            return match Key::with_ports(ip)
                .and_then(|key| Some((key, self.shared.connections.lookup(&key)?)))
            {
                Some((key, hit)) => self.go_on(hit, &key, ip, frame, now),
                None => self.pass_without_ports(ip),
            };
        };
        if let Some(hit) = self.shared.connections.lookup(&key)
            && let Some(hit) = self.go_on(hit, &key, ip, frame, now)?
        {
            return Ok(Some(hit));
        }
        if let Some(frontend) = self.frontend(&key).filter(|frontend| may_use(port, frontend)) {
            return self.begin(port, (ip, frame), &key, &frontend, Origin::Inside, now).map(Some);
        }
        if self.is_of_services(ip.destination) {
            return Err(Refusal::unreachable(DropReason::ServicePortUnknown));
        }
        if self.leaves(port, packet, &key) { self.begin_egress(port, ip, &key, now) } else { Ok(None) }
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
        match self.route_connection(ports, port, &translated, hit)? {
            Action::Forward { forward, cacheable } => {
                Ok(Action::Forward { forward: forward.of_connection(hit), cacheable })
            }
            // Comes here again when the next hop is known.
            Action::Resolve { next_hop } => Ok(Action::Resolve { next_hop }),
            // Nobody's address that a connection could lead to.
            Action::ForwardError(_)
            | Action::Hold
            | Action::Flood(_)
            | Action::AnswerArp { .. }
            | Action::AnswerEcho { .. } => Err(DropReason::NoNeighbor.into()),
        }
    }

    /// Where a connection's packet goes, given what it becomes.
    fn route_connection(
        &self,
        ports: &Ports,
        port: &PortConfig,
        translated: &Ipv4,
        hit: Hit,
    ) -> Result<Action, Refusal> {
        let leads_outside =
            self.answers_outside(hit) || self.routes.lookup(translated.destination) == Some(Target::Uplink);
        if leads_outside {
            self.route_connection_outside(port, translated, hit.direction)
        } else {
            self.route(ports, port, translated)
        }
    }

    /// What has no ports has no connection: it may pass unless it is for a service.
    fn pass_without_ports(&self, ip: &Ipv4) -> Result<Option<Hit>, Refusal> {
        if !self.is_of_services(ip.destination) {
            return Ok(None);
        }
        Err(Refusal::unreachable(DropReason::ServicePortUnknown))
    }

    /// Goes on with a connection that was found, unless it has to make room for a new one.
    fn go_on(
        &mut self,
        hit: Hit,
        key: &Key,
        ip: &Ipv4,
        frame: &Frame,
        now: Instant,
    ) -> Result<Option<Hit>, Refusal> {
        let connections = &self.shared.connections;
        let may_leave = !key.is_tcp()
            && hit.direction == Direction::Original
            && connections.kind(hit.id).is_some_and(|kind| kind.is_service);
        if may_leave && self.lost_its_backend(hit, key) || self.has_lost_an_end(hit.id) {
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
            Tracked::Refused => self.on_refused(hit, frame, ip, now),
            Tracked::Repeated => Ok(Some(self.on_repeated(hit, frame, ip, now))),
            Tracked::TooLate => Err(Refusal::unreachable(DropReason::AnsweredTooLate)),
            Tracked::Invalid(reason) => Err(invalid(reason).into()),
            Tracked::Filtered => Err(DropReason::FilteredByMapping.into()),
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

    /// Begins a connection to a service.
    fn begin(
        &mut self,
        port: &PortConfig,
        (ip, frame): (&Ipv4, &Frame),
        key: &Key,
        frontend: &FrontendHit,
        origin: Origin,
        now: Instant,
    ) -> Result<Hit, Refusal> {
        // What is no beginning belongs to a connection nobody remembers; its client is told.
        if tcp_flags(ip).is_some_and(|flags| !flags.begins()) {
            return Err(Refusal::unreachable(DropReason::NoConnection));
        }
        let offered = self.offer(port.id, key, frontend, origin, &[], now);
        let begun = offered.and_then(|new| {
            let created = self.shared.connections.create(&new, now).map_err(refused)?;
            Ok((created, new.backend))
        });
        let (created, backend) = begun.inspect_err(|refusal| {
            self.services.count_refused(frontend.service, refusal.reason);
        })?;
        if let (true, Some(backend)) = (created.is_new(), backend) {
            self.services.count_connection(frontend.service, backend);
            self.keep_opening(created.hit().id, port, origin, frame, ip, now);
        }
        Ok(created.hit())
    }

    /// The connection of a client with a backend of the service: one that is not in `exclude`.
    fn offer(
        &mut self,
        owner: PortId,
        key: &Key,
        frontend: &FrontendHit,
        origin: Origin,
        exclude: &[u32],
        now: Instant,
    ) -> Result<NewConnection, Refusal> {
        let original = key.tuple();
        let client = (original.source, original.source_port);
        let chosen = self.services.choose(frontend, client, origin, now, &mut self.rng, exclude);
        let chosen = chosen.map_err(no_backend)?;
        let is_hairpin = origin == Origin::Inside && chosen.address == original.source;
        let client = match (origin, &self.node) {
            (Origin::Outside, _) => self.client_from_outside(chosen.address)?,
            (Origin::Inside, Some(node)) if is_hairpin => Client::Address(node.gateway_ip),
            (Origin::Inside, Some(node)) => self.client_of_backend(node, key, chosen.address, now),
            (Origin::Inside, None) => Client::Kept,
        };
        Ok(NewConnection {
            protocol: key.protocol(),
            original,
            server: (chosen.address, chosen.port),
            client,
            owner,
            kind: Kind { is_service: true, is_hairpin, ..Kind::default() },
            backend: Some(chosen.slot),
            ports: self.source_ports(),
        })
    }

    /// Whom a client inside seems to be: itself, but to a backend outside the cluster, and the node to itself.
    fn client_of_backend(&self, node: &Node, key: &Key, backend: Ipv4Addr, now: Instant) -> Client {
        let Tuple { source, source_port, .. } = key.tuple();
        let is_nodes = |address| matches!(self.routes.lookup(address), Some(Target::Router | Target::Node));
        match (self.routes.lookup(backend), &node.uplink, node.service_cidr) {
            (Some(Target::Uplink), Some(uplink), _) => {
                Client::Mapped(self.egress_address(uplink, key.protocol(), (source, source_port), now))
            }
            (Some(Target::Router | Target::Node), _, Some(range)) if is_nodes(source) => {
                Client::Masqueraded(range.network())
            }
            (_, _, _) => Client::Kept,
        }
    }

    /// Ports that the switch alone makes connections from.
    pub(crate) fn source_ports(&self) -> RangeInclusive<u16> {
        let uplink = self.node.as_ref().and_then(|node| node.uplink.as_ref());
        uplink.map_or(SOURCE_PORTS, |uplink| uplink.source_ports.clone())
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

/// What is at the node's 127.0.0.1 is for the node's own programs.
const fn may_use(port: &PortConfig, frontend: &FrontendHit) -> bool {
    !matches!(frontend.kind, FrontendKind::HostLocal) || matches!(port.kind, PortKind::Gateway)
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
        L4::Udp { .. } | L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other => None,
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
pub(crate) fn refused(why: Refused) -> Refusal {
    match why {
        Refused::TableFull => DropReason::ConnectionTableFull,
        Refused::PortShare => DropReason::ConnectionShareUsed,
        Refused::PortPoolExhausted => DropReason::NatPortsExhausted,
        Refused::MappingShare => DropReason::NatQuotaUsed,
        Refused::NoMapping => DropReason::NoMapping,
    }
    .into()
}
