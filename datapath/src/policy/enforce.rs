//! The decision about a packet that has a way: whether its flow may be.

use std::net::Ipv4Addr;

use etherparse::ip_number;
use protocol::PortId;
use protocol::link::PortConfig;
use protocol::link::policy::DeniedFlow;
use protocol::object::{PolicyDirection, PortKind};

use super::pickup::{Began, began};
use super::ports::{Answer, Asked, Gate, PolicyFlow};
use crate::action::{Action, Refusal};
use crate::conntrack::{Client, Direction, Hit, Key, Kind, NewConnection, State};
use crate::frame::Frame;
use crate::l3::route::Target;
use crate::nat::tcp_flags;
use crate::ports::Ports;
use crate::rewrite::Tuple;
use crate::slow_path::SlowPath;
use crate::time::Instant;
use crate::verdict::DropReason;
use crate::wire::icmp;
use crate::wire::ipv4::{Fragment, Ipv4};
use crate::wire::l4::L4;

/// A packet, and where it goes.
#[derive(Debug, Clone, Copy)]
struct Packet<'a> {
    ip: &'a Ipv4,
    from: PortId,
    /// `None`: to several.
    to: Option<PortId>,
    /// Of no connection, or the first of one: what allows it is counted. Others are only asked about again.
    is_first: bool,
    now: Instant,
}

/// Both ends of a flow.
#[derive(Debug, Clone)]
struct Ends {
    client: Gate,
    server: Gate,
}

/// What a packet of a connection is one of.
#[derive(Debug, Clone)]
struct Of {
    hit: Hit,
    kind: Kind,
    flow: PolicyFlow,
    /// Who is asked instead of the egress port's pod. The server sees this node as its client, by a port of the switch's own: its node asks
    /// nobody, so it is asked for here.
    server: Option<Gate>,
}

impl SlowPath {
    /// What becomes of `action` when both ends of the packet's flow were asked. `hit`: the packet's connection.
    pub(crate) fn police(
        &mut self,
        ports: &Ports,
        port: &PortConfig,
        (frame, ip): (&Frame, &Ipv4),
        hit: Option<Hit>,
        action: Action,
        now: Instant,
    ) -> Result<Action, Refusal> {
        if !self.policies.is_enforced() {
            return Ok(action);
        }
        let to = match action {
            Action::Forward { forward, .. } => Some(forward.egress),
            Action::Resolve { .. } => ports.uplink(),
            Action::AnswerEcho { .. } => ports.gateway(),
            Action::Flood(_) => None,
            Action::ForwardError(_) | Action::Hold | Action::AnswerArp { .. } => return Ok(action),
        };
        let connections = &self.shared.connections;
        let is_first = hit.is_none_or(|hit| {
            hit.direction == Direction::Original && connections.created(hit.id) == Some(now)
        });
        let packet = Packet { ip, from: port.id, to, is_first, now };
        match hit.and_then(|hit| self.of(hit)) {
            Some(of) => self.police_connection(&packet, of, action),
            None => {
                self.check_own_port(port, ip, &action)?;
                self.police_unknown(&packet, port, frame, action)
            }
        }
    }

    /// A copy of a packet for everybody: whether the pod at `to` gets it.
    pub(crate) fn may_get_copy(&self, to: PortId, ip: &Ipv4) -> bool {
        if !self.policies.is_enforced() {
            return true;
        }
        let flow = flow_of(ip);
        let is_own_node = self.is_own_node(flow.tuple.source);
        let answer = self.policies.ask(self.policies.gate(to), PolicyDirection::Ingress, &flow, is_own_node);
        if let Answer::Rule(rule) = answer
            && !rule.allows()
        {
            self.shared.policies.notes.denied(rule.policy);
        }
        answer.denial().is_none()
    }

    fn of(&self, hit: Hit) -> Option<Of> {
        let connections = &self.shared.connections;
        let kind = connections.kind(hit.id)?;
        let key = connections.key(hit.id, Direction::Original)?;
        let (original, becomes) = (key.tuple(), connections.translation(hit.id, Direction::Original)?.to());
        let Tuple { destination, destination_port, .. } = becomes;
        let flow = PolicyFlow {
            protocol: key.protocol(),
            tuple: Tuple { destination, destination_port, ..original },
        };
        let is_masqueraded = self.is_own_gateway(becomes.source, becomes.source_port);
        let server = if is_masqueraded { self.gate_at_peer(destination) } else { None };
        Some(Of { hit, kind, flow, server })
    }

