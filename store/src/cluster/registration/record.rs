//! What a node says about itself, and where.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use protocol::Mac;
use serde::{Deserialize, Serialize};

/// Prefix of [`NodeRecord`]s.
pub const NODES: &str = "/vpod/v1/nodes/";
/// Prefix of the owners of Pod CIDRs.
pub const CIDRS: &str = "/vpod/v1/cidrs/";
/// Prefix of [`AliveRecord`]s.
pub const ALIVE: &str = "/vpod/v1/alive/";
/// Where the [`PlanRecord`] is.
pub(super) const PLAN: &str = "/vpod/v1/cidr-plan";

/// What a node says about itself. Fields added later have defaults, so that releases mix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Of the machine (or namespace) it runs on: two daemons of one name are told apart by it.
    pub machine_id: String,
    /// Where its tunnel is.
    pub address: Ipv4Addr,
    /// The tunnel's UDP port.
    #[serde(default = "default_udp_port")]
    pub udp_port: u16,
    /// All its own addresses.
    #[serde(default)]
    pub node_addresses: Vec<Ipv4Addr>,
    /// Its router's, where it is not the one that follows from the Pod CIDR.
    #[serde(default)]
    pub router_mac: Option<Mac>,
    /// The cluster's network identifier.
    #[serde(default = "default_vni")]
    pub vni: u32,
    /// Whether it has pods, which then receive broadcasts of others.
    #[serde(default = "default_has_pods")]
    pub has_pods: bool,
    /// Whether it answers keep-alives in the tunnel.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: bool,
    /// MTU of its pods; 0 where it is not said.
    #[serde(default)]
    pub ip_mtu: u16,
    /// The daemon's release.
    #[serde(default)]
    pub version: String,
}

impl NodeSpec {
    /// With defaults for everything that has one.
    #[must_use]
    pub fn new(name: &str, machine_id: &str, address: Ipv4Addr) -> Self {
        Self {
            name: name.to_owned(),
            machine_id: machine_id.to_owned(),
            address,
            udp_port: default_udp_port(),
            node_addresses: vec![address],
            router_mac: None,
            vni: default_vni(),
            has_pods: default_has_pods(),
            keep_alive: default_keep_alive(),
            ip_mtu: 0,
            version: String::new(),
        }
    }
}

/// A registered node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The range of its pods, its own until it is deleted.
    pub pod_cidr: Ipv4Net,
    /// The rest.
    #[serde(flatten)]
    pub spec: NodeSpec,
}

/// Who runs under a name now. It ends with the daemon's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliveRecord {
    /// See [`NodeSpec`].
    pub machine_id: String,
    /// See [`NodeSpec`].
    pub address: Ipv4Addr,
}

/// How the cluster's range is cut, so that nodes with another idea of it are refused instead of overlapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlanRecord {
    pub(super) cluster_cidr: Ipv4Net,
    pub(super) node_prefix_len: u8,
}

/// Where a node's record is.
#[must_use]
pub fn node_key(name: &str) -> String {
    format!("{NODES}{name}")
}

/// Where the owner of a Pod CIDR is.
#[must_use]
pub fn cidr_key(cidr: Ipv4Net) -> String {
    format!("{CIDRS}{}-{}", cidr.network(), cidr.prefix_len())
}

/// Where it says that a node's daemon runs.
#[must_use]
pub fn alive_key(name: &str) -> String {
    format!("{ALIVE}{name}")
}

/// VXLAN's (RFC 7348 §8).
const fn default_udp_port() -> u16 {
    4789
}

const fn default_vni() -> u32 {
    1
}

/// A peer that does not say is not to miss broadcasts.
const fn default_has_pods() -> bool {
    true
}

const fn default_keep_alive() -> bool {
    true
}
