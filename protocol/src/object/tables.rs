//! The node, and the rows of its switch's tables.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::addr::{Mac, Offloads, PortId};

/// A machine (or a netns playing one) that runs `vswitchd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name in the cluster.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The range its pods' addresses come from.
    pub pod_cidr: IpNet,
    /// First address of the range: the pods' default gateway.
    pub gateway: IpAddr,
    /// MTU of its pods; known of the own node.
    pub pod_mtu: Option<u16>,
    /// Pods on it; known of the own node.
    pub pods: Option<u32>,
    /// Its daemon works: the datapath process of the own node forwards, another node answers through
    /// the tunnel. `None` if it cannot be told.
    pub ready: Option<bool>,
    /// vpod's version there; empty if not known.
    pub version: String,
    /// Kernel release there; empty if not known.
    pub kernel: String,
}

/// A row of the forwarding database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FdbEntry {
    /// The station.
    pub mac: Mac,
    /// Where it is.
    pub port: PortId,
    /// That port's name.
    pub port_name: String,
    /// Configured (pods, router), never aged or moved by traffic.
    pub is_static: bool,
    /// Since the last frame from it; zero for static ones.
    pub age_ms: u64,
}

/// A row of the neighbour table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NeighborEntry {
    /// The address.
    pub ip: IpAddr,
    /// The station that has it.
    pub mac: Mac,
    /// Where that station is.
    pub port: PortId,
    /// That port's name.
    pub port_name: String,
    /// Configured, or learned from ARP.
    pub is_static: bool,
    /// Since it was last confirmed; zero for static ones.
    pub age_ms: u64,
}

/// A row of the flow table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Where its frames come in.
    pub ingress: PortId,
    /// That port's name.
    pub ingress_name: String,
    /// Where they go.
    pub egress: PortId,
    /// That port's name.
    pub egress_name: String,
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Source port, or ICMP identifier; zero where the protocol has none.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; zero where the protocol has none.
    pub destination_port: u16,
    /// Superframes forwarded by it.
    pub frames: u64,
    /// Bytes of those, from the Ethernet header on.
    pub bytes: u64,
    /// Since its last frame.
    pub idle_ms: u64,
    /// What its packets become, if they are a translated connection's.
    pub becomes: Option<ConnTuple>,
}

/// A row of the connection table: one translated connection, both directions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// IP protocol number.
    pub protocol: u8,
    /// What its first packet said, and all that way say before they are translated.
    pub original: ConnTuple,
    /// What the answers say before they are translated back.
    pub reply: ConnTuple,
    /// What was seen of it, such as `ESTABLISHED`.
    pub state: String,
    /// Since its first packet.
    pub age_ms: u64,
    /// Since its last packet, to a second.
    pub idle_ms: u64,
    /// Until it is forgotten, if it stays silent.
    pub timeout_ms: u64,
    /// Whose share it counts in: where its first packet came in.
    pub owner: PortId,
    /// That port's name.
    pub owner_name: String,
    /// It is to a service.
    pub is_service: bool,
    /// Of a pod with itself through a service.
    pub is_hairpin: bool,
}

/// Where packets come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnTuple {
    /// Source address.
    pub source: IpAddr,
    /// Source port; of ICMP queries their identifier.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; of answers to ICMP queries their identifier.
    pub destination_port: u16,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortKind {
    /// A pod's `eth0`.
    Pod,
    /// `vpod0`, the node's own way in.
    Gateway,
    /// The way to other nodes.
    Tunnel,
    /// The node's interface to everything outside the cluster, shared with its own stack.
    Uplink,
}

/// What the datapath knows about a peer from what passes between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerHealth {
    /// Whether it answers; `None` if it is not asked, or was not long enough ago to tell.
    pub reachable: Option<bool>,
    /// Since its last accepted packet.
    pub last_seen_ms: Option<u64>,
    /// Keep-alive round trip, smoothed, in microseconds.
    pub rtt_us: Option<u32>,
    /// Keep-alives of the last 100 that went unanswered, in percent.
    pub loss_percent: Option<u8>,
    /// Largest outer IP packet that is known to arrive (RFC 8899); `None` before the first probe.
    pub path_mtu: Option<u16>,
    /// Inner packets sent to it.
    pub tx_packets: u64,
    /// Bytes of those, from the inner Ethernet header on.
    pub tx_bytes: u64,
    /// Inner packets accepted from it.
    pub rx_packets: u64,
    /// Bytes of those, from the inner Ethernet header on.
    pub rx_bytes: u64,
}

