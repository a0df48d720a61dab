//! Objects in, datapath configuration out; and the deltas that lead from one to another.
//!
//! How it works: [`desired`] builds the whole configuration from scratch every time, so that
//! nothing depends on the order in which things happened. [`diff`] compares it with what is active
//! and yields deltas small enough for one message each, of which only the last commits: the change
//! is visible all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use protocol::link::{
    ConfigDelta, DeviceKind, Epoch, MAX_FDS, NodeConfig, PeerConfig, PortConfig, TunnelConfig, UplinkConfig,
};
use protocol::object::{Bandwidth, PortKind, PortState};
use protocol::{Mac, Offloads, PeerId, PortId};

use crate::record::{PodRecord, Provisioning};
pub use egress::{EgressSelector, taken_on_link};

use crate::services::{self, Services};

mod announced;
mod egress;

/// The gateway's port is always this one; pods get the others.
pub const GATEWAY_PORT: PortId = PortId(0);
/// The gateway's port in tables.
pub const GATEWAY_NAME: &str = "gateway";
/// Bytes that VXLAN adds to a packet over IPv4: outer IPv4, UDP, VXLAN and inner Ethernet headers.
pub const VXLAN_OVERHEAD: u16 = 50;
/// Threads that forward, at most; each has a tunnel port.
pub const MAX_WORKERS: u8 = 64;
/// Ports from this number on are the tunnel's, one per worker, from the highest number down.
pub const FIRST_TUNNEL_PORT: PortId = PortId(PortId::MAX_PORTS - MAX_WORKERS as u32);
/// The uplink's port; pods get numbers below it.
pub const UPLINK_PORT: PortId = PortId(FIRST_TUNNEL_PORT.0 - 1);
/// The uplink's port in tables.
pub const UPLINK_NAME: &str = "uplink";
/// Port settings in one message. One takes at most about 330 bytes (names are at most 244), so that
/// 128 stay below `protocol::link::MAX_MESSAGE_BYTES`. Detaches take at most 5 bytes each, 20 KiB for
/// all ports; a message carries one sort of change, so these do not add up.
const UPDATES_PER_MESSAGE: usize = 128;
/// Bytes of peers' settings in one message, counted by [`weight`]; half of what there is room for.
const PEER_BYTES_PER_MESSAGE: usize = 32 << 10;

/// The tunnel's port of a worker.
#[must_use]
pub const fn tunnel_port(worker: u8) -> PortId {
    PortId(PortId::MAX_PORTS - 1 - worker as u32)
}

/// What is known about the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Range of its pods.
    pub pod_cidr: IpNet,
    /// Range of all pods.
    pub cluster_cidr: IpNet,
    /// Cluster addresses of services.
    pub service_cidr: Option<IpNet>,
    /// The pods' default gateway.
    pub gateway_ip: IpAddr,
    /// Its own addresses.
    pub node_addresses: Vec<IpAddr>,
    /// See `NodeConfig`.
    pub fdb_ageing_seconds: u32,
    /// Its gateway TAP.
    pub gateway: GatewayDevice,
    /// Its end of the tunnel; `None` where there are no other nodes.
    pub tunnel: Option<TunnelFacts>,
    /// The way out of the cluster; `None` where there is none.
    pub uplink: Option<UplinkFacts>,
    /// Load-balancer addresses that this node stands for.
    pub announced: Vec<Ipv4Addr>,
    /// It has them by a lease, because there are other nodes that could.
    pub announced_by_lease: bool,
    /// The other nodes.
    pub peers: BTreeMap<PeerId, PeerConfig>,
    /// What this node balances; `None` as long as nobody knows: the datapath then keeps what it has.
    pub services: Option<Arc<Services>>,
}

/// The tunnel as it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelFacts {
    /// Address, port and limits.
    pub config: TunnelConfig,
    /// Threads that forward; each has a port of its own.
    pub workers: u8,
    /// What its sockets do for us.
    pub offloads: Offloads,
}

/// The uplink as it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkFacts {
    /// Addresses, ports and settings; `egress` and what is announced are filled in by [`desired`].
    pub config: UplinkConfig,
    /// What some pods appear as.
    pub egress: Vec<EgressSelector>,
    /// The interface's address.
    pub mac: Mac,
    /// The interface's MTU.
    pub ip_mtu: u16,
    /// What its socket does for us.
    pub offloads: Offloads,
}

