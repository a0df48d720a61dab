//! Configuration: deltas are checked whole, collected until one commits, then visible at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use protocol::link::{ConfigDelta, Epoch, NodeConfig, PeerConfig, PortConfig};
use protocol::object::PortKind;
use protocol::{Mac, PeerId, PortId, ServiceId};

use crate::overlay::OVERHEAD;
use crate::policy::Draft;
use crate::service::{Changes, Services};
use crate::uplink::{self, UplinkError};

/// Smallest IP MTU a link may have (RFC 791 §3.2).
const MIN_IP_MTU: u16 = 68;

/// Why a delta was refused. Nothing of it, and nothing collected before it, took effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the successor of the active configuration.
    #[error("configuration {got} does not follow the active configuration {active}")]
    WrongEpoch {
        /// The active one.
        active: Epoch,
        /// The delta's.
        got: Epoch,
    },
    /// A number no table has room for.
    #[error("port {0} is beyond the last port number {max}", max = PortId::MAX_PORTS - 1)]
    PortOutOfRange(PortId),
    /// Detach or update of a port that does not exist.
    #[error("port {0} is not attached")]
    UnknownPort(PortId),
    /// Attach of a number that is taken.
    #[error("port {port} is already attached as {name}")]
    PortExists {
        /// The number.
        port: PortId,
        /// Who has it.
        name: String,
    },
    /// Update that would change what was fixed at attach.
    #[error("port {port} ({name}): kind and device cannot change")]
    KindChanged {
        /// The number.
        port: PortId,
        /// Its name.
        name: String,
    },
    /// A second gateway.
    #[error("port {port} ({name}): port {other} is already the gateway")]
    SecondGateway {
        /// The new one.
        port: PortId,
        /// Its name.
        name: String,
        /// The old one.
        other: PortId,
    },
    /// A second uplink.
    #[error("port {port} ({name}): port {other} is already the uplink")]
    SecondUplink {
        /// The new one.
        port: PortId,
        /// Its name.
        name: String,
        /// The old one.
        other: PortId,
    },
    /// An uplink that cannot be.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// A group address or all zeroes.
    #[error("{owner}: {mac} is not the address of a station")]
    BadMac {
        /// Port name, or `router`.
        owner: String,
        /// The address.
        mac: Mac,
    },
    /// Two owners of one MAC.
    #[error("{owner}: MAC {mac} already belongs to {other}")]
    DuplicateMac {
        /// Port name.
        owner: String,
        /// The address.
        mac: Mac,
        /// Who has it.
        other: String,
    },
    /// Not a unicast address.
    #[error("{owner}: {address} is not the address of a station")]
    BadAddress {
        /// Port name.
        owner: String,
        /// The address.
        address: IpAddr,
    },
    /// Two owners of one address.
    #[error("{owner}: address {address} already belongs to {other}")]
    DuplicateAddress {
        /// Port name.
        owner: String,
        /// The address.
        address: IpAddr,
        /// Who has it.
        other: String,
    },
    /// A range or address that IPv4 forwarding cannot use.
    #[error("node: {0} is not IPv4, which is all this version forwards")]
    NotIpv4(String),
    /// Too small to carry IP.
    #[error("port {port} ({name}): an IP MTU of {ip_mtu} is below 68, the smallest IPv4 link")]
    MtuTooSmall {
        /// The port.
        port: PortId,
        /// Its name.
        name: String,
        /// The MTU.
        ip_mtu: u16,
    },
    /// A number no table has room for.
    #[error("peer {0} is beyond the last peer number {max}", max = PeerId::MAX_PEERS - 1)]
    PeerOutOfRange(PeerId),
    /// Removal of a peer that does not exist.
    #[error("there is no peer {0}")]
    UnknownPeer(PeerId),
    /// A peer that could not be reached, or not told from another.
    #[error("peer {peer} ({name}): {problem}")]
    BadPeer {
        /// The number.
        peer: PeerId,
        /// Its node's name.
        name: String,
        /// What is wrong, naming the object.
        problem: String,
    },
    /// A network identifier of more than 24 bits.
    #[error("tunnel: {0} is not a VXLAN network identifier, which has 24 bits")]
    BadVni(u32),
    /// An underlay that carries no packet.
    #[error("tunnel: an underlay MTU of {0} leaves no room for packets of pods")]
    UnderlayTooSmall(u16),
    /// Change of a service that does not exist.
    #[error("there is no service {0}")]
    UnknownService(ServiceId),
    /// A service that cannot be, or not beside others.
    #[error("service {service} ({name}): {problem}")]
    BadService {
        /// The number.
        service: ServiceId,
        /// Its name.
        name: String,
        /// What is wrong, naming the object.
        problem: String,
    },
    /// Tables of policies that do not fit together.
    #[error("policies: {0}")]
    BadPolicies(String),
    /// Two ranges that must not have addresses in common.
    #[error("node: {0} overlaps {1}")]
    OverlappingRanges(IpNet, IpNet),
    /// The node's ranges do not nest.
    #[error("node: {inner} does not lie in {outer}")]
    OutsideRange {
        /// The smaller one.
        inner: String,
        /// The larger one.
        outer: String,
    },
}

