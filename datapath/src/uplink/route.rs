//! What may leave by the uplink, and to whom on the link.
//!
//! Only what pods send, as the node or with their own address where that is asked for, and answers of connections that began outside.
//! The node has the interface itself, and nothing passes from outside to outside or from another node.

use std::net::Ipv4Addr;

use protocol::link::PortConfig;
use protocol::object::PortKind;

use super::Uplink;
use crate::action::{Action, Forward, Refusal};
use crate::conntrack::{Direction, Hit};
use crate::slow_path::{Node, SlowPath};
use crate::verdict::{DropReason, Verdict};
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::Ipv4;

impl SlowPath {
    /// A packet as its sender made it leads out of the cluster.
    pub(crate) fn route_outside(&self, node: &Node, from: &PortConfig, ip: &Ipv4) -> Result<Action, Refusal> {
        match from.kind {
            PortKind::Pod => {}
            PortKind::Gateway | PortKind::Tunnel | PortKind::Uplink => return Err(DropReason::Hairpin.into()),
        }
        self.uplink.check_group(ip.destination)?;
        let keeps_address = node
            .uplink
            .as_ref()
            .is_some_and(|uplink| uplink.not_translated.iter().any(|range| range.contains(&ip.destination)));
        if !keeps_address {
            // No connection, so nothing it could appear as.
            return Err(no_route());
        }
        if !node.pod_cidr.contains(&ip.source) {
            return Err(DropReason::SpoofedIp.into());
        }
        self.uplink.forward(ip.destination)
    }

    /// A translated packet leads there. `ip` is what it becomes.
    pub(crate) fn route_connection_outside(
        &self,
        from: &PortConfig,
        ip: &Ipv4,
        direction: Direction,
    ) -> Result<Action, Refusal> {
        match (from.kind, direction) {
            // The node's own is there because it asked for a service.
            (PortKind::Pod | PortKind::Gateway, _) | (PortKind::Tunnel, Direction::Reply) => {
                self.uplink.forward(ip.destination)
            }
            (PortKind::Tunnel, Direction::Original) | (PortKind::Uplink, _) => {
                Err(DropReason::Hairpin.into())
            }
        }
    }

    /// The answer of a connection that began outside: it leaves where the question came in, also to other nodes of the cluster.
    pub(crate) fn answers_outside(&self, hit: Hit) -> bool {
        let owner = || self.shared.connections.owner(hit.id);
        hit.direction == Direction::Reply && self.uplink.link.is_some_and(|link| owner() == Some(link.port))
    }
}

impl Uplink {
    /// RFC 2644: directed broadcast is not forwarded.
    pub(crate) fn check_group(&self, destination: Ipv4Addr) -> Verdict {
        let subnet = self.link.as_ref().map(|link| link.subnet).filter(|subnet| subnet.prefix_len() < 31);
        match subnet {
            Some(subnet) if destination == subnet.network() || destination == subnet.broadcast() => {
                Err(DropReason::GroupPacketRouted)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// To the next hop, or to where packets wait for its MAC.
    fn forward(&self, destination: Ipv4Addr) -> Result<Action, Refusal> {
        let link = self.link.as_ref().ok_or_else(no_route)?;
        self.check_group(destination)?;
        let on_link = link.subnet.contains(&destination).then_some(destination);
        let next_hop = on_link.or(link.gateway).ok_or_else(no_route)?;
        Ok(match self.next_hops.mac(next_hop) {
            Some(mac) => Action::Forward {
                forward: Forward::routed(link.port, mac, link.mac, true),
                // Whoever changes the MAC makes all flows be decided again.
                cacheable: true,
            },
            None => Action::Resolve { next_hop },
        })
    }
}

const fn no_route() -> Refusal {
    Refusal::with_error(DropReason::NoRoute, IcmpError::NetUnreachable)
}
