//! The conversation between `vswitchd`'s control process and its datapath child.
//!
//! Runs over one `SOCK_SEQPACKET` connection to `<run_dir>/datapath.sock`; the datapath listens,
//! so that a control process that was killed and started again finds it. One [`ToDatapath`] is
//! one message, encoded by [`crate::codec`], at most [`MAX_MESSAGE_BYTES`] long, with at most
//! [`MAX_FDS`] descriptors as `SCM_RIGHTS`. The datapath serves one control connection at a time:
//! a new one replaces the old one.
//!
//! Order: on connect the datapath sends [`FromDatapath::Hello`] (id 0). Afterwards each request
//! carries an id, which its one answer repeats; events carry id 0.

pub mod policy;
mod service;
mod trace;
mod uplink;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::addr::{Mac, Offloads, PeerId, PortId, ServiceId};
pub use policy::{DeniedFlow, PolicyChange, PolicyCounts};
pub use service::{
    BackendChanges, BackendConfig, BackendState, Frontend, FrontendKind, Scheduler, ServiceConfig,
    TrafficPolicy, Transport,
};
pub use trace::{ServiceRow, TracePacket, TraceProtocol};
pub use uplink::{EgressRule, Filtering, UplinkConfig};

use crate::object::{
    Bandwidth, Connection, FdbEntry, Flow, NeighborEntry, PeerHealth, PortCounters, PortKind, PortState,
    Trace,
};

/// Version of this conversation. A control process that finds a datapath of another version
/// replaces it.
pub const LINK_VERSION: u32 = 7;
/// Longest message; `SOCK_SEQPACKET` keeps messages whole, and the default socket buffer is larger.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Descriptors in one message; the kernel's `SCM_MAX_FD` is 253.
pub const MAX_FDS: usize = 64;
/// Rows of a table in one answer.
pub const ROWS_PER_ANSWER: u32 = 256;
/// ... of services, which are small and many.
pub const SERVICE_ROWS_PER_ANSWER: u32 = 1024;
/// ... of policies, as those.
pub const POLICY_ROWS_PER_ANSWER: u32 = 1024;

/// A message with the id that pairs request and answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Chosen by the requester, repeated in the answer; 0 for hello and events.
    pub id: u64,
    /// What is said.
    pub body: T,
}

/// Number of a configuration; grows by one with every applied [`ConfigDelta`].
pub type Epoch = u64;

/// What control says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one exists at a time, on its way into or out of bytes")]
pub enum ToDatapath {
    /// Change the configuration. Carries the descriptors of each entry of `attach`, in order
    /// ([`DeviceKind::descriptors`]).
    /// Answered by [`FromDatapath::Applied`] or [`FromDatapath::Refused`] (nothing changed).
    Apply(ConfigDelta),
    /// Answered by [`FromDatapath::Ports`] with the descriptors of each row, in pages: the answer to
    /// `after: None` holds the lowest numbers; an empty page ends it.
    ExportPorts {
        /// Only ports with greater numbers.
        after: Option<PortId>,
    },
    /// Answered by [`FromDatapath::Counters`].
    Counters {
        /// Only ports with greater numbers.
        after: Option<PortId>,
    },
    /// A page of a table, answered by the variant of the same name with a cursor.
    Fdb {
        /// As returned by the page before; 0 for the first.
        cursor: u64,
    },
    /// See [`ToDatapath::Fdb`].
    Neighbors {
        /// As returned by the page before; 0 for the first.
        cursor: u64,
    },
    /// See [`ToDatapath::Fdb`].
    Flows {
        /// As returned by the page before; 0 for the first.
        cursor: u64,
    },
    /// See [`ToDatapath::Fdb`].
    Connections {
        /// As returned by the page before; 0 for the first.
        cursor: u64,
    },
    /// Answered by [`FromDatapath::Peers`], in pages: the answer to `after: None` holds the lowest
    /// numbers; an empty page ends it.
    Peers {
        /// Only peers with greater numbers.
        after: Option<PeerId>,
    },
    /// Answered by [`FromDatapath::Summary`].
    Summary,
    /// Write the frames a port sees to the one descriptor sent along (non-blocking stream socket),
    /// as pcapng. Replaces a capture on the same port. Answered by [`FromDatapath::Done`]; ends
    /// when the peer of the descriptor is closed.
    StartCapture {
        /// Which port.
        port: PortId,
        /// Bytes kept of each frame.
        snaplen: u32,
    },
    /// Finish the frames in hand, then exit with status 0. Answered by [`FromDatapath::Done`].
    Shutdown,
    /// Log by these `tracing` directives from now on. Answered by [`FromDatapath::Done`] or
    /// [`FromDatapath::Refused`].
    SetLogFilter(String),
    /// What services have to do. See [`ToDatapath::Fdb`].
    Services {
        /// As returned by the page before; 0 for the first.
        cursor: u64,
    },
    /// What would become of a packet. Changes nothing. Answered by [`FromDatapath::Trace`].
    Trace(TracePacket),
    /// What was counted of policies. See [`ToDatapath::Fdb`].
    Policies {
        /// As returned by the page before; 0 for the first.
        cursor: u64,
    },
    /// Flows that policies denied lately. Answered by [`FromDatapath::Denials`].
    Denials {
        /// Only those with greater numbers; 0 for all that are remembered.
        after: u64,
    },
    /// The lease of announced addresses ([`UplinkConfig::announced_by_lease`]) is this node's until then, which may be later or
    /// earlier than it was said before. Without a word a datapath holds none. Answered by [`FromDatapath::Done`].
    HoldAnnounced {
        /// Nanoseconds of the machine's `CLOCK_MONOTONIC`, which both processes read.
        until_nanos: u64,
    },
}

