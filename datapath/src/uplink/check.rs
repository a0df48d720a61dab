//! What an uplink's configuration must be like, whichever deltas led to it.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use protocol::link::{NodeConfig, PeerConfig, UplinkConfig};

use crate::admission::is_martian_source;

/// Addresses one node stands for: each is a frame every 150 s, and a route.
const MAX_ADDRESSES: usize = 4096;

/// Why an uplink cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UplinkError {
    /// A range of ports without a port, or with port 0.
    #[error("uplink: {role} {}-{} are no ports", range.start(), range.end())]
    NoPorts {
        /// What they are for.
        role: &'static str,
        /// The range.
        range: RangeInclusive<u16>,
    },
    /// The switch would make connections from where services are.
    #[error(
        "uplink: source ports {}-{} overlap node ports {}-{}",
        source_ports.start(), source_ports.end(), node_ports.start(), node_ports.end()
    )]
    OverlappingPorts {
        /// Of connections from here.
        source_ports: RangeInclusive<u16>,
        /// Of services.
        node_ports: RangeInclusive<u16>,
    },
    /// Nobody can have such an address.
    #[error("uplink: {role} {address} is not the address of a station")]
    BadAddress {
        /// What it is for.
        role: &'static str,
        /// The address.
        address: Ipv4Addr,
    },
    /// An address outside that lies in a range of the cluster.
    #[error("uplink: {role} {address} lies in {range} of the cluster")]
    InsideCluster {
        /// What it is for.
        role: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// The range.
        range: IpNet,
    },
    /// An address that somebody else has.
    #[error("uplink: {role} {address} belongs to {owner}")]
    Taken {
        /// What it is for.
        role: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        owner: String,
    },
    /// The node does not lie in its own network.
    #[error("uplink: {address} does not lie in {subnet}")]
    OutsideSubnet {
        /// The node's address.
        address: Ipv4Addr,
        /// The network of the link.
        subnet: ipnet::Ipv4Net,
    },
    /// More than there is room for.
    #[error("uplink: {0} addresses are more than the {MAX_ADDRESSES} that one node can stand for")]
    TooManyAddresses(usize),
}

/// Checks the node's uplink, if it has one.
pub(crate) fn check<'a>(
    node: &NodeConfig,
    peers: impl Iterator<Item = &'a PeerConfig>,
) -> Result<(), UplinkError> {
    let Some(uplink) = &node.uplink else { return Ok(()) };
    check_ports(uplink)?;
    let address = uplink.address;
    check_outside("address", address, node)?;
    if !uplink.subnet.contains(&address) {
        return Err(UplinkError::OutsideSubnet { address, subnet: uplink.subnet });
    }
    if let Some(gateway) = uplink.gateway {
        check_outside("gateway", gateway, node)?;
        check_not_nodes("gateway", gateway, node)?;
    }
    check_stood_for(uplink, node, peers)
}

fn check_ports(uplink: &UplinkConfig) -> Result<(), UplinkError> {
    for (role, range) in [("source ports", &uplink.source_ports), ("node ports", &uplink.node_ports)] {
        if range.is_empty() || *range.start() == 0 {
            return Err(UplinkError::NoPorts { role, range: range.clone() });
        }
    }
    let (source, node) = (&uplink.source_ports, &uplink.node_ports);
    if source.start() <= node.end() && node.start() <= source.end() {
        return Err(UplinkError::OverlappingPorts { source_ports: source.clone(), node_ports: node.clone() });
    }
    Ok(())
}

/// Addresses that the switch answers ARP for are nobody else's.
fn check_stood_for<'a>(
    uplink: &UplinkConfig,
    node: &NodeConfig,
    peers: impl Iterator<Item = &'a PeerConfig>,
) -> Result<(), UplinkError> {
    let announced = uplink.announced.iter().map(|address| ("announced address", *address));
    let egress = uplink.egress.iter().map(|rule| ("egress address", rule.address));
    let count = uplink.announced.len() + uplink.egress.len();
    if count > MAX_ADDRESSES {
        return Err(UplinkError::TooManyAddresses(count));
    }
    let mut stood_for = Vec::with_capacity(count);
    for (role, address) in announced.chain(egress) {
        check_outside(role, address, node)?;
        check_not_nodes(role, address, node)?;
        if uplink.gateway == Some(address) {
            return Err(UplinkError::Taken { role, address, owner: "the uplink's gateway".to_owned() });
        }
        stood_for.push((address, role));
    }
    stood_for.sort_unstable();
    if let Some([(address, _), (_, role)]) = stood_for.array_windows().find(|[a, b]| a.0 == b.0 && a.1 != b.1)
    {
        let owner = "the load balancers".to_owned();
        return Err(UplinkError::Taken { role, address: *address, owner });
    }
    for peer in peers {
        let addresses = peer.node_addresses.iter().copied().chain([IpAddr::V4(peer.address)]);
        for address in addresses.filter_map(v4) {
            if let Ok(at) = stood_for.binary_search_by_key(&address, |(address, _)| *address)
                && let Some((_, role)) = stood_for.get(at)
            {
                return Err(UplinkError::Taken { role, address, owner: peer.name.clone() });
            }
        }
    }
    Ok(())
}

/// A unicast address, of none of the cluster's ranges.
fn check_outside(role: &'static str, address: Ipv4Addr, node: &NodeConfig) -> Result<(), UplinkError> {
    if is_martian_source(address) {
        return Err(UplinkError::BadAddress { role, address });
    }
    let mut ranges = [node.cluster_cidr, node.pod_cidr].into_iter().chain(node.service_cidr);
    match ranges.find(|range| range.contains(&IpAddr::V4(address))) {
        Some(range) => Err(UplinkError::InsideCluster { role, address, range }),
        None => Ok(()),
    }
}

fn check_not_nodes(role: &'static str, address: Ipv4Addr, node: &NodeConfig) -> Result<(), UplinkError> {
    let is_uplinks = node.uplink.as_ref().is_some_and(|uplink| uplink.address == address);
    if is_uplinks || node.node_addresses.contains(&IpAddr::V4(address)) {
        return Err(UplinkError::Taken { role, address, owner: "the node".to_owned() });
    }
    Ok(())
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}
