//! Promises that span nodes, each node a namespace with a daemon of its own on an underlay that can be
//! broken.

mod churn;
mod etcd;
mod injection;
mod interop;
mod mtu;
mod multicast;
mod pairs;
mod partition;
mod reboot;

use std::net::IpAddr;

use integration::TestNode;
use protocol::message::{Items, Kind};
use protocol::object::{Peer, PortKind};

/// VXLAN's own port (RFC 7348 §5), the tunnel's default.
const TUNNEL_PORT: u16 = 4789;

pub(crate) fn address(node: &TestNode) -> IpAddr {
    node.address().parse().expect("the node's address is one")
}

/// What `get peers` shows.
#[track_caller]
fn peers(node: &TestNode) -> Vec<Peer> {
    let only_peers = |items| if let Items::Peers(rows) = items { rows } else { Vec::new() };
    node.list(Kind::Peers).into_iter().flat_map(only_peers).collect()
}

/// The peer at the address of `other`.
#[track_caller]
fn peer(node: &TestNode, other: &TestNode) -> Peer {
    let found = peers(node).into_iter().find(|peer| peer.address == address(other));
    found.unwrap_or_else(|| panic!("{} has no peer at {}: {:?}", node.name(), other.address(), peers(node)))
}

/// Frames that the tunnel's ports dropped for `reason`.
#[track_caller]
fn tunnel_drops(node: &TestNode, reason: &str) -> u64 {
    let tunnel = node.ports().into_iter().filter(|port| port.kind == PortKind::Tunnel);
    let drops = tunnel.flat_map(|port| port.counters.drops);
    drops.filter(|drop| drop.reason == reason).map(|drop| drop.frames).sum()
}