/// The gateway TAP as it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayDevice {
    /// Which back-end.
    pub device: DeviceKind,
    /// What it does for us.
    pub offloads: Offloads,
    /// Its MTU.
    pub ip_mtu: u16,
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    /// Node-wide settings; `None` before the first commit.
    pub node: Option<NodeConfig>,
    /// By number.
    pub ports: BTreeMap<PortId, PortConfig>,
    /// By number; `None` for one that the datapath has, but nobody knows how.
    pub peers: BTreeMap<PeerId, Option<PeerConfig>>,
    /// By number. What is equal in two configurations is shared by them. `None` for whatever the datapath has, which
    /// nobody knows.
    pub services: Option<Arc<Services>>,
}

impl Configuration {
    /// The same without a way out.
    pub fn close_uplink(&mut self) {
        self.ports.remove(&UPLINK_PORT);
        if let Some(node) = &mut self.node {
            node.uplink = None;
        }
    }
}

/// The configuration that `pods` on the node described by `facts` need. Ports in `quarantined` keep
/// their place but are not read.
pub fn desired<'a>(
    facts: &NodeFacts,
    pods: impl IntoIterator<Item = &'a PodRecord>,
    quarantined: &BTreeSet<PortId>,
) -> Configuration {
    let pods: Vec<&PodRecord> =
        pods.into_iter().filter(|pod| pod.provisioning == Provisioning::Ready).collect();
    let mut ports: BTreeMap<PortId, PortConfig> = pods.iter().map(|pod| pod_port(pod)).collect();
    ports.insert(GATEWAY_PORT, gateway_port(facts));
    ports.extend(facts.uplink.as_ref().map(|uplink| (UPLINK_PORT, uplink_port(uplink))));
    ports.extend(facts.tunnel.iter().flat_map(|tunnel| tunnel_ports(facts, tunnel)));
    for (id, port) in &mut ports {
        if quarantined.contains(id) {
            port.state = PortState::Quarantined;
        }
    }
    // Without a tunnel there is no way to anybody.
    let peers = facts.peers.iter().filter(|_| facts.tunnel.is_some());
    let peers = peers.map(|(id, peer)| (*id, Some(peer.clone()))).collect();
    Configuration { node: Some(node_config(facts, &pods)), ports, peers, services: facts.services.clone() }
}

fn node_config(facts: &NodeFacts, pods: &[&PodRecord]) -> NodeConfig {
    let mut node_addresses = facts.node_addresses.clone();
    node_addresses.sort_unstable();
    node_addresses.dedup();
    NodeConfig {
        pod_cidr: facts.pod_cidr,
        cluster_cidr: facts.cluster_cidr,
        service_cidr: facts.service_cidr,
        gateway_ip: facts.gateway_ip,
        router_mac: Mac::for_router(facts.gateway_ip),
        node_addresses,
        fdb_ageing_seconds: facts.fdb_ageing_seconds,
        tunnel: facts.tunnel.as_ref().map(|tunnel| tunnel.config.clone()),
        uplink: facts.uplink.as_ref().map(|uplink| uplink_config(facts, uplink, pods)),
    }
}

fn uplink_config(facts: &NodeFacts, uplink: &UplinkFacts, pods: &[&PodRecord]) -> UplinkConfig {
    let egress = egress::rules(&uplink.egress, pods);
    UplinkConfig {
        announced: announced::sound(facts, &uplink.config, &egress),
        announced_by_lease: facts.announced_by_lease,
        egress,
        ..uplink.config.clone()
    }
}

/// Whoever comes in there is a stranger, and nobody is bound to the port.
fn uplink_port(uplink: &UplinkFacts) -> PortConfig {
    PortConfig {
        id: UPLINK_PORT,
        name: UPLINK_NAME.to_owned(),
        kind: PortKind::Uplink,
        device: DeviceKind::PacketSocket,
        offloads: uplink.offloads,
        mac: uplink.mac,
        addresses: Vec::new(),
        ip_mtu: uplink.ip_mtu,
        port_security: false,
        state: PortState::Active,
        bandwidth: Bandwidth::default(),
    }
}