/// What the datapath says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromDatapath {
    /// First message on a connection.
    Hello {
        /// [`LINK_VERSION`] it was built with.
        version: u32,
        /// `CARGO_PKG_VERSION` it was built with.
        build: String,
        /// Process id, in the control process's PID namespace.
        pid: u32,
        /// Active configuration; 0 is none yet.
        epoch: Epoch,
    },
    /// The delta is active.
    Applied {
        /// Its number.
        epoch: Epoch,
    },
    /// The request was not carried out.
    Refused {
        /// Why, naming the object.
        message: String,
    },
    /// Rows of [`ToDatapath::ExportPorts`], with the descriptors of each in order
    /// ([`DeviceKind::descriptors`]).
    Ports(Vec<PortConfig>),
    /// Rows of [`ToDatapath::Counters`]; an empty page ends it.
    Counters(Vec<(PortId, PortCounters)>),
    /// A page; `next: None` ends it.
    Fdb {
        /// Rows.
        rows: Vec<FdbEntry>,
        /// Cursor of the next page.
        next: Option<u64>,
    },
    /// A page; `next: None` ends it.
    Neighbors {
        /// Rows.
        rows: Vec<NeighborEntry>,
        /// Cursor of the next page.
        next: Option<u64>,
    },
    /// A page; `next: None` ends it.
    Flows {
        /// Rows.
        rows: Vec<Flow>,
        /// Cursor of the next page.
        next: Option<u64>,
    },
    /// A page; `next: None` ends it.
    Connections {
        /// Rows.
        rows: Vec<Connection>,
        /// Cursor of the next page.
        next: Option<u64>,
    },
    /// Rows of [`ToDatapath::Peers`]; an empty page ends it.
    Peers(Vec<(PeerId, PeerHealth)>),
    /// Numbers for `status`.
    Summary(Summary),
    /// Carried out.
    Done,
    /// Event (id 0): a port's device or netns is gone. It is no longer polled.
    PortDetached {
        /// Which.
        port: PortId,
        /// What the kernel said.
        cause: String,
    },
    /// A page; `next: None` ends it. A service comes before its backends.
    Services {
        /// Rows.
        rows: Vec<ServiceRow>,
        /// Cursor of the next page.
        next: Option<u64>,
    },
    /// See [`ToDatapath::Trace`].
    Trace(Box<Trace>),
    /// A page; `next: None` ends it.
    Policies {
        /// Rows, of policies of which anything was counted.
        rows: Vec<PolicyCounts>,
        /// Cursor of the next page.
        next: Option<u64>,
    },
    /// The oldest that were asked for, by number.
    Denials {
        /// An empty list: there are no more now.
        rows: Vec<DeniedFlow>,
        /// Packets that were denied and noted in no row, since the process began: there were too many at a time.
        unnoted: u64,
    },
}

/// A change of configuration. Deltas with `commit: false` are collected and become visible, all
/// at once, with the next one that has `commit: true`.
///
/// Within one delta removals come first, then `node`, then `attach`, then `update`, then `peers`, then `services`,
/// then `backends`, then `policies`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigDelta {
    /// Number of the configuration this makes; one more than the active one.
    pub epoch: Epoch,
    /// Ports that go; their descriptors are closed.
    pub detach: Vec<PortId>,
    /// Node-wide settings, if they change.
    pub node: Option<NodeConfig>,
    /// New ports; their descriptors are at most [`MAX_FDS`].
    pub attach: Vec<PortConfig>,
    /// New settings of existing ports (kind and device stay).
    pub update: Vec<PortConfig>,
    /// Peers that go.
    pub forget_peers: Vec<PeerId>,
    /// New peers, and new settings of existing ones.
    pub peers: Vec<PeerConfig>,
    /// All services go, but for those that come again before the commit: whoever says so does not know them.
    pub reset_services: bool,
    /// Services that go, with their backends.
    pub forget_services: Vec<ServiceId>,
    /// New services, and new settings of existing ones, whose backends stay. A frontend belongs to one service in
    /// the configuration that is committed; before that it may pass from one to another in any order.
    pub services: Vec<ServiceConfig>,
    /// Backends that come, change or go.
    pub backends: Vec<BackendChanges>,
    /// All tables of policies, identities and addresses go, but for those that come again before the commit: whoever says so does
    /// not know them. What was counted of policies goes.
    pub reset_policies: bool,
    /// What changes in tables of policies, and in whose they are; made of a change of any size by
    /// [`PolicyChange::pieces`]. It has to fit together when it is committed.
    pub policies: PolicyChange,
    /// Make it visible.
    pub commit: bool,
}

