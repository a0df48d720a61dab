//! The control socket's requests and responses.
//!
//! One connection carries requests one after another; each is answered by zero or more non-final
//! [`Response`]s and exactly one final one ([`Response::is_final`]). The read-only socket speaks
//! [`ReadRequest`], which has no mutation in it, so that one cannot even be decoded there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::addr::Mac;
use crate::attachment::{Attached, AttachmentKey, AttachmentRequest, Readiness};
use crate::feed::{Changes, FeedPosition, FollowRequest};
use crate::link::TraceProtocol;
use crate::name::{Namespace, ObjectName};
use crate::object::{
    Bandwidth, Connection, Document, DropEntry, FdbEntry, Flow, NeighborEntry, Node, Peer, Pod, PodDns, Port,
    Programming, Resources, RestartPolicy, Route, Serving, Timestamp, Trace, Traffic,
};

/// Longest command line of a container, in words.
pub const MAX_COMMAND_WORDS: usize = 1024;
/// Rows in one [`Response::Items`]; longer lists come in several.
pub const ITEMS_PER_RESPONSE: usize = 256;

/// What the admin socket (root) takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// Anything the read-only socket takes.
    Read(ReadRequest),
    /// Answered by [`Response::Pod`] once the pod can talk.
    CreatePod(Box<CreatePod>),
    /// Answered by [`Response::Done`] once nothing of it is left.
    DeletePod(PodRef),
    /// Starts one more container; answered by [`Response::Pod`].
    RunContainer {
        /// In which pod.
        pod: PodRef,
        /// The new container's name.
        name: ObjectName,
        /// Program and arguments.
        command: Vec<String>,
    },
    /// How to enter the pod, for `exec`; answered by [`Response::Entry`].
    EnterPod(PodRef),
    /// A container's output; answered by [`Response::Bytes`]… and [`Response::Done`].
    Logs {
        /// Whose.
        pod: PodRef,
        /// Which container; the first without.
        container: Option<ObjectName>,
        /// Go on until the client hangs up.
        follow: bool,
        /// Only the last so many lines.
        tail: Option<u32>,
        /// Of the run before the latest restart.
        previous: bool,
    },
    /// A pcapng file of the frames a pod's port sees, until the client hangs up; answered by
    /// [`Response::Bytes`]….
    Capture {
        /// Whose.
        pod: PodRef,
        /// Bytes kept of each frame.
        snaplen: u32,
    },
    /// Replaces the log filter (`tracing` directives); answered by [`Response::Done`].
    SetLogFilter(String),
    /// Takes a node that will not come back out of the cluster, and frees its Pod CIDR; answered by
    /// [`Response::Done`].
    DeleteNode(ObjectName),
    /// Creates or changes objects, each by itself, and an object that is there twice in order; answered by [`Response::Applied`].
    Apply {
        /// One JSON object each: Services, EndpointSlices and Namespaces.
        manifests: Vec<String>,
        /// Only say what would become of them.
        dry_run: bool,
    },
    /// Answered by [`Response::Done`] once it is deleted.
    DeleteObject {
        /// One of the kinds that [`AdminRequest::Apply`] takes.
        kind: Kind,
        /// Where it lives; ignored for kinds that have none.
        namespace: Namespace,
        /// Its name.
        name: ObjectName,
        /// Only say whether it could be.
        dry_run: bool,
    },
    /// What the CNI plugin asks; each says what it is answered by.
    Attachment(AttachmentRequest),
}

/// What the read-only socket takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadRequest {
    /// Answered by [`Response::Items`]… and [`Response::Done`].
    List {
        /// What to list.
        kind: Kind,
        /// Only in this namespace; all without. Ignored for kinds that have none.
        namespace: Option<Namespace>,
    },
    /// One pod; answered by [`Response::Pod`].
    GetPod(PodRef),
    /// One object of a kind that is kept as a document; answered by [`Response::Items`] and [`Response::Done`].
    GetObject {
        /// Its kind.
        kind: Kind,
        /// Where it lives; ignored for kinds that have none.
        namespace: Namespace,
        /// Its name.
        name: ObjectName,
    },
    /// Answered by [`Response::Status`].
    Status,
    /// Prometheus text; answered by [`Response::Bytes`]… and [`Response::Done`].
    Metrics,
    /// Which nodes' datapaths run the services of a revision of the store; answered by [`Response::Programming`] when all
    /// do, or after the time given, a second at most.
    Programming {
        /// Which; without, what the store has come to.
        revision: Option<u64>,
        /// How long to wait for it.
        patience_ms: u32,
    },
    /// What the switch would do with a packet of a pod; answered by [`Response::Trace`].
    Trace(TraceRequest),
    /// What DNS or the ingress need to know; answered by [`Response::Changes`]… and [`Response::Followed`].
    Follow(FollowRequest),
}

