//! When the router may send an ICMP error, and between whom (RFC 1812 §4.3.2, RFC 1122 §3.2.2).

use std::net::Ipv4Addr;

use protocol::Mac;
use protocol::link::PortConfig;
use protocol::object::PortKind;

use crate::slow_path::Node;
use crate::wire::Packet;
use crate::wire::icmp::{self, Envelope};
use crate::wire::ipv4::{Fragment, Ipv4};
use crate::wire::l4::L4;

/// Whether an error about this packet may be sent: it is not an error itself, is the first of its
/// datagram, and was not for a group (RFC 1812 §4.3.2.7). Its source has passed admission, so it is
/// one station's.
pub(crate) fn may_report(packet: &Packet, ip: &Ipv4) -> bool {
    let is_error = match ip.l4 {
        L4::Icmp { kind, .. } => !icmp::is_query(kind),
        L4::Tcp { .. } | L4::Udp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other => false,
    };
    !is_error
        && ip.fragment != Fragment::Later
        && !packet.destination.is_multicast()
        && !ip.destination.is_multicast()
        && !ip.destination.is_broadcast()
}

/// Back to the station the packet came from.
///
/// The source is the router's one address, except towards the node: there `vpod0` has that address
/// itself, and the kernel drops packets from outside with its own source. So the node hears it from
/// the address it asked for, as clients outside do, to whom the router is unknown. RFC 1812 §4.3.2.4 wants an address of the router; we have no other.
pub(crate) fn envelope(node: &Node, offender_port: &PortConfig, packet: &Packet, ip: &Ipv4) -> Envelope {
    let (from_mac, from_ip): (Mac, Ipv4Addr) = match offender_port.kind {
        PortKind::Pod | PortKind::Tunnel => (node.router_mac, node.gateway_ip),
        PortKind::Gateway => (node.router_mac, ip.destination),
        PortKind::Uplink => (offender_port.mac, ip.destination),
    };
    Envelope { from_mac, from_ip, to_mac: packet.source, to_ip: ip.source }
}