/// What the switch knows about its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The node's Pod CIDR.
    pub pod_cidr: IpNet,
    /// All pods of the cluster.
    pub cluster_cidr: IpNet,
    /// All cluster addresses of services; what is for one that no service has is refused here.
    pub service_cidr: Option<IpNet>,
    /// The pods' default gateway: first address of `pod_cidr`. The router answers ARP and ping for
    /// it; everything else for it goes to the gateway port.
    pub gateway_ip: IpAddr,
    /// What the gateway address resolves to.
    pub router_mac: Mac,
    /// The node's own addresses, reached through the gateway port.
    pub node_addresses: Vec<IpAddr>,
    /// A learned FDB entry is forgotten this long after its last frame, in seconds.
    pub fdb_ageing_seconds: u32,
    /// The way to other nodes; `None` on a node that has none.
    pub tunnel: Option<TunnelConfig>,
    /// The way out of the cluster, by the port of kind `Uplink`; `None` on a node that has none.
    pub uplink: Option<UplinkConfig>,
    /// Network policies hold: a pod of which no tables are known neither sends nor gets anything. Without it nobody is asked.
    pub policies: bool,
}

/// The node's end of the tunnel (VXLAN, RFC 7348). Its sockets are ports of kind `Tunnel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelConfig {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// Outer source address.
    pub address: Ipv4Addr,
    /// UDP port: where we receive, and where pods may not send to on any node.
    pub udp_port: u16,
    /// Largest outer IP packet.
    pub underlay_mtu: u16,
    /// Lower the MSS in TCP SYNs to what fits the tunnel.
    pub clamp_mss: bool,
}

/// Another node, as the tunnel sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerConfig {
    /// Number; below [`PeerId::MAX_PEERS`].
    pub id: PeerId,
    /// Its node's name.
    pub name: String,
    /// Outer address, the only one its packets are accepted from.
    pub address: Ipv4Addr,
    /// UDP port it receives at.
    pub udp_port: u16,
    /// Its Pod CIDRs: where they are routed to, and the inner sources it may use.
    pub pod_cidrs: Vec<IpNet>,
    /// Its node's own addresses: routed to and accepted from it like those of its pods.
    pub node_addresses: Vec<IpAddr>,
    /// Inner destination address of what is routed to it.
    pub router_mac: Mac,
    /// It is a vpod daemon, which answers keep-alives; a plain VXLAN device does not.
    pub keep_alive: bool,
    /// It has pods, so broadcast and multicast are copied to it.
    pub has_pods: bool,
    /// Either of both nodes is told all pods of the other, and asks their policies about whom it stands for. Of others nothing is taken
    /// for decided.
    pub shares_policies: bool,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConfig {
    /// Number; below [`PortId::MAX_PORTS`].
    pub id: PortId,
    /// For tables and captures: `namespace/name`, or `gateway`.
    pub name: String,
    /// What it is for.
    pub kind: PortKind,
    /// Which back-end reads its descriptor.
    pub device: DeviceKind,
    /// What the device does for us.
    pub offloads: Offloads,
    /// Address of the station behind it.
    pub mac: Mac,
    /// Addresses of the station behind it.
    pub addresses: Vec<IpAddr>,
    /// Largest IP packet it takes.
    pub ip_mtu: u16,
    /// Frames must carry `mac` and one of `addresses` as source. Without it, stations behind the
    /// port are learned, but no address of another port is accepted.
    pub port_security: bool,
    /// Whether it forwards.
    pub state: PortState,
    /// How much the station behind it may send and receive.
    pub bandwidth: Bandwidth,
}

/// Which back-end reads a port's descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// `VnetTap`: frames carry a 12-byte `virtio_net_hdr_v1`, superframes pass whole.
    VnetTap,
    /// `PlainTap`: bare frames, no offload.
    PlainTap,
    /// `UdpTunnel`: a UDP socket that carries VXLAN, with segmentation offload where the kernel has it.
    UdpTunnel,
    /// `PacketSocket`: an `AF_PACKET` socket on the node's interface, with a virtio header on each frame.
    PacketSocket,
}

