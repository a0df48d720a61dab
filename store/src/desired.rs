//! Objects in, datapath configuration out; and the deltas that lead from one to another.
//!
//! How it works: [`desired`] builds the whole configuration from scratch every time, so that
//! nothing depends on the order in which things happened. [`diff`] compares it with what is active
//! and yields deltas small enough for one message each, of which only the last commits: the change
//! is visible all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use protocol::link::{ConfigDelta, DeviceKind, Epoch, MAX_FDS, NodeConfig, PortConfig};
use protocol::object::{PortKind, PortState};
use protocol::{Mac, Offloads, PortId};

use crate::record::{PodRecord, Provisioning};

/// The gateway's port is always this one; pods get the others.
pub const GATEWAY_PORT: PortId = PortId(0);
/// The gateway's port in tables.
pub const GATEWAY_NAME: &str = "gateway";
/// Port settings in one message. One takes at most about 330 bytes (names are at most 244), so that
/// 128 stay below `protocol::link::MAX_MESSAGE_BYTES`. Detaches take at most 5 bytes each, 20 KiB for
/// all ports; a message carries one sort of change, so these do not add up.
const UPDATES_PER_MESSAGE: usize = 128;

/// What is known about the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Range of its pods.
    pub pod_cidr: IpNet,
    /// Range of all pods.
    pub cluster_cidr: IpNet,
    /// The pods' default gateway.
    pub gateway_ip: IpAddr,
    /// Its own addresses.
    pub node_addresses: Vec<IpAddr>,
    /// See `NodeConfig`.
    pub fdb_ageing_seconds: u32,
    /// Its gateway TAP.
    pub gateway: GatewayDevice,
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
}

/// The configuration that `pods` on the node described by `facts` need. Ports in `quarantined` keep
/// their place but are not read.
pub fn desired<'a>(
    facts: &NodeFacts,
    pods: impl IntoIterator<Item = &'a PodRecord>,
    quarantined: &BTreeSet<PortId>,
) -> Configuration {
    let mut ports: BTreeMap<PortId, PortConfig> =
        pods.into_iter().filter(|pod| pod.provisioning == Provisioning::Ready).map(pod_port).collect();
    ports.insert(GATEWAY_PORT, gateway_port(facts));
    for (id, port) in &mut ports {
        if quarantined.contains(id) {
            port.state = PortState::Quarantined;
        }
    }
    Configuration { node: Some(node_config(facts)), ports }
}

fn node_config(facts: &NodeFacts) -> NodeConfig {
    let mut node_addresses = facts.node_addresses.clone();
    node_addresses.sort_unstable();
    node_addresses.dedup();
    NodeConfig {
        pod_cidr: facts.pod_cidr,
        cluster_cidr: facts.cluster_cidr,
        gateway_ip: facts.gateway_ip,
        router_mac: Mac::for_router(facts.gateway_ip),
        node_addresses,
        fdb_ageing_seconds: facts.fdb_ageing_seconds,
        tunnel: None,
    }
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
    in_messages(epoch + 1, detach, node, attach, update)
}

fn same_device(a: &PortConfig, b: &PortConfig) -> bool {
    a.kind == b.kind && a.device == b.device && a.offloads == b.offloads
}

fn in_messages(
    epoch: Epoch,
    detach: Vec<PortId>,
    node: Option<NodeConfig>,
    attach: Vec<PortConfig>,
    update: Vec<PortConfig>,
) -> Vec<ConfigDelta> {
    let blank = || ConfigDelta { epoch, ..ConfigDelta::default() };
    let mut deltas = Vec::new();
    if !detach.is_empty() || node.is_some() {
        deltas.push(ConfigDelta { detach, node, ..blank() });
    }
    for chunk in attach.chunks(MAX_FDS) {
        deltas.push(ConfigDelta { attach: chunk.to_vec(), ..blank() });
    }
    for chunk in update.chunks(UPDATES_PER_MESSAGE) {
        deltas.push(ConfigDelta { update: chunk.to_vec(), ..blank() });
    }
    if let Some(last) = deltas.last_mut() {
        last.commit = true;
    }
    deltas
}

#[cfg(test)]
mod tests;
