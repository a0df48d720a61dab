//! Two nodes: the standard one, and one like it whose pods are 10.244.1.0/24.
//!
//! ```text
//! node a  192.0.2.2  10.244.0.0/24   its peers: 7 (node b)
//! node b  192.0.2.3  10.244.1.0/24   its peers: 9 (node a)
//! ```

use datapath::Limits;
use protocol::link::{ConfigDelta, DeviceKind, NodeConfig, PeerConfig, PortConfig, TunnelConfig};
use protocol::object::PortKind;
use protocol::{Mac, PeerId, PortId};

use super::*;

pub(crate) const TUNNEL: PortId = PortId(PortId::MAX_PORTS - 1);
pub(crate) const VNI: u32 = 0x0a_0b_0c;
pub(crate) const UDP_PORT: u16 = 4789;
pub(crate) const UNDERLAY_MTU: u16 = 1500;

pub(crate) const NODE_B_IP: [u8; 4] = [192, 0, 2, 3];
pub(crate) const GATEWAY_B_IP: [u8; 4] = [10, 244, 1, 1];
/// A pod of node b.
pub(crate) const C_IP: [u8; 4] = [10, 244, 1, 2];
/// Node b, as node a knows it.
pub(crate) const B_ID: PeerId = PeerId(7);
/// Node a, as node b knows it.
pub(crate) const A_ID: PeerId = PeerId(9);

pub(crate) fn router_b() -> Mac {
    Mac::for_router(ip(GATEWAY_B_IP))
}

pub(crate) fn tunnel_config(address: [u8; 4]) -> TunnelConfig {
    TunnelConfig {
        vni: VNI,
        address: address.into(),
        udp_port: UDP_PORT,
        underlay_mtu: UNDERLAY_MTU,
        clamp_mss: false,
    }
}

pub(crate) fn tunnel_port() -> PortConfig {
    PortConfig {
        kind: PortKind::Tunnel,
        device: DeviceKind::UdpTunnel,
        mac: router_mac(),
        addresses: Vec::new(),
        port_security: false,
        ..port(TUNNEL, "tunnel", A_IP)
    }
}

pub(crate) fn node_b() -> PeerConfig {
    PeerConfig {
        id: B_ID,
        name: "node-b".to_owned(),
        address: NODE_B_IP.into(),
        udp_port: UDP_PORT,
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
        node_addresses: vec![ip(NODE_B_IP)],
        router_mac: router_b(),
        keep_alive: true,
        has_pods: true,
        shares_policies: true,
    }
}

pub(crate) fn node_a() -> PeerConfig {
    PeerConfig {
        id: A_ID,
        name: "node-a".to_owned(),
        address: NODE_IP.into(),
        pod_cidrs: vec!["10.244.0.0/24".parse().unwrap()],
        node_addresses: vec![ip(NODE_IP)],
        router_mac: router_mac(),
        ..node_b()
    }
}

/// Node a's switch, which knows node b.
pub(crate) fn harness_a() -> Harness {
    harness_a_with(tunnel_config(NODE_IP), Limits::default())
}

pub(crate) fn harness_a_with(tunnel: TunnelConfig, limits: Limits) -> Harness {
    let mut harness = Harness::bare(limits);
    let attach = [standard_ports(), vec![tunnel_port()]].concat();
    let node = Some(NodeConfig { tunnel: Some(tunnel), ..node() });
    harness.apply(ConfigDelta { node, attach, peers: vec![node_b()], ..ConfigDelta::default() });
    harness
}

/// Node b's switch, which knows node a: pod C at port 1.
pub(crate) fn harness_b() -> Harness {
    let mut harness = Harness::bare(Limits::default());
    let gateway = PortConfig {
        kind: PortKind::Gateway,
        mac: Mac::for_gateway_tap(ip(GATEWAY_B_IP)),
        port_security: false,
        ..port(GATEWAY, "gateway", GATEWAY_B_IP)
    };
    let attach = vec![gateway, port(A, "default/c", C_IP), tunnel_port()];
    let node = Some(node_b_config());
    harness.apply(ConfigDelta { node, attach, peers: vec![node_a()], ..ConfigDelta::default() });
    harness
}

pub(crate) fn node_b_config() -> NodeConfig {
    NodeConfig {
        pod_cidr: "10.244.1.0/24".parse().unwrap(),
        gateway_ip: ip(GATEWAY_B_IP),
        router_mac: router_b(),
        node_addresses: vec![ip(NODE_B_IP)],
        tunnel: Some(tunnel_config(NODE_B_IP)),
        ..node()
    }
}

/// A datagram that carries this Ethernet frame.
pub(crate) fn vxlan(vni: u32, ethernet: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), ethernet].concat()
}

/// The Ethernet frame in a datagram of our network.
#[track_caller]
pub(crate) fn inner(datagram: &[u8]) -> &[u8] {
    assert_eq!(datagram[..8], vxlan(VNI, &[]));
    &datagram[8..]
}

/// From a pod of node b to one of node a, as node b's router sends it.
pub(crate) fn from_peer(from: [u8; 4], to: [u8; 4]) -> Path {
    Path { from_mac: router_b(), to_mac: router_mac(), from, to, ttl: 63 }
}