/// Descriptors of a tunnel port: one socket that receives, and eight that send, each with a source port
/// of its own. Eight spread a node's flows over the queues of a NIC and the workers of a peer well
/// enough, and leave room for several ports in one message.
pub const TUNNEL_DESCRIPTORS: usize = 9;

impl DeviceKind {
    /// Descriptors such a port has; they follow one another where those of several ports are passed.
    #[must_use]
    pub const fn descriptors(self) -> usize {
        match self {
            Self::VnetTap | Self::PlainTap | Self::PacketSocket => 1,
            Self::UdpTunnel => TUNNEL_DESCRIPTORS,
        }
    }
}

/// Numbers for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Active configuration.
    pub epoch: Epoch,
    /// Threads that forward.
    pub workers: u32,
    /// Ports polled.
    pub ports: u32,
    /// FDB entries.
    pub fdb_entries: u32,
    /// Neighbour entries.
    pub neighbors: u32,
    /// Flow table entries.
    pub flows: u32,
    /// Σ over ports.
    pub rx_frames: u64,
    /// Σ over ports.
    pub forwarded: u64,
    /// Σ over ports and reasons.
    pub dropped: u64,
    /// Frames that were written as part of another: bursts of small frames leave as one superframe.
    pub merged: u64,
    /// Why entries of the flow table went.
    pub flow_evictions: FlowEvictions,
    /// Translated connections.
    pub connections: u32,
    /// What became of connections, and who was refused one.
    pub connection_events: ConnectionEvents,
    /// Session affinities that made room for others.
    pub affinity_evictions: u64,
    /// New connections that were given to another backend of their service.
    pub fail_overs: FailOvers,
}

/// New TCP connections that were given to another backend of their service, by what the one before did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FailOvers {
    /// Refused it.
    pub refused: u64,
    /// Could not be reached.
    pub unreachable: u64,
    /// Had not answered when the client asked again.
    pub unanswered: u64,
}

impl FailOvers {
    /// Causes and counts.
    #[must_use]
    pub const fn by_cause(&self) -> [(&'static str, u64); 3] {
        [("refused", self.refused), ("unreachable", self.unreachable), ("unanswered", self.unanswered)]
    }
}

/// Connections made, ended and refused since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConnectionEvents {
    /// Made.
    pub created: u64,
    /// Found in the memory of a predecessor.
    pub recovered: u64,
    /// Found there half written or damaged, and freed.
    pub damaged: u64,
    /// Silent for too long.
    pub expired: u64,
    /// Taken out: the next packet needed another backend, or began a new connection between the same ends.
    pub removed: u64,
    /// Made room for another of their port, which had its share.
    pub evicted_share: u64,
    /// Made room in a full table.
    pub evicted_full: u64,
    /// Refused: the table is full.
    pub refused_full: u64,
    /// Refused: the port has its share.
    pub refused_share: u64,
    /// Refused: no source port left.
    pub refused_ports: u64,
}

impl ConnectionEvents {
    /// Names and counts.
    #[must_use]
    pub const fn by_event(&self) -> [(&'static str, u64); 10] {
        [
            ("created", self.created),
            ("recovered", self.recovered),
            ("damaged", self.damaged),
            ("expired", self.expired),
            ("removed", self.removed),
            ("evicted_share", self.evicted_share),
            ("evicted_full", self.evicted_full),
            ("refused_full", self.refused_full),
            ("refused_share", self.refused_share),
            ("refused_ports", self.refused_ports),
        ]
    }
}

/// Entries that went, by cause. What was ever put in is in the table still or counted here, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FlowEvictions {
    /// Decided under an older configuration; found when its flow came again, or by the sweep.
    pub stale: u64,
    /// Unused for so long that the flow is taken to be over.
    pub idle: u64,
    /// Its port had its share, and wanted another.
    pub share: u64,
    /// The table was full, and its port held most.
    pub full: u64,
    /// Too many flows whose hashes share a cache line of the index.
    pub collision: u64,
}

impl FlowEvictions {
    /// Names and counts of all causes.
    #[must_use]
    pub const fn by_cause(&self) -> [(&'static str, u64); 5] {
        [
            ("stale", self.stale),
            ("idle", self.idle),
            ("share", self.share),
            ("full", self.full),
            ("collision", self.collision),
        ]
    }

    /// Σ over causes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.stale + self.idle + self.share + self.full + self.collision
    }

    /// Of two tables together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            stale: self.stale + other.stale,
            idle: self.idle + other.idle,
            share: self.share + other.share,
            full: self.full + other.full,
            collision: self.collision + other.collision,
        }
    }
}
