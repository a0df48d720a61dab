//! What becomes of a frame: forwarded, or dropped for exactly one named reason.
//!
//! Reasons are declared once, in the table below; the counter slot, the metric label, the line in
//! `vpodctl get drops` and the generated documentation all follow from it. A name says the cause as
//! the sender would see it.

/// The verdict of every step: go on with a value, or drop the frame.
pub(crate) type Verdict<T = ()> = Result<T, DropReason>;

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $description:literal)*) => {
        /// Why a frame was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $description] $variant,)*
        }

        impl DropReason {
            /// Every reason, in counter order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// As in metrics and tables: `snake_case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it means and what to do, in one sentence.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $description,)*
                }
            }
        }
    };
}

drop_reasons! {
    // The port itself.
    PortClosed "port_closed"
        "The port it came from does not forward yet; its configuration is not complete."
    PortDetached "port_detached"
        "The device or namespace of the port it came from is gone."
    PortQuarantined "port_quarantined"
        "Frames of the port it came from crashed the switch repeatedly; recreate the pod."
    // What was read is not a frame.
    FrameTooShort "frame_too_short"
        "Shorter than an Ethernet header."
    VnetGsoInvalid "vnet_gso_invalid"
        "The virtio header asks for segmentation that does not fit the packet; only raw sockets can cause this."
    VnetSegmentsInvalid "vnet_segments_invalid"
        "The virtio header asks for a segment size of zero or for too many segments."
    VnetChecksumInvalid "vnet_checksum_invalid"
        "The virtio header asks for a checksum at a place where the packet has none."
    Ipv4HeaderInvalid "ipv4_header_invalid"
        "The IPv4 version or header length is wrong, or the header is cut short."
    Ipv4LengthInvalid "ipv4_length_invalid"
        "The IPv4 total length is shorter than its header or longer than the frame."
    Ipv4ChecksumWrong "ipv4_checksum_wrong"
        "The IPv4 header checksum does not match the header."
    FragmentInvalid "fragment_invalid"
        "An IPv4 fragment that overlaps a transport header, ends past 65,535 bytes or is not a multiple of 8."
    TcpHeaderInvalid "tcp_header_invalid"
        "The TCP header is cut short or its data offset is wrong."
    UdpHeaderInvalid "udp_header_invalid"
        "The UDP header is cut short or its length does not fit the packet."
    IcmpHeaderInvalid "icmp_header_invalid"
        "The ICMP message is shorter than 8 bytes."
    ArpMalformed "arp_malformed"
        "Not a complete ARP packet for IPv4 over Ethernet."
    // What the port may not send.
    VlanTagged "vlan_tagged"
        "Carries a VLAN tag; ports are untagged."
    UnsupportedEthertype "unsupported_ethertype"
        "Neither IPv4 nor ARP."
    Ipv6Disabled "ipv6_disabled"
        "IPv6, which this node does not carry."
    ReservedMulticast "reserved_multicast"
        "Addressed to a link-local bridge group (01:80:c2:00:00:0x), which no bridge forwards."
    InvalidSourceMac "invalid_source_mac"
        "The source MAC is a group address or all zeroes."
    SpoofedMac "spoofed_mac"
        "The source MAC belongs to another port, or is not the one this port is bound to."
    SpoofedIp "spoofed_ip"
        "The source address belongs to someone else, or is not one this port is bound to."
    MacMoveLimited "mac_move_limited"
        "The source MAC was just seen on another port; it moves at most once a second, look for a loop."
    MartianSource "martian_source"
        "The source address can never be one: loopback, this-network, link-local, multicast or reserved."
    MartianDestination "martian_destination"
        "The destination address never crosses a link: loopback, this-network, link-local or reserved."
    GroupFrameUnicastIp "group_frame_unicast_ip"
        "A unicast packet in a broadcast or multicast frame."
    SourceRouted "source_routed"
        "Carries an IPv4 source route option or options that do not parse."
    DhcpServer "dhcp_server"
        "DHCP server traffic from a pod; addresses are assigned by the node."
    IcmpRouterMessage "icmp_router_message"
        "ICMP redirect or router advertisement from a pod; routes are assigned by the node."
    // ARP.
    ArpSpoofed "arp_spoofed"
        "ARP whose sender MAC differs from the frame's, or whose sender address is someone else's."
    ArpOwnAddress "arp_own_address"
        "ARP probe or announcement of an address the sender has; nobody else does, so nobody answers."
    ArpUnsolicited "arp_unsolicited"
        "ARP reply nobody asked this port for; the switch answers from its own table."
    ArpAbsorbed "arp_absorbed"
        "ARP announcement of a learned station; its entry was refreshed, nobody else needs it."
    ArpUnknownTarget "arp_unknown_target"
        "ARP request for an address nobody on this node has."
    // Layer 2.
    Hairpin "hairpin"
        "The destination is behind the port it came from."
    UnknownUnicast "unknown_unicast"
        "Nobody has the destination MAC, and no port learns stations."
    FloodLimited "flood_limited"
        "More broadcast, multicast or unknown-unicast frames than the port may send."
    NoFloodTarget "no_flood_target"
        "Broadcast or multicast, and there is no other port."
    FrameTooBig "frame_too_big"
        "Larger than the destination port's MTU, and sent to its MAC directly, so nobody can say so."
    // Layer 3.
    NoRoute "no_route"
        "No route to the destination; the sender got an ICMP net-unreachable."
    NoNeighbor "no_neighbor"
        "Nobody has the destination address; the sender got an ICMP host-unreachable."
    TtlExpired "ttl_expired"
        "The time to live ran out; the sender got an ICMP time-exceeded."
    PacketTooBig "packet_too_big"
        "Larger than the MTU of the next link; the sender got an ICMP fragmentation-needed."
    GroupPacketRouted "group_packet_routed"
        "Multicast or broadcast sent to the router, which does not forward it."
    // The tunnel.
    UnknownPeer "unknown_peer"
        "Came through the tunnel from an address that is no peer's."
    NotVxlan "not_vxlan"
        "Came to the tunnel's port without a VXLAN header that names a network."
    BadVni "bad_vni"
        "Came through the tunnel for another VXLAN network; look for a peer with another VNI."
    InnerVlan "inner_vlan"
        "Came through the tunnel with a VLAN tag, which RFC 7348 forbids."
    NotForRouter "not_for_router"
        "Came through the tunnel for a station; between nodes packets are routed, to the router's MAC."
    SourceNotOfPeer "source_not_of_peer"
        "Came through the tunnel with a source address that does not belong to the node it came from."
    EcnNotEctCe "ecn_not_ect_ce"
        "Marked as congested on the way by the underlay, and its sender understands only losses."
    KeepAliveInvalid "keep_alive_invalid"
        "A keep-alive between nodes of a form this version does not know."
    TunnelPortProtected "tunnel_port_protected"
        "UDP of a pod to the tunnel's port of a node, which only nodes may send to."
    UnderlayTooBig "underlay_too_big"
        "Larger than the MTU of the node's own interface, which must have been lowered."
    UnderlayUnreachable "underlay_unreachable"
        "The node has no way to the peer: no route, an interface that is down, or a firewall."
    // The uplink.
    NotForSwitch "not_for_switch"
        "Came in by the uplink and is for the node itself or for others; the node's kernel has the original."
    NextHopUnresolved "next_hop_unresolved"
        "Nobody on the uplink's link answers for the next hop; its sender is told once three seconds of asking were in vain."
    // Services and translated connections.
    ServicePortUnknown "service_port_unknown"
        "For a service's address, but for a port or protocol that no service has; its sender is told."
    ServiceNoEndpoints "service_no_endpoints"
        "For a service that has no endpoint which is ready or still serving; its sender is told."
    ServiceNoLocalEndpoints "service_no_local_endpoints"
        "For a service with traffic policy Local, which has endpoints on other nodes only."
    ServiceSourceRefused "service_source_refused"
        "For a load balancer's address, from none of the service's source ranges."
    NoConnection "no_connection"
        "Of a connection to a service that the switch does not know (any more); who sends in the middle of a TCP connection is told."
    ConnectionTableFull "connection_table_full"
        "The connection table is full of connections that may not be forgotten."
    ConnectionShareUsed "connection_share_used"
        "The port has as many translated connections as one port may have."
    NatPortsExhausted "nat_ports_exhausted"
        "No source port is left that tells this connection from the others."
    TcpFlagsInvalid "tcp_flags_invalid"
        "A TCP segment of a translated connection with flags that no sender sets together."
    TcpNoHandshake "tcp_no_handshake"
        "TCP data or acknowledgement of a translated connection before the answer to its SYN."
    FailedOver "failed_over"
        "A backend's refusal of a new TCP connection, which was given to another backend of the service; the client hears of neither."
    AnsweredTooLate "answered_too_late"
        "Of a backend whose connection was given to another one, as it had not answered when the client asked again; it is told."
    FragmentWithoutFirst "fragment_without_first"
        "A fragment that may have to be translated, of a datagram whose first fragment did not come, or too late."
    IcmpErrorInvalid "icmp_error_invalid"
        "An ICMP error about a translated packet that is damaged, or not for who sent the packet it quotes."
    IcmpErrorUnrelated "icmp_error_unrelated"
        "An ICMP error for a service's address about a packet of no connection that the switch knows."
    NatQuotaUsed "nat_quota_used"
        "The pod has as many mappings to ports of the node as one pod may have; the sender got an ICMP admin-prohibited."
    NoMapping "no_mapping"
        "For a port of the node that is no pod's, or of a kind that no mapping lets in."
    FilteredByMapping "filtered_by_mapping"
        "From outside for a pod that has sent nothing to there."
    // The way out.
    EgressClosed "egress_closed"
        "The destination port does not forward (yet)."
    PortQueueFull "port_queue_full"
        "The destination's queue was full."
    RateLimited "rate_limited"
        "More than the destination may receive at its ingress rate, and its queue was full."
    PortGone "port_gone"
        "The destination's device is gone."
}

impl DropReason {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// Slot in arrays of counters.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_indexed_in_order_and_named_apart() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(reason.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            assert!(reason.description().ends_with('.'), "{} wants a sentence", reason.name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
    }

    #[test]
    fn names_are_the_variants_in_snake_case() {
        for reason in DropReason::ALL {
            let variant = format!("{reason:?}");
            let mut snake = String::new();
            for c in variant.chars() {
                if c.is_ascii_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.push(c.to_ascii_lowercase());
            }
            assert_eq!(reason.name(), snake);
        }
    }
}