    /// Who is asked here for what has an address of another node: nobody if that node decides itself. A pod of which nothing is known (yet)
    /// is closed: its node would take this node's word for it.
    fn gate_at_peer(&self, address: Ipv4Addr) -> Option<Gate> {
        let Some(Target::Peer(id)) = self.routes.lookup(address) else { return None };
        let peer = self.overlay.peers.get(id).filter(|peer| peer.config.shares_policies)?;
        Some(if peer.is_node(address) { Gate::Open } else { self.policies.gate_elsewhere(address) })
    }

    /// A packet of a connection: whether that may still be.
    fn police_connection(&mut self, packet: &Packet<'_>, of: Of, action: Action) -> Result<Action, Refusal> {
        let mut ends = self.ends(packet, of.hit.direction);
        if let Some(server) = of.server {
            ends.server = server;
        }
        let is_answer = of.hit.direction == Direction::Reply;
        if of.kind.is_plain && is_answer && begins(packet.ip) && !self.is_opening(of.hit) {
            // Nobody may begin what goes the other way by an answer's right.
            let new = flow_of(packet.ip);
            let packet = &Packet { is_first: true, ..*packet };
            self.ask_both(packet, &Ends { client: ends.server, server: ends.client }, &new)?;
            self.shared.connections.remove(of.hit.id);
            return self.remember(packet, packet.from, new, Direction::Original, false, action);
        }
        if of.kind.is_plain && !self.concerns(&ends, &of.flow) {
            // Nobody has rules any more.
            self.shared.connections.remove(of.hit.id);
            return Ok(action);
        }
        let asked = self.ask_both(packet, &ends, &of.flow).and_then(|()| {
            if of.kind.is_guessed {
                let reversed = of.flow.reversed();
                self.ask_both(packet, &Ends { client: ends.server, server: ends.client }, &reversed)?;
            }
            Ok(())
        });
        if let Err(refusal) = asked {
            // Where nothing is known (yet), nobody has said that it may not go on.
            if refusal.reason != DropReason::PolicyNotReady {
                self.shared.connections.remove(of.hit.id);
            }
            return Err(refusal);
        }
        Ok(if of.kind.is_plain { action.of_plain(of.hit) } else { action })
    }

    /// A packet of no connection.
    fn police_unknown(
        &mut self,
        packet: &Packet<'_>,
        port: &PortConfig,
        frame: &Frame,
        action: Action,
    ) -> Result<Action, Refusal> {
        let ends = self.ends(packet, Direction::Original);
        let flow = flow_of(packet.ip);
        if !self.concerns(&ends, &flow) {
            return Ok(action);
        }
        if packet.ip.fragment == Fragment::Later {
            // Its first was let pass, or it waits for it.
            return Ok(if self.fragments.fate(port.id, packet.ip).is_some() { action } else { Action::Hold });
        }
        if is_error(packet.ip) && self.is_about_plain(frame, packet.ip) {
            return Ok(action);
        }
        let can_be_remembered =
            Key::with_ports(packet.ip).is_some() && !is_answer(packet.ip) && packet.to.is_some();
        if !can_be_remembered || is_answered_here(&action) {
            return self.ask_both(packet, &ends, &flow).map(|()| action);
        }
        let is_middle = tcp_flags(packet.ip).is_some_and(|flags| !flags.opens());
        let owner = if port.kind == PortKind::Tunnel { packet.to.unwrap_or(port.id) } else { port.id };
        if !is_middle {
            self.ask_both(packet, &ends, &flow)?;
            return self.remember(packet, owner, flow, Direction::Original, false, action);
        }
        let (reversed, back) =
            (flow.reversed(), Ends { client: ends.server.clone(), server: ends.client.clone() });
        match began(&flow.tuple) {
            Began::Sender => {
                self.ask_both(packet, &ends, &flow)?;
                self.remember(packet, owner, flow, Direction::Original, false, action)
            }
            Began::Receiver => {
                self.ask_both(packet, &back, &reversed)?;
                self.remember(packet, owner, reversed, Direction::Reply, false, action)
            }
            Began::Unknown => {
                self.ask_both(packet, &ends, &flow)?;
                self.ask_both(packet, &back, &reversed)?;
                self.remember(packet, owner, flow, Direction::Original, true, action)
            }
        }
    }

