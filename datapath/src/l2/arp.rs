//! ARP (RFC 826), answered from what the switch knows.
//!
//! A pod's question about a configured address never leaves the switch: no pod can answer for
//! another, and no pod is woken by somebody else's question. Only questions about stations that are
//! learned, or could be, travel, and only to ports that learn.

use std::net::IpAddr;

use protocol::PeerId;
use protocol::link::PortConfig;
use protocol::object::PortKind;

use crate::action::{Action, Forward};
use crate::l2::fdb::Station;
use crate::l2::flood::{Flood, Scope};
use crate::l3::route::Target;
use crate::replication::Known;
use crate::slow_path::SlowPath;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Packet;
use crate::wire::arp::{Arp, Operation};

impl SlowPath {
    /// What to do with an ARP packet from `port`.
    pub(crate) fn resolve(
        &mut self,
        port: &PortConfig,
        peer: Option<PeerId>,
        packet: &Packet,
        arp: &Arp,
        now: Instant,
    ) -> Verdict<Action> {
        let sender = IpAddr::V4(arp.sender_ip);
        let claims_address = !arp.is_probe();
        if arp.sender_mac != packet.source || claims_address && !self.may_use(port, peer, arp.sender_ip) {
            return Err(DropReason::ArpSpoofed);
        }
        if port.kind == PortKind::Tunnel {
            return self.answer_peer(arp);
        }
        let teaches = !port.port_security && claims_address && self.in_pod_cidr(arp.sender_ip);
        if teaches {
            let what = Known::Neighbor { ip: sender, mac: arp.sender_mac, port: port.id };
            self.outbox.push(self.neighbors.learn(sender, arp.sender_mac, port.id, now), what);
        }
        match arp.operation {
            Operation::Request => self.answer(port, arp, teaches),
            Operation::Reply => self.deliver_reply(port, packet),
        }
    }

    /// Another daemon never asks. A plain VXLAN device whose routes lead straight to our pods does:
    /// whatever it asks for here, the router has it (RFC 1027).
    fn answer_peer(&self, arp: &Arp) -> Verdict<Action> {
        let is_here = match self.routes.lookup(arp.target_ip) {
            Some(Target::Port(_) | Target::Router | Target::Node) => true,
            Some(Target::Connected) => self.neighbors.lookup(IpAddr::V4(arp.target_ip)).is_some(),
            Some(Target::Peer(_) | Target::Uplink | Target::Nowhere) | None => false,
        };
        match (arp.operation, &self.node) {
            (Operation::Reply, _) => Err(DropReason::ArpUnsolicited),
            (Operation::Request, Some(node)) if is_here => {
                Ok(Action::AnswerArp { request: *arp, mac: node.router_mac })
            }
            (Operation::Request, _) => Err(DropReason::ArpUnknownTarget),
        }
    }

    /// To a question that has passed admission; `teaches`: its sender was learned from it.
    pub(crate) fn answer(&self, port: &PortConfig, arp: &Arp, teaches: bool) -> Verdict<Action> {
        let target = IpAddr::V4(arp.target_ip);
        let owner = self.neighbors.lookup_static(target);
        if owner.is_some_and(|owner| owner.port == port.id) {
            // RFC 5227 §2.1.1: an answer to a probe would mean a conflict, and there is none.
            return Err(DropReason::ArpOwnAddress);
        }
        if arp.target_ip == arp.sender_ip {
            return Err(if teaches { DropReason::ArpAbsorbed } else { DropReason::ArpOwnAddress });
        }
        if let Some(router) = self.node.as_ref().filter(|node| {
            // The node's kernel asks for other nodes' pods and for services on `vpod0`, where the routes of their ranges
            // point, and a pod whose network is the cluster's; the router has them all (RFC 1027).
            let elsewhere =
                node.cluster_cidr.contains(&arp.target_ip) && !node.pod_cidr.contains(&arp.target_ip);
            let is_remote = matches!(self.routes.lookup(arp.target_ip), Some(Target::Peer(_)));
            arp.target_ip == node.gateway_ip
                || port.kind == PortKind::Gateway && (elsewhere || self.is_of_services(arp.target_ip))
                || is_remote
        }) {
            return Ok(Action::AnswerArp { request: *arp, mac: router.router_mac });
        }
        match self.neighbors.lookup(target) {
            Some(neighbor) if neighbor.is_static => {
                Ok(Action::AnswerArp { request: *arp, mac: neighbor.mac })
            }
            // Asked, not answered for: a learned address may have moved.
            Some(neighbor) if neighbor.port != port.id => {
                Ok(Action::Forward { forward: Forward::switched(neighbor.port), cacheable: false })
            }
            Some(_) => Err(DropReason::Hairpin),
            None if self.in_pod_cidr(arp.target_ip) => {
                Ok(Action::Flood(Flood { scope: Scope::LearningPorts, nobody: DropReason::ArpUnknownTarget }))
            }
            None => Err(DropReason::ArpUnknownTarget),
        }
    }

    /// A reply goes to whom it is addressed, if anybody can have asked: only ports that learn are
    /// ever asked.
    fn deliver_reply(&self, port: &PortConfig, packet: &Packet) -> Verdict<Action> {
        if port.port_security {
            return Err(DropReason::ArpUnsolicited);
        }
        match self.fdb.lookup(packet.destination) {
            Some(Station::Static(to) | Station::Learned(to)) if to == port.id => Err(DropReason::Hairpin),
            Some(Station::Static(to) | Station::Learned(to)) => {
                Ok(Action::Forward { forward: Forward::switched(to), cacheable: false })
            }
            // The router never asks; gratuitous replies are broadcast. Both have taught all they can.
            Some(Station::Router) | None => Err(DropReason::ArpAbsorbed),
        }
    }
}
