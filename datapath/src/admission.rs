//! What a port may say: its own addresses, to addresses that cross a link.
//!
//! With port security the bound MAC and addresses are the only sources. Without it (bridged virtual
//! machines, and the gateway, behind which the world is) any source is accepted that is not somebody
//! else's. Everything read here is part of a flow's key, so a cached flow need not be admitted again.

use std::net::{IpAddr, Ipv4Addr};

use protocol::PeerId;
use protocol::link::PortConfig;
use protocol::object::PortKind;

use crate::l2::fdb::Station;
use crate::l3::route::Target;
use crate::slow_path::SlowPath;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ipv4::{Ipv4, Options};
use crate::wire::l4::L4;
use crate::wire::{Body, Packet, ethernet, icmp};

/// UDP ports of DHCP (RFC 2131 §4.1).
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;

impl SlowPath {
    /// Lets a frame in, or says why not.
    pub(crate) fn admit(&self, port: &PortConfig, peer: Option<PeerId>, packet: &Packet) -> Verdict {
        if ethernet::is_reserved_group(packet.destination) {
            return Err(DropReason::ReservedMulticast);
        }
        self.admit_mac(port, packet)?;
        match &packet.body {
            // ARP's addresses are in its payload; `resolve` checks them.
            Body::Arp(_) => Ok(()),
            Body::Ipv4(ip) => {
                self.admit_addresses(packet, ip)?;
                if !self.may_use(port, peer, ip.source) {
                    return Err(match port.kind {
                        PortKind::Pod | PortKind::Gateway | PortKind::Uplink => DropReason::SpoofedIp,
                        PortKind::Tunnel => DropReason::SourceNotOfPeer,
                    });
                }
                admit_message(port, ip)?;
                self.admit_to_tunnel(port, ip)
            }
        }
    }

    fn admit_mac(&self, port: &PortConfig, packet: &Packet) -> Verdict {
        if !packet.source.is_valid_source() {
            return Err(DropReason::InvalidSourceMac);
        }
        let is_own = packet.source == port.mac;
        let is_others = match self.fdb.lookup_static(packet.source) {
            Some(Station::Router) => true,
            Some(Station::Static(owner) | Station::Learned(owner)) => owner != port.id,
            None => false,
        };
        if is_others || port.port_security && !is_own || self.uplink.is_own_mac(packet.source) {
            return Err(DropReason::SpoofedMac);
        }
        Ok(())
    }

    fn admit_addresses(&self, packet: &Packet, ip: &Ipv4) -> Verdict {
        if is_martian_source(ip.source) {
            return Err(DropReason::MartianSource);
        }
        if is_martian_destination(ip.destination) {
            return Err(DropReason::MartianDestination);
        }
        // RFC 1122 §3.3.6: receivers drop such a packet. Dropped here, a flood cannot carry to a
        // station what a decision about the station's own address would refuse.
        if packet.destination.is_multicast() && !self.is_group(ip.destination) {
            return Err(DropReason::GroupFrameUnicastIp);
        }
        match ip.options {
            Options::None | Options::Harmless => Ok(()),
            Options::SourceRoute => Err(DropReason::SourceRouted),
        }
    }

    /// The tunnel trusts outer addresses, so pods must not be able to write what seems to come from a
    /// node (RFC 7348 §7).
    fn admit_to_tunnel(&self, port: &PortConfig, ip: &Ipv4) -> Verdict {
        match (port.kind, ip.l4) {
            (PortKind::Pod, L4::Udp { destination_port, .. })
                if self.overlay.is_tunnel_end(
                    ip.destination,
                    destination_port,
                    self.routes.lookup(ip.destination),
                ) =>
            {
                Err(DropReason::TunnelPortProtected)
            }
            (
                PortKind::Pod | PortKind::Gateway | PortKind::Tunnel | PortKind::Uplink,
                L4::Tcp { .. }
                | L4::Udp { .. }
                | L4::Icmp { .. }
                | L4::Sctp { .. }
                | L4::Headless
                | L4::Other,
            ) => Ok(()),
        }
    }

    /// Multicast, limited or directed broadcast.
    fn is_group(&self, ip: Ipv4Addr) -> bool {
        ip.is_multicast() || ip.is_broadcast() || self.node.as_ref().is_some_and(|node| node.is_broadcast(ip))
    }

    /// Whether a station behind `port`, or behind `peer` if that is a tunnel, may have this address.
    pub(crate) fn may_use(&self, port: &PortConfig, peer: Option<PeerId>, ip: Ipv4Addr) -> bool {
        if is_martian_source(ip) {
            return false;
        }
        // The routes are the one list of what belongs to whom.
        let owner = match self.routes.lookup(ip) {
            Some(Target::Peer(owner)) => Some(owner),
            Some(
                Target::Port(_)
                | Target::Router
                | Target::Node
                | Target::Connected
                | Target::Uplink
                | Target::Nowhere,
            )
            | None => None,
        };
        if port.kind == PortKind::Tunnel {
            return peer.is_some() && owner == peer;
        }
        let address = IpAddr::V4(ip);
        if port.port_security {
            return port.addresses.contains(&address);
        }
        // Nobody has the address of a service: answers get it in the switch.
        if self.is_of_services(ip) {
            return false;
        }
        if let Some(owner) = self.neighbors.lookup_static(address) {
            return owner.port == port.id;
        }
        let Some(node) = &self.node else { return true };
        match port.kind {
            // Whatever the node routes here, but not what is nobody's.
            PortKind::Gateway => !node.is_edge_of_pod_cidr(ip),
            PortKind::Tunnel | PortKind::Uplink => false,
            PortKind::Pod => {
                let is_remote = owner.is_some() || self.overlay.peers.by_address(ip).is_some();
                let elsewhere = node.cluster_cidr.contains(&ip) && !node.pod_cidr.contains(&ip);
                let is_nodes = ip == node.gateway_ip || node.addresses.contains(&ip);
                !is_remote && !elsewhere && !is_nodes && !node.is_edge_of_pod_cidr(ip)
            }
        }
    }
}

/// Configuration traffic that only the node may send: a pod that answers DHCP or redirects routes
/// takes over its neighbours.
fn admit_message(port: &PortConfig, ip: &Ipv4) -> Verdict {
    match (port.kind, ip.l4) {
        (PortKind::Pod, L4::Udp { source_port: DHCP_SERVER, destination_port: DHCP_CLIENT, .. }) => {
            Err(DropReason::DhcpServer)
        }
        (PortKind::Pod, L4::Icmp { kind: icmp::REDIRECT | icmp::ROUTER_ADVERTISEMENT, .. }) => {
            Err(DropReason::IcmpRouterMessage)
        }
        (
            PortKind::Pod | PortKind::Gateway | PortKind::Tunnel | PortKind::Uplink,
            L4::Tcp { .. } | L4::Udp { .. } | L4::Icmp { .. } | L4::Sctp { .. } | L4::Headless | L4::Other,
        ) => Ok(()),
    }
}

/// 0/8, 127/8, 169.254/16, 224/4 and 240/4 (RFC 1812 §5.3.7, RFC 6890).
pub(crate) fn is_martian_source(ip: Ipv4Addr) -> bool {
    ip.is_multicast() || ip.is_broadcast() || is_martian_destination(ip)
}

/// The same, but for groups and the limited broadcast.
fn is_martian_destination(ip: Ipv4Addr) -> bool {
    let [first, ..] = ip.octets();
    first == 0 || ip.is_loopback() || ip.is_link_local() || first >= 240 && !ip.is_broadcast()
}