/// What comes in there is checked against the peers, so sources are not bound to the port.
fn tunnel_ports(facts: &NodeFacts, tunnel: &TunnelFacts) -> impl Iterator<Item = (PortId, PortConfig)> {
    (0..tunnel.workers.min(MAX_WORKERS)).map(move |worker| {
        let id = tunnel_port(worker);
        let name = if tunnel.workers == 1 { "tunnel".to_owned() } else { format!("tunnel-{worker}") };
        let config = PortConfig {
            id,
            name,
            kind: PortKind::Tunnel,
            device: DeviceKind::UdpTunnel,
            offloads: tunnel.offloads,
            mac: Mac::for_router(facts.gateway_ip),
            // Its address is the node's, which is behind the gateway; no station is behind this one.
            addresses: Vec::new(),
            ip_mtu: tunnel.config.underlay_mtu.saturating_sub(VXLAN_OVERHEAD),
            port_security: false,
            state: PortState::Active,
            bandwidth: Bandwidth::default(),
        };
        (id, config)
    })
}

/// The node may send with any of its addresses, so sources are not bound there.
fn gateway_port(facts: &NodeFacts) -> PortConfig {
    PortConfig {
        id: GATEWAY_PORT,
        name: GATEWAY_NAME.to_owned(),
        kind: PortKind::Gateway,
        device: facts.gateway.device,
        offloads: facts.gateway.offloads,
        mac: Mac::for_gateway_tap(facts.gateway_ip),
        addresses: vec![facts.gateway_ip],
        ip_mtu: facts.gateway.ip_mtu,
        port_security: false,
        state: PortState::Active,
        bandwidth: Bandwidth::default(),
    }
}

fn pod_port(pod: &PodRecord) -> (PortId, PortConfig) {
    let config = PortConfig {
        id: pod.port,
        name: pod.metadata.key(),
        kind: PortKind::Pod,
        device: pod.device,
        offloads: pod.offloads,
        mac: pod.spec.mac,
        addresses: pod.spec.pod_ips.clone(),
        ip_mtu: pod.ip_mtu,
        port_security: pod.spec.port_security,
        state: PortState::Active,
        bandwidth: pod.spec.bandwidth,
    };
    (pod.port, config)
}

/// The deltas that turn `active`, whose number is `epoch`, into `wanted`; empty if they are equal.
/// All carry the number of the configuration they make together; only the last commits.
///
/// A port whose kind or back-end differs, or that is in `replaced` (its descriptor is another one),
/// is detached and attached anew.
#[must_use]
pub fn diff(
    epoch: Epoch,
    active: &Configuration,
    wanted: &Configuration,
    replaced: &BTreeSet<PortId>,
) -> Vec<ConfigDelta> {
    let mut detach = Vec::new();
    let mut attach = Vec::new();
    let mut update = Vec::new();
    for id in active.ports.keys().filter(|id| !wanted.ports.contains_key(id)) {
        detach.push(*id);
    }
    for (id, port) in &wanted.ports {
        match active.ports.get(id) {
            None => attach.push(port.clone()),
            Some(old) if replaced.contains(id) || !same_device(old, port) => {
                detach.push(*id);
                attach.push(port.clone());
            }
            Some(old) if old != port => update.push(port.clone()),
            Some(_) => {}
        }
    }
    let node = if active.node == wanted.node { None } else { wanted.node.clone() };
    let (forget_peers, peers) = peer_changes(active, wanted);
    let rest = ConfigDelta { detach, node, attach, update, forget_peers, peers, ..<_>::default() };
    let mut deltas = in_messages(epoch + 1, rest);
    let changes = service_changes(active.services.as_ref(), wanted.services.as_ref());
    deltas.extend(changes.in_messages());
    numbered(epoch, deltas)
}

/// The deltas that turn `active` services, of the configuration whose number is `epoch`, into `wanted`, as [`diff`] makes them;
/// everything else stays as it is.
#[must_use]
pub fn diff_services(epoch: Epoch, active: &Arc<Services>, wanted: &Arc<Services>) -> Vec<ConfigDelta> {
    numbered(epoch, service_changes(Some(active), Some(wanted)).in_messages())
}

