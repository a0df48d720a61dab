//! A node, its ports and the packets that benchmarks of a whole switch start from.

mod packets;

use std::net::{IpAddr, Ipv4Addr};

use protocol::link::{DeviceKind, NodeConfig, PortConfig};
use protocol::object::{PortKind, PortState};
use protocol::{Mac, Offloads, PortId};

pub(crate) use packets::Packets;

pub(crate) const A: PortId = PortId(1);

/// Frames in a batch, as the daemon reads them.
pub(crate) const BATCH: usize = 32;

pub(crate) fn node() -> NodeConfig {
    NodeConfig {
        pod_cidr: "10.244.0.0/24".parse().expect("a network"),
        cluster_cidr: "10.244.0.0/16".parse().expect("a network"),
        service_cidr: None,
        gateway_ip: ip(1),
        router_mac: router_mac(),
        node_addresses: vec![],
        fdb_ageing_seconds: 300,
        tunnel: None,
        uplink: None,
    }
}

pub(crate) fn port(id: PortId, host: u8) -> PortConfig {
    PortConfig {
        id,
        name: format!("default/{host}"),
        kind: PortKind::Pod,
        device: DeviceKind::VnetTap,
        offloads: Offloads::CSUM.union(Offloads::TSO4),
        mac: Mac::for_pod(ip(host)),
        addresses: vec![ip(host)],
        ip_mtu: 1450,
        port_security: true,
        state: PortState::Active,
        bandwidth: protocol::object::Bandwidth::default(),
    }
}

pub(crate) const fn ip(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 244, 0, host))
}

pub(crate) fn router_mac() -> Mac {
    Mac::for_router(ip(1))
}
