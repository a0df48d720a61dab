//! Node a with an uplink, and what is on its link.
//!
//! ```text
//! uplink   port 5   52:54:00:00:00:02  192.0.2.2/24 (the node's own)
//! router            52:54:00:00:00:01  192.0.2.1, the gateway
//! host              52:54:00:00:00:09  192.0.2.9, on the link
//! client   behind the router           203.0.113.7
//! ```

use datapath::Limits;
use protocol::link::{ConfigDelta, DeviceKind, Filtering, NodeConfig, PortConfig, UplinkConfig};
use protocol::object::PortKind;
use protocol::{Mac, PortId};

use super::*;

pub(crate) const UPLINK: PortId = PortId(5);
pub(crate) const NIC: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);
pub(crate) const ROUTER: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
pub(crate) const ROUTER_IP: [u8; 4] = [192, 0, 2, 1];
pub(crate) const HOST: Mac = Mac([0x52, 0x54, 0, 0, 0, 9]);
pub(crate) const HOST_IP: [u8; 4] = [192, 0, 2, 9];
pub(crate) const CLIENT_IP: [u8; 4] = [203, 0, 113, 7];
/// A load balancer's, announced by this node.
pub(crate) const LB_IP: [u8; 4] = [192, 0, 2, 80];
/// What pod B appears as.
pub(crate) const EGRESS_IP: [u8; 4] = [192, 0, 2, 70];
/// Outside, but reached with the pod's own address.
pub(crate) const KNOWN_IP: [u8; 4] = [198, 51, 100, 5];

pub(crate) fn uplink_config() -> UplinkConfig {
    UplinkConfig {
        address: NODE_IP.into(),
        subnet: "192.0.2.0/24".parse().unwrap(),
        gateway: Some(ROUTER_IP.into()),
        source_ports: 61_000..=65_535,
        node_ports: 30_000..=32_767,
        filtering: Filtering::default(),
        not_translated: vec!["198.51.100.0/24".parse().unwrap(), "192.0.2.9/32".parse().unwrap()],
        egress: vec![protocol::link::EgressRule {
            sources: vec!["10.244.0.3/32".parse().unwrap()],
            address: EGRESS_IP.into(),
        }],
        announced: vec![LB_IP.into()],
        announced_by_lease: false,
    }
}

pub(crate) fn uplink_port() -> PortConfig {
    PortConfig {
        kind: PortKind::Uplink,
        device: DeviceKind::PacketSocket,
        mac: NIC,
        addresses: Vec::new(),
        ip_mtu: 1500,
        port_security: false,
        ..port(UPLINK, "uplink", A_IP)
    }
}

/// Node a, with services and a tunnel to node b.
pub(crate) fn uplink_node() -> NodeConfig {
    NodeConfig {
        service_cidr: Some("10.96.0.0/16".parse().unwrap()),
        tunnel: Some(tunnel_config(NODE_IP)),
        uplink: Some(uplink_config()),
        ..node()
    }
}

pub(crate) fn uplink_delta() -> ConfigDelta {
    let attach = [standard_ports(), vec![uplink_port(), tunnel_port()]].concat();
    // No keep-alives among what tests count.
    let peers = vec![protocol::link::PeerConfig { keep_alive: false, ..node_b() }];
    ConfigDelta { node: Some(uplink_node()), attach, peers, ..ConfigDelta::default() }
}

/// The node as it begins: it knows nobody on its link.
pub(crate) fn harness_uplink_cold(limits: Limits) -> Harness {
    let mut h = Harness::bare(limits);
    h.apply(uplink_delta());
    h
}

/// The node, which knows its gateway and has announced what it has to.
pub(crate) fn harness_uplink() -> Harness {
    let mut h = harness_uplink_cold(Limits::default());
    h.sweep();
    introduce(&mut h, ROUTER, ROUTER_IP);
    h.quiet();
    h
}

/// A station answers the node's question who has its address.
#[track_caller]
pub(crate) fn introduce(h: &mut Harness, mac: Mac, address: [u8; 4]) {
    let sent = h.send(UPLINK, &ArpFrame::reply(mac, address, NIC, NODE_IP).bytes());
    assert!(sent.is_empty());
}

/// From a client behind the router to an address of the node's.
pub(crate) fn outside(from: [u8; 4], to: [u8; 4]) -> Path {
    Path { from_mac: ROUTER, to_mac: NIC, from, to, ttl: 60 }
}

impl Harness {
    /// Lets the timers run, and gives what the uplink was told.
    pub(crate) fn run_timers(&mut self) -> Vec<Vec<u8>> {
        self.wire.sent.clear();
        self.sweep();
        self.assert_conservation();
        let sent = std::mem::take(&mut self.wire.sent);
        sent.into_iter()
            .map(|(port, frame)| {
                assert_eq!(port, UPLINK);
                ethernet(&frame).to_vec()
            })
            .collect()
    }

    /// Nothing is left over from before.
    pub(crate) fn quiet(&mut self) {
        self.sweep();
        self.wire.sent.clear();
        self.deltas();
    }
}