    /// Makes the connection whose packets, and their answers, may pass.
    fn remember(
        &mut self,
        packet: &Packet<'_>,
        owner: PortId,
        flow: PolicyFlow,
        direction: Direction,
        is_guessed: bool,
        action: Action,
    ) -> Result<Action, Refusal> {
        let is_picked_up = tcp_flags(packet.ip).is_some_and(|flags| !flags.begins());
        let new = NewConnection {
            protocol: flow.protocol,
            original: flow.tuple,
            server: (flow.tuple.destination, flow.tuple.destination_port),
            client: Client::Plain { is_picked_up },
            owner,
            kind: Kind { is_plain: true, is_guessed, ..Kind::default() },
            backend: None,
            ports: std::ops::RangeInclusive::new(1, 0),
        };
        let created = self.shared.connections.create(&new, packet.now).map_err(crate::nat::refused)?;
        let hit = created.hit();
        let hit = if created.is_new() { Hit { direction, ..hit } } else { hit };
        Ok(action.of_plain(hit))
    }

    fn ends(&self, packet: &Packet<'_>, direction: Direction) -> Ends {
        let from = self.policies.gate(packet.from).clone();
        let to = packet.to.map_or(Gate::Open, |to| self.policies.gate(to).clone());
        match direction {
            Direction::Original => Ends { client: from, server: to },
            Direction::Reply => Ends { client: to, server: from },
        }
    }

    fn concerns(&self, ends: &Ends, flow: &PolicyFlow) -> bool {
        let Tuple { source, destination, .. } = flow.tuple;
        self.policies.concerns(&ends.client, destination, self.is_own_node(destination))
            || self.policies.concerns(&ends.server, source, self.is_own_node(source))
    }

    /// Asks the client's egress and the server's ingress.
    fn ask_both(&mut self, packet: &Packet<'_>, ends: &Ends, flow: &PolicyFlow) -> Result<(), Refusal> {
        let Tuple { source, destination, .. } = flow.tuple;
        let is_decided = self.is_decided_elsewhere(flow);
        for (gate, direction, peer) in [
            (&ends.client, PolicyDirection::Egress, destination),
            (&ends.server, PolicyDirection::Ingress, source),
        ] {
            let answer = self.policies.ask(gate, direction, flow, self.is_own_node(peer));
            let is_told_elsewhere = direction == PolicyDirection::Ingress && is_decided;
            if is_told_elsewhere && answer != Answer::NotReady {
                continue;
            }
            if let Some(told) = &mut self.policies.told {
                told.push(Asked { direction, answer });
            }
            if let Some(by) = answer.denial() {
                return Err(self.deny(packet, flow, direction, by).into());
            }
            if let Answer::Rule(rule) = answer
                && packet.is_first
                && self.policies.told.is_none()
            {
                self.shared.policies.notes.allowed(rule.policy);
            }
        }
        Ok(())
    }

    #[cold]
    fn deny(
        &mut self,
        packet: &Packet<'_>,
        flow: &PolicyFlow,
        direction: PolicyDirection,
        by: Option<protocol::link::policy::DeniedBy>,
    ) -> DropReason {
        let reason = match (direction, by) {
            (_, None) => DropReason::PolicyNotReady,
            (PolicyDirection::Egress, Some(_)) => DropReason::PolicyDeniedEgress,
            (PolicyDirection::Ingress, Some(_)) => DropReason::PolicyDeniedIngress,
        };
        if self.policies.told.is_some() {
            return reason;
        }
        let notes = &self.shared.policies.notes;
        if let Some(by) = by {
            notes.denied(by.policy);
        }
        if !self.policies.may_note(packet.now) {
            notes.not_noted();
            return reason;
        }
        let Tuple { source, destination, source_port, destination_port } = flow.tuple;
        notes.note(DeniedFlow {
            number: 0,
            at_nanos: packet.now.as_nanos(),
            source,
            destination,
            protocol: flow.protocol,
            source_port,
            destination_port,
            direction,
            by,
            ingress: packet.from,
            packets: 1,
        });
        reason
    }