/// A packet to trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRequest {
    /// Who sends it.
    pub pod: PodRef,
    /// A SYN, a datagram or an echo request.
    pub protocol: TraceProtocol,
    /// Source port, or identifier.
    pub source_port: u16,
    /// Whom it is for.
    pub destination: TraceDestination,
    /// Bytes from the IP header on.
    pub size: u16,
}

/// Whom a packet to trace is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceDestination {
    /// An address, and a port where the protocol has one.
    Address {
        /// The address.
        address: IpAddr,
        /// The port; 0 for none.
        port: u16,
    },
    /// The cluster address of a service.
    Service {
        /// Where it lives.
        namespace: Namespace,
        /// Its name.
        name: ObjectName,
        /// One of its ports, by name or number; the first of the protocol without.
        port: Option<String>,
    },
    /// A pod's address.
    Pod {
        /// Which.
        pod: PodRef,
        /// The port; 0 for none.
        port: u16,
    },
}

/// Names a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
}

impl std::fmt::Display for PodRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a new pod should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePod {
    /// Its name.
    pub pod: PodRef,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// A fixed address of the node's Pod CIDR; the next free one without.
    pub ip: Option<IpAddr>,
    /// A fixed MAC; derived from the address without.
    pub mac: Option<Mac>,
    /// Bind sources to the port (the default of the command line).
    pub port_security: bool,
    /// Limits of its cgroup.
    pub resources: Resources,
    /// When an ended container is started again.
    pub restart_policy: RestartPolicy,
    /// Program and arguments of its first container, which gets the pod's name; none when empty.
    pub command: Vec<String>,
    /// What it offers to services.
    pub serving: Serving,
    /// How its programs resolve names.
    pub dns: PodDns,
    /// Its host name; its own name without.
    pub hostname: Option<String>,
    /// The headless service whose domain its host name is in.
    pub subdomain: Option<String>,
    /// How much it may send and receive.
    pub bandwidth: Bandwidth,
}

/// What became of one object of [`AdminRequest::Apply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// As in `service/web`; empty if it could not be read so far.
    pub object: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The store's revision of the object as it is now; `None` if it was refused or nothing was written.
    pub revision: Option<u64>,
}

/// See [`Applied`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is new.
    Created,
    /// It has changed.
    Configured,
    /// It was so already.
    Unchanged,
    /// It was refused.
    Failed(ApiError),
}

/// Kinds that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// [`Pod`].
    Pods,
    /// [`Node`].
    Nodes,
    /// [`FdbEntry`].
    Fdb,
    /// [`NeighborEntry`].
    Neighbors,
    /// [`Flow`].
    Flows,
    /// [`Connection`].
    Connections,
    /// [`Port`].
    Ports,
    /// [`DropEntry`].
    Drops,
    /// [`Peer`].
    Peers,
    /// [`Route`].
    Routes,
    /// [`Document`]: `v1` Service.
    Services,
    /// [`Document`]: `v1` Endpoints, one for each service.
    Endpoints,
    /// [`Document`]: `discovery.k8s.io/v1` EndpointSlice, derived and given by hand.
    EndpointSlices,
    /// [`Document`]: `v1` Namespace.
    Namespaces,
    /// [`Traffic`].
    Traffic,
    /// [`Document`]: `networking.k8s.io/v1` Ingress.
    Ingresses,
    /// [`Document`]: `networking.k8s.io/v1` IngressClass.
    IngressClasses,
    /// [`Document`]: `v1` Secret.
    Secrets,
    /// [`Document`]: `gateway.networking.k8s.io/v1` GatewayClass.
    GatewayClasses,
    /// [`Document`]: `gateway.networking.k8s.io/v1` Gateway.
    Gateways,
    /// [`Document`]: `gateway.networking.k8s.io/v1` HTTPRoute.
    HttpRoutes,
}

