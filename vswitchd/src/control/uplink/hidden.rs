//! What the node's own stack must not see, and what the switch's socket must: both follow from the configuration alone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use netdev::PacketFilter;
use protocol::link::{Frontend, FrontendKind, NodeConfig, Transport};
use store::services::{ServiceState, Services};

/// What the switch answers for at the uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hidden {
    /// The interface.
    pub(super) device: Interface,
    /// Of the switch, at the node's addresses: it alone makes connections from them.
    pub(super) source_ports: RangeInclusive<u16>,
    /// Where services may be, whether they are or not; only the socket's filter needs it.
    pub(super) node_port_range: RangeInclusive<u16>,
    pub(super) node_addresses: BTreeSet<Ipv4Addr>,
    /// NodePorts that services have.
    pub(super) node_ports: BTreeSet<(Transport, u16)>,
    /// Load-balancer, external and egress addresses.
    pub(super) addresses: BTreeSet<Ipv4Addr>,
}

/// An interface: one of the same name may be another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
}

impl Hidden {
    /// What the node's uplink and `services` need hidden at `device`; `None` without an uplink.
    pub(super) fn of(node: &NodeConfig, services: &Services, device: &Interface) -> Option<Self> {
        let uplink = node.uplink.as_ref()?;
        let mut hidden = Self {
            device: device.clone(),
            source_ports: uplink.source_ports.clone(),
            node_port_range: uplink.node_ports.clone(),
            node_addresses: node_addresses(node, uplink.address),
            node_ports: BTreeSet::new(),
            addresses: uplink.announced.iter().copied().collect(),
        };
        hidden.addresses.extend(uplink.egress.iter().map(|rule| rule.address));
        hidden.add_services(services);
        // Of these the switch gets its ports only, whatever else they are said to be.
        hidden.addresses.retain(|address| !hidden.node_addresses.contains(address));
        Some(hidden)
    }

    fn add_services(&mut self, services: &Services) {
        for state in services.values() {
            for frontend in &state.config.frontends {
                match (frontend.kind, frontend.address) {
                    (FrontendKind::NodePort, _) => {
                        self.node_ports.insert((state.config.transport, frontend.port));
                    }
                    (FrontendKind::LoadBalancer | FrontendKind::ExternalIp, IpAddr::V4(address)) => {
                        self.addresses.insert(address);
                    }
                    (FrontendKind::ClusterIp, _) | (_, IpAddr::V6(_)) => {}
                }
            }
        }
    }

    /// The sets of both, with everything else as here.
    pub(super) fn union(&self, other: &Self) -> Self {
        Self {
            node_addresses: &self.node_addresses | &other.node_addresses,
            node_ports: &self.node_ports | &other.node_ports,
            addresses: &self.addresses | &other.addresses,
            ..self.clone()
        }
    }

    /// Differs from `other` in its sets at most.
    pub(super) fn has_same_rules(&self, other: &Self) -> bool {
        self.device == other.device && self.source_ports == other.source_ports
    }

    /// What the socket is to get.
    pub(super) fn filter(&self) -> PacketFilter {
        PacketFilter {
            whole: self.addresses.iter().map(|address| (*address).into()).collect(),
            shared: self.node_addresses.iter().copied().collect(),
            ports: vec![self.node_port_range.clone(), self.source_ports.clone()],
        }
    }
}

/// Whether both have the same frontends outside of the cluster. Costs what differs.
pub(super) fn is_same_outside(old: &Services, new: &Services) -> bool {
    old.changes(new).all(|(_, old, new)| outside(old).eq(outside(new)))
}

fn outside(state: Option<&Arc<ServiceState>>) -> impl Iterator<Item = (Transport, &Frontend)> {
    let all = state
        .into_iter()
        .flat_map(|state| state.config.frontends.iter().map(|frontend| (state.config.transport, frontend)));
    all.filter(|(_, frontend)| frontend.kind != FrontendKind::ClusterIp)
}

fn node_addresses(node: &NodeConfig, own: Ipv4Addr) -> BTreeSet<Ipv4Addr> {
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    };
    node.node_addresses.iter().filter_map(v4).chain([own]).collect()
}
