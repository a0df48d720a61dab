//! The next hop of a packet sent to the router's MAC.
//!
//! The router has one address, the gateway's, which it shares with the node: it answers echo itself,
//! so that a pod can tell a dead node from a dead switch, and hands everything else for it to the
//! node's kernel, which has the same address on `vpod0`.

use std::net::IpAddr;

use protocol::link::PortConfig;
use protocol::object::PortKind;
use protocol::{PeerId, PortId};

use crate::action::{Action, Forward, Refusal};
use crate::l3::route::Target;
use crate::ports::Ports;
use crate::slow_path::{Node, SlowPath};
use crate::verdict::DropReason;
use crate::wire::icmp::{self, IcmpError};
use crate::wire::ipv4::{Fragment, Ipv4, Options};
use crate::wire::l4::L4;

impl SlowPath {
    /// What to do with a packet for the router.
    pub(crate) fn route(&self, ports: &Ports, from: &PortConfig, ip: &Ipv4) -> Result<Action, Refusal> {
        let Some(node) = &self.node else {
            return Err(Refusal::with_error(DropReason::NoRoute, IcmpError::NetUnreachable));
        };
        if is_group(node, ip) {
            // RFC 1812 §5.3.5 and RFC 2644: neither multicast nor directed broadcast is forwarded.
            return Err(DropReason::GroupPacketRouted.into());
        }
        match self.routes.lookup(ip.destination) {
            Some(Target::Port(port)) => to_port(node, ports, port, true),
            Some(Target::Router) if is_echo_request(ip) => Ok(Action::AnswerEcho { mac: node.router_mac }),
            // The last hop: the node is the host that has the address, so no hop is counted.
            Some(Target::Router) => to_gateway(node, ports, false),
            Some(Target::Node) => to_gateway(node, ports, true),
            // No transit: what a node has for another one it sends there itself.
            Some(Target::Peer(_)) if from.kind == PortKind::Tunnel => Err(DropReason::Hairpin.into()),
            Some(Target::Peer(id)) => self.to_peer(node, id),
            Some(Target::Connected) => match self.neighbors.lookup(IpAddr::V4(ip.destination)) {
                // Learned: may move or age without a new configuration, so never cached.
                Some(neighbor) => Ok(Action::Forward {
                    forward: Forward::routed(neighbor.port, neighbor.mac, node.router_mac, true),
                    cacheable: false,
                }),
                None => Err(host_unreachable()),
            },
            Some(Target::Uplink) => self.route_outside(node, from, ip),
            Some(Target::Nowhere) | None => {
                Err(Refusal::with_error(DropReason::NoRoute, IcmpError::NetUnreachable))
            }
        }
    }
}

impl SlowPath {
    fn to_peer(&self, node: &Node, id: PeerId) -> Result<Action, Refusal> {
        let (Some(port), Some(peer)) = (self.overlay.port, self.overlay.peers.get(id)) else {
            return Err(Refusal::with_error(DropReason::NoRoute, IcmpError::NetUnreachable));
        };
        let forward = Forward::tunnelled(port, id, peer.config.router_mac, node.router_mac, true);
        Ok(Action::Forward { forward, cacheable: true })
    }
}

fn to_gateway(node: &Node, ports: &Ports, counts_hop: bool) -> Result<Action, Refusal> {
    ports.gateway().map_or_else(|| Err(host_unreachable()), |port| to_port(node, ports, port, counts_hop))
}

fn to_port(node: &Node, ports: &Ports, port: PortId, counts_hop: bool) -> Result<Action, Refusal> {
    let to = ports.get(port).ok_or_else(host_unreachable)?;
    let forward = Forward::routed(port, to.config.mac, node.router_mac, counts_hop);
    Ok(Action::Forward { forward, cacheable: true })
}

const fn host_unreachable() -> Refusal {
    Refusal::with_error(DropReason::NoNeighbor, IcmpError::HostUnreachable)
}

fn is_group(node: &Node, ip: &Ipv4) -> bool {
    ip.destination.is_multicast() || ip.destination.is_broadcast() || node.is_edge_of_pod_cidr(ip.destination)
}

/// Answered in place, so it must be in one piece; with options the kernel answers.
fn is_echo_request(ip: &Ipv4) -> bool {
    ip.fragment == Fragment::Whole
        && ip.options == Options::None
        && matches!(ip.l4, L4::Icmp { kind: icmp::ECHO_REQUEST, code: 0, .. })
}