/// A row of `get peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its node's name.
    pub name: String,
    /// Outer address.
    pub address: IpAddr,
    /// UDP port it receives at.
    pub udp_port: u16,
    /// Its Pod CIDRs.
    pub pod_cidrs: Vec<IpNet>,
    /// Where it is known from.
    pub origin: PeerOrigin,
    /// MTU of pods' packets to it: path MTU, or the underlay's, less the overhead.
    pub pod_mtu: u16,
    /// What passed, and how well.
    pub health: PeerHealth,
}

/// Where a peer is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PeerOrigin {
    /// A `[[peer]]` of the configuration file.
    Static,
    /// The cluster's store.
    Cluster,
}

/// A row of `get routes`: where packets of pods go, by destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Destination.
    pub destination: IpNet,
    /// How.
    pub via: RouteVia,
    /// Largest packet.
    pub mtu: u16,
}

/// How a route leads to its destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteVia {
    /// To the pods' own ports.
    Local,
    /// To the node, by the gateway port.
    Gateway,
    /// Through the tunnel.
    Peer {
        /// The node's name.
        name: String,
        /// Outer address.
        address: IpAddr,
    },
    /// Nowhere: part of the cluster that no node has.
    Unreachable,
}

/// Life of a port. Only `Active` ones forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortState {
    /// Its configuration is not complete yet; every frame is dropped by name.
    Closed,
    /// Forwards.
    Active,
    /// The device or its netns is gone.
    Detached,
    /// A frame from it crashed the datapath repeatedly; it is no longer read.
    Quarantined,
}

/// A port and its counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Number.
    pub id: PortId,
    /// `namespace/name` of the pod, or `gateway`.
    pub name: String,
    /// What it is for.
    pub kind: PortKind,
    /// Life.
    pub state: PortState,
    /// Address of the station behind it.
    pub mac: Mac,
    /// Addresses behind it.
    pub addresses: Vec<IpAddr>,
    /// Largest IP packet it takes, in bytes.
    pub ip_mtu: u16,
    /// What its device does for us.
    pub offloads: Offloads,
    /// Sources are bound to it.
    pub port_security: bool,
    /// What passed.
    pub counters: PortCounters,
}

/// Counters of one port, as seen from the switch.
///
/// INVARIANT: `rx_frames == forwarded + Σ drops[_].frames`, at every snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortCounters {
    /// Frames read from the device (a superframe is one).
    pub rx_frames: u64,
    /// Bytes of those, from the Ethernet header on.
    pub rx_bytes: u64,
    /// Of those, frames that left by at least one port (an answered ARP or echo request leaves by
    /// the port it came in).
    pub forwarded: u64,
    /// Of those, frames that did not, by reason; only reasons that occurred.
    pub drops: Vec<DropCount>,
    /// Frames written to the device.
    pub tx_frames: u64,
    /// Bytes of those.
    pub tx_bytes: u64,
    /// Frames the device refused (each is also a drop at the port it came from, if it came from one).
    pub tx_refused: u64,
    /// Frames the switch made itself and wrote here: ICMP errors.
    pub originated: u64,
    /// Frames that waited for the port's ingress rate before they were written here; those that wait now are none yet.
    pub delayed_frames: u64,
    /// Bytes of those, from the Ethernet header on.
    pub delayed_bytes: u64,
    /// Frames for this port that exceeded its ingress rate; those merged into one are one here, and each a drop at the port it came
    /// from.
    pub limited_frames: u64,
    /// Bytes of those, from the Ethernet header on.
    pub limited_bytes: u64,
    /// Times the port was not read for a while, because it had used up its egress rate.
    pub pauses: u64,
}

/// One drop reason with its count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// The reason's name, `snake_case`, as in metrics.
    pub reason: String,
    /// How many frames.
    pub frames: u64,
}

/// A row of `get drops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropEntry {
    /// Where the frames came in.
    pub port: PortId,
    /// That port's name.
    pub port_name: String,
    /// The reason's name.
    pub reason: String,
    /// What it means and what to do, one sentence.
    pub description: String,
    /// How many frames.
    pub frames: u64,
}