/// A whole configuration, as it is or as it will be after the next commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desired {
    pub(crate) node: Option<NodeConfig>,
    /// Shared with the active configuration until a port changes.
    pub(crate) ports: Arc<BTreeMap<PortId, PortConfig>>,
    /// Shared with the active configuration, even while some change: there may be thousands.
    pub(crate) peers: Arc<BTreeMap<PeerId, Arc<PeerConfig>>>,
    /// Numbers whose device is new since the active configuration: nothing remembered about the
    /// old bearer may be used.
    pub(crate) fresh: Vec<PortId>,
    /// Something but services changes.
    pub(crate) network_changes: bool,
    /// Services that change. Not a copy of all: there may be tens of thousands.
    pub(crate) services: Changes,
    /// Policies that change.
    pub(crate) policies: Draft,
}

impl Desired {
    /// Applies one delta to what follows configuration `active`, in the order the link prescribes.
    pub(crate) fn apply(
        &mut self,
        delta: &ConfigDelta,
        active: Epoch,
        services: &Services,
    ) -> Result<(), ConfigError> {
        if delta.epoch != active + 1 {
            return Err(ConfigError::WrongEpoch { active, got: delta.epoch });
        }
        if changes_network(delta) {
            self.network_changes = true;
            self.apply_network(delta)?;
        }
        self.services.collect(delta, services)
    }

    fn apply_network(&mut self, delta: &ConfigDelta) -> Result<(), ConfigError> {
        for port in &delta.detach {
            Arc::make_mut(&mut self.ports).remove(port).ok_or(ConfigError::UnknownPort(*port))?;
        }
        if let Some(node) = &delta.node {
            self.node = Some(node.clone());
        }
        for port in &delta.attach {
            self.attach(port)?;
        }
        for port in &delta.update {
            self.update(port)?;
        }
        for &peer in &delta.forget_peers {
            Arc::make_mut(&mut self.peers).remove(&peer).ok_or(ConfigError::UnknownPeer(peer))?;
        }
        for peer in &delta.peers {
            if peer.id.0 >= PeerId::MAX_PEERS {
                return Err(ConfigError::PeerOutOfRange(peer.id));
            }
            Arc::make_mut(&mut self.peers).insert(peer.id, Arc::new(peer.clone()));
        }
        Ok(())
    }

    fn attach(&mut self, port: &PortConfig) -> Result<(), ConfigError> {
        if port.id.0 >= PortId::MAX_PORTS {
            return Err(ConfigError::PortOutOfRange(port.id));
        }
        if let Some(other) = self.ports.get(&port.id) {
            return Err(ConfigError::PortExists { port: port.id, name: other.name.clone() });
        }
        Arc::make_mut(&mut self.ports).insert(port.id, port.clone());
        self.fresh.push(port.id);
        Ok(())
    }

    fn update(&mut self, port: &PortConfig) -> Result<(), ConfigError> {
        let ports = Arc::make_mut(&mut self.ports);
        let old = ports.get_mut(&port.id).ok_or(ConfigError::UnknownPort(port.id))?;
        if old.kind != port.kind || old.device != port.device {
            return Err(ConfigError::KindChanged { port: port.id, name: port.name.clone() });
        }
        old.clone_from(port);
        Ok(())
    }

    /// What must hold of the whole, whichever deltas led to it.
    pub(crate) fn check(&self, services: &Services) -> Result<(), ConfigError> {
        if self.network_changes {
            self.check_node()?;
            self.check_ports()?;
            self.check_macs()?;
            self.check_addresses()?;
            self.check_tunnel()?;
            self.check_peers()?;
            self.check_uplink()?;
        }
        self.services.check(services, self.node.as_ref(), self.owners())
    }