/// Rows of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Items {
    /// Pods.
    Pods(Vec<Pod>),
    /// Nodes.
    Nodes(Vec<Node>),
    /// Forwarding database.
    Fdb(Vec<FdbEntry>),
    /// Neighbour table.
    Neighbors(Vec<NeighborEntry>),
    /// Flow table.
    Flows(Vec<Flow>),
    /// Translated connections.
    Connections(Vec<Connection>),
    /// Ports with counters.
    Ports(Vec<Port>),
    /// Drops by port and reason.
    Drops(Vec<DropEntry>),
    /// Peers with their health.
    Peers(Vec<Peer>),
    /// Routes, longest prefix first.
    Routes(Vec<Route>),
    /// Services.
    Services(Vec<Document>),
    /// Endpoints of services.
    Endpoints(Vec<Document>),
    /// Slices of endpoints.
    EndpointSlices(Vec<Document>),
    /// Namespaces.
    Namespaces(Vec<Document>),
    /// What services and their backends have to do.
    Traffic(Vec<Traffic>),
    /// Objects of one of the kinds that the ingress reads.
    Routing(Kind, Vec<Document>),
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It is done. Final.
    Done,
    /// It failed, and nothing was changed. Final.
    Error(ApiError),
    /// Some rows; more responses follow.
    Items(Items),
    /// One pod. Final.
    Pod(Box<Pod>),
    /// The daemon's state. Final.
    Status(Box<Status>),
    /// How to enter a pod. Final.
    Entry(PodEntry),
    /// A piece of a byte stream; more responses follow.
    Bytes(Vec<u8>),
    /// What became of each object, in order. Final.
    Applied(Vec<Applied>),
    /// How far changes have come. Final.
    Programming(Programming),
    /// The way of a packet. Final.
    Trace(Box<Trace>),
    /// Changes of a feed; more responses follow.
    Changes(Changes),
    /// The position after the changes before. Final.
    Followed(FeedPosition),
    /// What an attachment is. Final.
    Attached(Box<Attached>),
    /// Some attachments; more responses follow.
    Attachments(Vec<AttachmentKey>),
    /// Whether one more attachment could be made. Final.
    Readiness(Readiness),
}

impl Response {
    /// Nothing follows this one for the same request.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Done
            | Self::Error(_)
            | Self::Pod(_)
            | Self::Status(_)
            | Self::Entry(_)
            | Self::Applied(_)
            | Self::Programming(_)
            | Self::Trace(_)
            | Self::Followed(_)
            | Self::Attached(_)
            | Self::Readiness(_) => true,
            Self::Items(_) | Self::Bytes(_) | Self::Changes(_) | Self::Attachments(_) => false,
        }
    }
}

/// What a process needs to become part of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEntry {
    /// Path of the netns.
    pub netns: String,
    /// Host name inside.
    pub hostname: String,
    /// Files mounted over others, `(source, target)`: `/etc/resolv.conf`, `/etc/hosts`.
    pub binds: Vec<(String, String)>,
    /// `cgroup.procs` files to write the process id to, one per hierarchy.
    pub cgroup_procs: Vec<String>,
}

/// What `vpodctl status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The node.
    pub node: Node,
    /// Process id of the control process.
    pub control_pid: u32,
    /// When it started.
    pub control_started: Timestamp,
    /// The datapath process; `None` while it is being started.
    pub datapath: Option<DatapathStatus>,
    /// How often the datapath process was started again because it had ended.
    pub datapath_restarts: u32,
    /// The way to other nodes, if there is one.
    pub tunnel: Option<TunnelStatus>,
    /// The cluster's store, if the node is in a cluster that has one.
    pub cluster: Option<ClusterStatus>,
    /// Path of the state directory.
    pub state_dir: String,
    /// Active log filter.
    pub log_filter: String,
    /// What is wrong right now, one sentence each; empty is healthy.
    pub problems: Vec<String>,
}

/// The node's end of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunnelStatus {
    /// Outer address.
    pub address: IpAddr,
    /// UDP port.
    pub udp_port: u16,
    /// VXLAN network identifier.
    pub vni: u32,
    /// Largest outer IP packet.
    pub underlay_mtu: u16,
    /// Other nodes.
    pub peers: u32,
    /// Of those, how many answer.
    pub peers_up: u32,
    /// Of those, how many are not asked or have not been for long enough.
    pub peers_unknown: u32,
}

/// The cluster's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Where it is.
    pub endpoints: Vec<String>,
    /// It answers, and what this node knows of the cluster is up to date.
    pub connected: bool,
    /// Since when it is as it is.
    pub since: Timestamp,
    /// What is wrong or waited for.
    pub message: Option<String>,
}

/// The datapath process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatapathStatus {
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// Active configuration.
    pub epoch: u64,
    /// Threads that forward.
    pub workers: u32,
    /// Ports it reads.
    pub ports: u32,
    /// Entries of its forwarding database.
    pub fdb_entries: u32,
    /// Entries of its flow table.
    pub flows: u32,
    /// Sum over ports.
    pub rx_frames: u64,
    /// Sum over ports.
    pub forwarded: u64,
    /// Sum over ports and reasons.
    pub dropped: u64,
}

/// Why a request failed. The message names the object and, where possible, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Class, for programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// An error of class `code`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Classes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// The named object does not exist.
    NotFound,
    /// The named object exists already.
    AlreadyExists,
    /// The request itself is wrong.
    Invalid,
    /// Another object has what was asked for (an address, a MAC).
    Conflict,
    /// A pool or table is full.
    Exhausted,
    /// The caller may not.
    Forbidden,
    /// Not now: starting, stopping, or the datapath is away.
    Unavailable,
    /// The daemon's or the machine's fault (disk full, kernel refused).
    Internal,
    /// A port of the node that was asked for is another pod's or a program's.
    HostPortTaken,
}
