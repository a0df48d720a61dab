//! What the node's own stack must not see, and what the switch's socket must: both follow from the configuration alone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use netdev::PacketFilter;
use protocol::link::{Frontend, FrontendKind, NodeConfig, Transport, UplinkConfig};
use store::desired::Configuration;
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
    /// Ports of pods at the node's addresses.
    pub(super) host_ports: BTreeSet<(Ipv4Addr, Transport, u16)>,
    /// Those at 127.0.0.1.
    pub(super) local_ports: BTreeSet<(Transport, u16)>,
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
    /// The node's address there, which stands for 127.0.0.1 as a client.
    pub(super) address: Ipv4Addr,
    /// An address there that the switch answers ARP for, and that nobody has; it stands for 127.0.0.1 as a server.
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
        let own = |gateway: &Interface| match (node.service_cidr?, node.gateway_ip) {
            // No service has the first address of the range.
            (IpNet::V4(range), IpAddr::V4(address)) => {
                Some(OwnWay { gateway: gateway.clone(), address, next_hop: range.network() })
            }
            (_, _) => None,
        };
        let mut hidden = Self {
            device: device.clone(),
            source_ports: uplink.source_ports.clone(),
            node_port_range: uplink.node_ports.clone(),
            node_addresses: node_addresses(node, uplink.address),
            node_ports: BTreeSet::new(),
            host_ports: BTreeSet::new(),
            local_ports: BTreeSet::new(),
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
                    (FrontendKind::HostPort, IpAddr::V4(address)) => {
                        self.host_ports.insert((address, state.config.transport, frontend.port));
                    }
                    (FrontendKind::HostLocal, IpAddr::V4(_)) => {
                        self.local_ports.insert((state.config.transport, frontend.port));
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
            host_ports: &self.host_ports | &other.host_ports,
            local_ports: &self.local_ports | &other.local_ports,
            addresses: &self.addresses | &other.addresses,
            routed: &self.routed | &other.routed,
            ..self.clone()
        }
    }

    /// Differs from `other` in its sets at most.
    pub(super) fn has_same_rules(&self, other: &Self) -> bool {
        self.device == other.device && self.source_ports == other.source_ports && self.own == other.own
    }

    /// Numbers of host ports, sorted, those in a row together.
    fn host_port_ranges(&self) -> Vec<RangeInclusive<u16>> {
        let numbers: BTreeSet<u16> = self.host_ports.iter().map(|(_, _, number)| *number).collect();
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some(last) if number - 1 == *last.end() => *last = *last.start()..=number,
                Some(_) | None => ranges.push(number..=number),
            }
        }
        ranges
    }

    /// What the socket is to get.
    pub(super) fn filter(&self) -> PacketFilter {
        PacketFilter {
            whole: self.addresses.iter().map(|address| (*address).into()).collect(),
            shared: self.node_addresses.iter().copied().collect(),
            ports: [self.node_port_range.clone(), self.source_ports.clone()]
                .into_iter()
                .chain(self.host_port_ranges())
                .collect(),
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
    node.node_addresses.iter().filter_map(v4).chain([own]).collect()
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    }
}