    /// Addresses that somebody has, and who.
    fn owners(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        let node = self.node.iter().flat_map(|node| {
            let own = node.node_addresses.iter().map(|address| (*address, "the node"));
            std::iter::once((node.gateway_ip, "the gateway")).chain(own)
        });
        let egress =
            self.node.iter().filter_map(|node| node.uplink.as_ref()).flat_map(|uplink| &uplink.egress);
        let egress = egress.map(|rule| (IpAddr::V4(rule.address), "an egress rule"));
        let ports = self.ports.values();
        let ports =
            ports.flat_map(|port| port.addresses.iter().map(|address| (*address, port.name.as_str())));
        let peers = self.peers.values().flat_map(|peer| {
            let addresses = peer.node_addresses.iter().copied();
            let addresses = addresses.chain(std::iter::once(IpAddr::V4(peer.address)));
            addresses.map(|address| (address, peer.name.as_str()))
        });
        node.chain(egress).chain(ports).chain(peers)
    }

    fn check_uplink(&self) -> Result<(), ConfigError> {
        let Some(node) = &self.node else { return Ok(()) };
        Ok(uplink::check(node, self.peers.values().map(AsRef::as_ref))?)
    }

    fn check_tunnel(&self) -> Result<(), ConfigError> {
        let Some(tunnel) = self.node.as_ref().and_then(|node| node.tunnel.as_ref()) else { return Ok(()) };
        if tunnel.vni >= 1 << 24 {
            return Err(ConfigError::BadVni(tunnel.vni));
        }
        if tunnel.underlay_mtu < MIN_IP_MTU + OVERHEAD {
            return Err(ConfigError::UnderlayTooSmall(tunnel.underlay_mtu));
        }
        Ok(())
    }

    /// One outer address each, and no range or address that is somebody else's.
    fn check_peers(&self) -> Result<(), ConfigError> {
        let bad = |peer: &PeerConfig, problem| {
            Err(ConfigError::BadPeer { peer: peer.id, name: peer.name.clone(), problem })
        };
        let mut addresses = BTreeMap::new();
        let own = self.node.as_ref();
        let mut owned: Vec<(Ipv4Net, Option<&PeerConfig>)> = own
            .into_iter()
            .flat_map(|node| {
                std::iter::once(node.pod_cidr).chain(node.node_addresses.iter().copied().map(IpNet::from))
            })
            .filter_map(|net| v4(net).map(|net| (net, None)))
            .collect();
        for peer in self.peers.values().map(AsRef::as_ref) {
            let address = peer.address;
            if address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
                || peer.udp_port == 0
            {
                return bad(peer, format!("{address}:{} is not where a node receives", peer.udp_port));
            }
            if own.and_then(|node| node.tunnel.as_ref()).is_some_and(|tunnel| tunnel.address == address) {
                return bad(peer, format!("{address} is this node's own address"));
            }
            if let Some(other) = addresses.insert(address, peer.id) {
                return bad(peer, format!("address {address} already belongs to peer {other}"));
            }
            if !peer.router_mac.is_valid_source() {
                return bad(peer, format!("{} is not the address of a station", peer.router_mac));
            }
            let nodes = peer.node_addresses.iter().copied().map(IpNet::from);
            for net in peer.pod_cidrs.iter().copied().chain(nodes) {
                match v4(net) {
                    Some(net) => owned.push((net, Some(peer))),
                    None => {
                        return bad(peer, format!("{net} is not IPv4, which is all this version forwards"));
                    }
                }
            }
        }
        // Sorted so, a range that lies in another follows it or one that lies in it too.
        owned.sort_by_key(|(net, _)| (net.network(), net.prefix_len()));
        let mut outer: Option<(Ipv4Net, Option<&PeerConfig>)> = None;
        for (net, owner) in owned {
            if let Some((around, other)) = outer.filter(|(around, _)| around.contains(&net)) {
                let same = owner.map(|peer| peer.id) == other.map(|peer| peer.id);
                if let Some(peer) = owner.or(other).filter(|_| !same) {
                    return bad(peer, format!("{net} overlaps {around} of another node"));
                }
            } else {
                outer = Some((net, owner));
            }
        }
        Ok(())
    }