    /// Whether nothing but SYNs has been said of the connection.
    fn is_opening(&self, hit: Hit) -> bool {
        matches!(self.shared.connections.state(hit.id), Some(State::SynSent | State::SynSentBoth))
    }

    /// The pod behind the ingress node of a service was asked for there, and sees that node's gateway address, with a port that nobody but
    /// its switch sends from. A node that does not know this one's pods has asked nobody.
    fn is_decided_elsewhere(&self, flow: &PolicyFlow) -> bool {
        let Tuple { source, source_port, .. } = flow.tuple;
        let is_translated =
            matches!(flow.protocol, protocol if protocol == ip_number::TCP.0 || protocol == ip_number::UDP.0);
        let Some(Target::Peer(id)) = self.routes.lookup(source) else { return false };
        is_translated
            && self.source_ports().contains(&source_port)
            && self
                .overlay
                .peers
                .get(id)
                .is_some_and(|peer| peer.config.shares_policies && peer.is_gateway(source))
    }

    /// The same, from here.
    fn is_own_gateway(&self, source: Ipv4Addr, source_port: u16) -> bool {
        self.node.as_ref().is_some_and(|node| node.gateway_ip == source)
            && self.source_ports().contains(&source_port)
    }

    /// A program of this node must not begin what another node would take for decided here.
    fn check_own_port(&self, port: &PortConfig, ip: &Ipv4, action: &Action) -> Result<(), DropReason> {
        let Action::Forward { forward, .. } = action else { return Ok(()) };
        let source_port = match ip.l4 {
            // What answers is of no use to who has not begun.
            L4::Tcp { source_port, flags, .. } if flags.begins() => source_port,
            L4::Udp { source_port, .. } => source_port,
            L4::Tcp { .. } | L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other => return Ok(()),
        };
        let is_forged = port.kind == PortKind::Gateway
            && forward.peer().is_some()
            && self.is_own_gateway(ip.source, source_port);
        if is_forged { Err(DropReason::SourcePortReserved) } else { Ok(()) }
    }

    /// This node, by an address that the switch knows.
    fn is_own_node(&self, address: Ipv4Addr) -> bool {
        matches!(self.routes.lookup(address), Some(Target::Router | Target::Node))
    }
}

impl PolicyFlow {
    fn reversed(&self) -> Self {
        Self { tuple: self.tuple.reversed(), ..*self }
    }
}

/// What a packet would begin.
fn flow_of(ip: &Ipv4) -> PolicyFlow {
    let (source_port, destination_port) = match ip.l4 {
        L4::Tcp { source_port, destination_port, .. }
        | L4::Udp { source_port, destination_port, .. }
        | L4::Sctp { source_port, destination_port } => (source_port, destination_port),
        // No policy speaks of an identifier; a connection is told from others by it.
        L4::Icmp { kind: icmp::ECHO_REQUEST, code: 0, identifier } => (identifier, 0),
        L4::Icmp { .. } | L4::Headless | L4::Other => (0, 0),
    };
    let (source, destination) = (ip.source, ip.destination);
    PolicyFlow { protocol: ip.protocol, tuple: Tuple { source, destination, source_port, destination_port } }
}

fn is_error(ip: &Ipv4) -> bool {
    matches!(ip.l4, L4::Icmp { kind, .. } if icmp::is_about_packet(kind))
}

/// What asks for something, against the way of a connection: an identifier of 0 does not tell an echo request from an answer.
fn begins(ip: &Ipv4) -> bool {
    matches!(ip.l4, L4::Icmp { kind: icmp::ECHO_REQUEST, .. })
        || tcp_flags(ip).is_some_and(|flags| flags.begins())
}

const fn is_answer(ip: &Ipv4) -> bool {
    matches!(ip.l4, L4::Icmp { kind: icmp::ECHO_REPLY, .. })
}

const fn is_answered_here(action: &Action) -> bool {
    matches!(action, Action::AnswerEcho { .. } | Action::Resolve { .. })
}