fn numbered(epoch: Epoch, mut deltas: Vec<ConfigDelta>) -> Vec<ConfigDelta> {
    for delta in &mut deltas {
        delta.epoch = epoch + 1;
    }
    if let Some(last) = deltas.last_mut() {
        last.commit = true;
    }
    deltas
}

/// After a datapath of an earlier control process was taken over, all its services go and come again in the same
/// configuration: connections are pinned by addresses, so no packet notices.
fn service_changes(
    active: Option<&Arc<Services>>,
    wanted: Option<&Arc<Services>>,
) -> services::ServiceChanges {
    match (active, wanted) {
        (_, None) => services::ServiceChanges::default(),
        (Some(active), Some(wanted)) if Arc::ptr_eq(active, wanted) => services::ServiceChanges::default(),
        (Some(active), Some(wanted)) => services::diff(active, wanted),
        (None, Some(wanted)) => {
            let changes = services::diff(&Services::new(), wanted);
            services::ServiceChanges { reset: true, ..changes }
        }
    }
}

/// A number that another node has got is forgotten first: what was counted and measured under it is not
/// the new one's.
fn peer_changes(active: &Configuration, wanted: &Configuration) -> (Vec<PeerId>, Vec<PeerConfig>) {
    let stays = |id: &PeerId, old: &Option<PeerConfig>| match (old, wanted.peers.get(id)) {
        (_, None) => false,
        (Some(old), Some(Some(new))) => old.name == new.name,
        (None, Some(_)) | (_, Some(None)) => true,
    };
    let forget = active.peers.iter().filter(|(id, old)| !stays(id, old)).map(|(id, _)| *id).collect();
    let changed = wanted.peers.iter().filter(|(id, new)| active.peers.get(id) != Some(new));
    (forget, changed.filter_map(|(_, new)| new.clone()).collect())
}

fn same_device(a: &PortConfig, b: &PortConfig) -> bool {
    a.kind == b.kind && a.device == b.device && a.offloads == b.offloads
}

/// Splits `all`, which has no services, into messages, each of one sort of change, in the order in which one delta applies them;
/// except that peers that go do so first, for their addresses may be others' by then.
fn in_messages(epoch: Epoch, all: ConfigDelta) -> Vec<ConfigDelta> {
    let blank = || ConfigDelta { epoch, ..ConfigDelta::default() };
    let ConfigDelta { detach, node, attach, update, forget_peers, peers, .. } = all;
    let mut deltas = Vec::new();
    if !forget_peers.is_empty() {
        deltas.push(ConfigDelta { forget_peers, ..blank() });
    }
    if !detach.is_empty() || node.is_some() {
        deltas.push(ConfigDelta { detach, node, ..blank() });
    }
    let attach = by_weight(attach, MAX_FDS, |port| port.device.descriptors());
    deltas.extend(attach.into_iter().map(|attach| ConfigDelta { attach, ..blank() }));
    for chunk in update.chunks(UPDATES_PER_MESSAGE) {
        deltas.push(ConfigDelta { update: chunk.to_vec(), ..blank() });
    }
    let peers = by_weight(peers, PEER_BYTES_PER_MESSAGE, weight);
    deltas.extend(peers.into_iter().map(|peers| ConfigDelta { peers, ..blank() }));
    deltas
}

/// `items` in groups that weigh at most `limit` together, as one of them does.
pub(crate) fn by_weight<T>(items: Vec<T>, limit: usize, weight: fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let weight = weight(&item);
        match groups.last_mut() {
            Some(group) if weight <= room => group.push(item),
            Some(_) | None => {
                groups.push(vec![item]);
                room = limit;
            }
        }
        room = room.saturating_sub(weight);
    }
    groups
}

/// At least as many bytes as `peer` takes in a message: at most 19 per range (family, 16 bytes, length),
/// 17 per address, and about 40 for what all have.
fn weight(peer: &PeerConfig) -> usize {
    64 + peer.name.len() + 20 * peer.pod_cidrs.len() + 20 * peer.node_addresses.len()
}

#[cfg(test)]
mod tests;