    fn check_node(&self) -> Result<(), ConfigError> {
        let Some(node) = &self.node else { return Ok(()) };
        for net in [node.pod_cidr, node.cluster_cidr].into_iter().chain(node.service_cidr) {
            if net.addr().is_ipv6() {
                return Err(ConfigError::NotIpv4(net.to_string()));
            }
        }
        if !node.cluster_cidr.contains(&node.pod_cidr) {
            return Err(ConfigError::OutsideRange {
                inner: node.pod_cidr.to_string(),
                outer: node.cluster_cidr.to_string(),
            });
        }
        if let Some(services) = node.service_cidr
            && (services.contains(&node.cluster_cidr) || node.cluster_cidr.contains(&services))
        {
            return Err(ConfigError::OverlappingRanges(services, node.cluster_cidr));
        }
        if !node.pod_cidr.contains(&node.gateway_ip) {
            return Err(ConfigError::OutsideRange {
                inner: node.gateway_ip.to_string(),
                outer: node.pod_cidr.to_string(),
            });
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), ConfigError> {
        let (mut gateway, mut uplink) = (None, None);
        for port in self.ports.values() {
            if port.ip_mtu < MIN_IP_MTU {
                return Err(ConfigError::MtuTooSmall {
                    port: port.id,
                    name: port.name.clone(),
                    ip_mtu: port.ip_mtu,
                });
            }
            let (id, name) = (port.id, || port.name.clone());
            match port.kind {
                PortKind::Pod | PortKind::Tunnel => {}
                PortKind::Gateway => {
                    if let Some(other) = gateway.replace(id) {
                        return Err(ConfigError::SecondGateway { port: id, name: name(), other });
                    }
                }
                PortKind::Uplink => {
                    if let Some(other) = uplink.replace(id) {
                        return Err(ConfigError::SecondUplink { port: id, name: name(), other });
                    }
                }
            }
        }
        Ok(())
    }

    fn check_macs(&self) -> Result<(), ConfigError> {
        let router = self.node.iter().map(|node| ("router", node.router_mac));
        // Nobody sends frames to a tunnel's own MAC.
        let ports = self.ports.values().filter(|port| port.kind != PortKind::Tunnel);
        let ports = ports.map(|port| (port.name.as_str(), port.mac));
        let mut owners = BTreeMap::new();
        for (owner, mac) in router.chain(ports) {
            if !mac.is_valid_source() {
                return Err(ConfigError::BadMac { owner: owner.to_owned(), mac });
            }
            if let Some(other) = owners.insert(mac, owner) {
                return Err(ConfigError::DuplicateMac {
                    owner: owner.to_owned(),
                    mac,
                    other: other.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// One owner for each address. The node may list an address twice (on two devices), and the
    /// gateway's, which is its own.
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let mut owners = BTreeMap::new();
        if let Some(node) = &self.node {
            owners.insert(node.gateway_ip, (PortKind::Gateway, "gateway"));
            owners.extend(node.node_addresses.iter().map(|address| (*address, (PortKind::Gateway, "node"))));
        }
        // The uplink's are the node's.
        for port in self.ports.values().filter(|port| port.kind != PortKind::Uplink) {
            for &address in &port.addresses {
                let owner = || port.name.clone();
                if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                    return Err(ConfigError::BadAddress { owner: owner(), address });
                }
                match owners.insert(address, (port.kind, port.name.as_str())) {
                    Some((PortKind::Gateway, _)) if port.kind == PortKind::Gateway => {}
                    Some((_, other)) => {
                        let other = other.to_owned();
                        return Err(ConfigError::DuplicateAddress { owner: owner(), address, other });
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }
}

/// It is about more than services and policies.
fn changes_network(delta: &ConfigDelta) -> bool {
    let ConfigDelta {
        epoch: _,
        detach,
        node,
        attach,
        update,
        forget_peers,
        peers,
        reset_services: _,
        forget_services: _,
        services: _,
        backends: _,
        reset_policies: _,
        policies: _,
        commit: _,
    } = delta;
    node.is_some()
        || !detach.is_empty()
        || !attach.is_empty()
        || !update.is_empty()
        || !forget_peers.is_empty()
        || !peers.is_empty()
}

fn v4(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(v4) => Some(v4.trunc()),
        IpNet::V6(_) => None,
    }
}
