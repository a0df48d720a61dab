//! What the node's own stack must not see, and what the switch's socket must: both follow from the configuration alone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use netdev::PacketFilter;
use protocol::link::{FrontendKind, NodeConfig, Transport, UplinkConfig};
use store::desired::Configuration;
use store::services::Services;

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
    /// Those of services, which the node itself reaches over the gateway device.
    pub(super) routed: BTreeSet<Ipv4Addr>,
    /// How the node itself reaches its own node ports; `None` where it cannot.
    pub(super) own: Option<OwnWay>,
}

/// The way of the node's own packets to the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnWay {
    pub(super) gateway: Interface,
    /// An address there that the switch answers ARP for, and that nobody has.
    pub(super) next_hop: Ipv4Addr,
}

/// An interface: one of the same name may be another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
}

impl Hidden {
    /// What the node's uplink and `services` need hidden at `device`, and led to the switch by `gateway`; `None` without an uplink.
    pub(super) fn of(
        wanted: &Configuration,
        services: &Services,
        device: &Interface,
        gateway: Option<&Interface>,
    ) -> Option<Self> {
        let node = wanted.node.as_ref()?;
        let uplink = node.uplink.as_ref()?;
        let own = |gateway: &Interface| match node.service_cidr? {
            // No service has the first address of the range.
            IpNet::V4(range) => Some(OwnWay { gateway: gateway.clone(), next_hop: range.network() }),
            IpNet::V6(_) => None,
        };
        let mut hidden = Self {
            device: device.clone(),
            source_ports: uplink.source_ports.clone(),
            node_port_range: uplink.node_ports.clone(),
            node_addresses: node_addresses(node, uplink.address),
            node_ports: BTreeSet::new(),
            addresses: uplink.announced.iter().copied().collect(),
            routed: BTreeSet::new(),
            own: gateway.and_then(own),
        };
        hidden.addresses.extend(uplink.egress.iter().map(|rule| rule.address));
        hidden.add_services(services);
        // Of these the switch gets its ports only, whatever else they are said to be.
        hidden.addresses.retain(|address| !hidden.node_addresses.contains(address));
        if !hidden.routed.is_empty() {
            hidden.keep_what_the_node_needs(wanted, uplink);
        }
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
                        self.routed.insert(address);
                    }
                    (FrontendKind::ClusterIp, _) | (_, IpAddr::V6(_)) => {}
                }
            }
        }
    }

    /// Whatever somebody calls his service's: nodes and the gateway are reached as ever.
    fn keep_what_the_node_needs(&mut self, wanted: &Configuration, uplink: &UplinkConfig) {
        let mut not = self.node_addresses.clone();
        not.extend([uplink.subnet.network(), uplink.subnet.broadcast()]);
        not.extend(uplink.gateway);
        for peer in wanted.peers.values().flatten() {
            not.insert(peer.address);
            not.extend(peer.node_addresses.iter().filter_map(v4));
        }
        self.routed.retain(|address| !not.contains(address));
    }

    /// The sets of both, with everything else as here.
    pub(super) fn union(&self, other: &Self) -> Self {
        Self {
            node_addresses: &self.node_addresses | &other.node_addresses,
            node_ports: &self.node_ports | &other.node_ports,
            addresses: &self.addresses | &other.addresses,
            routed: &self.routed | &other.routed,
            ..self.clone()
        }
    }

    /// Differs from `other` in its sets at most.
    pub(super) fn has_same_rules(&self, other: &Self) -> bool {
        self.device == other.device && self.source_ports == other.source_ports && self.own == other.own
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

fn node_addresses(node: &NodeConfig, own: Ipv4Addr) -> BTreeSet<Ipv4Addr> {
    node.node_addresses.iter().filter_map(v4).chain([own]).collect()
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    }
}
