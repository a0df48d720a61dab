//! Services, as the datapath balances them: one port of a Service is one [`ServiceConfig`].
//!
//! Control resolves what Kubernetes leaves open (selectors, named ports, readiness, topology hints, node addresses),
//! so that the datapath chooses among plain addresses. Settings and backends travel apart: a backend that comes or goes
//! costs a message of its own size, however many there are.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::addr::ServiceId;

/// Transport protocols a service can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Transport {
    /// Protocol number in IP headers.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceConfig {
    /// Number; below [`ServiceId::MAX_SERVICES`].
    pub id: ServiceId,
    /// For tables: `namespace/name:port`, where `port` is its name or its number.
    pub name: String,
    /// Protocol of its frontends and backends.
    pub transport: Transport,
    /// Where clients find it.
    pub frontends: Vec<Frontend>,
    /// How a backend is chosen.
    pub scheduler: Scheduler,
    /// A client keeps its backend this long after its last connection, in seconds (1–86400).
    pub affinity_seconds: Option<u32>,
    /// For clients in the cluster.
    pub internal_policy: TrafficPolicy,
    /// For clients outside.
    pub external_policy: TrafficPolicy,
    /// Clients of load-balancer addresses; everybody if empty.
    pub source_ranges: Vec<IpNet>,
}

/// An address and port that stands for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frontend {
    /// What sort of address it is.
    pub kind: FrontendKind,
    /// The address; the unspecified one for [`FrontendKind::NodePort`], which is at all addresses of the node.
    pub address: IpAddr,
    /// The port, not 0.
    pub port: u16,
}

/// Sorts of frontends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.ports[].nodePort`.
    NodePort,
    /// `status.loadBalancer.ingress[].ip`.
    LoadBalancer,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `hostPort` of a pod of this node, at one of the node's addresses, which stays the node's.
    HostPort,
    /// The same at the node's 127.0.0.1, for which an address of the service range stands that no service has: the node alone finds it.
    HostLocal,
}

impl FrontendKind {
    /// All ports of its address are the services'; those of the others are the node's as well.
    #[must_use]
    pub const fn owns_address(self) -> bool {
        match self {
            Self::ClusterIp | Self::LoadBalancer | Self::ExternalIp => true,
            Self::NodePort | Self::HostPort | Self::HostLocal => false,
        }
    }
}

/// `internalTrafficPolicy`, `externalTrafficPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// All backends.
    #[default]
    Cluster,
    /// Those of this node.
    Local,
}

/// How a backend is chosen: kube-proxy's `random`, and the schedulers of IPVS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Scheduler {
    /// Each with the same probability (kube-proxy, iptables and nftables mode).
    #[default]
    Random,
    /// One after the other.
    RoundRobin,
    /// One after the other, in proportion to weights.
    WeightedRoundRobin,
    /// Fewest active connections.
    LeastConnections,
    /// Fewest active connections per weight.
    WeightedLeastConnections,
    /// By the client's address.
    SourceHash,
    /// By the service's address.
    DestinationHash,
    /// Least `(active + 1) / weight`.
    ShortestExpectedDelay,
    /// An idle one, else as `ShortestExpectedDelay`.
    NeverQueue,
    /// By the client's address and port in a table that changes little with the backends.
    Maglev,
}

impl Scheduler {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Random,
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::WeightedLeastConnections,
        Self::SourceHash,
        Self::DestinationHash,
        Self::ShortestExpectedDelay,
        Self::NeverQueue,
        Self::Maglev,
    ];
}

/// A backend of a service. Its key within the service is address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendConfig {
    /// Of the pod, or of whatever was given by hand.
    pub address: IpAddr,
    /// Its port, not 0.
    pub port: u16,
    /// For the weighted schedulers; 0 gets no new connections.
    pub weight: u16,
    /// Whether it may be chosen.
    pub state: BackendState,
    /// It is on this node.
    pub is_local: bool,
    /// Topology prefers it for this node. False for some only while true for others: where topology says nothing, or
    /// leaves none, all are preferred.
    pub is_preferred: bool,
}

/// Conditions of an endpoint, as far as choosing goes. One that is neither is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendState {
    /// Ready.
    Ready,
    /// Terminating and still serving: chosen only where none is ready.
    Draining,
}

/// Backends of one service that come, change or go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendChanges {
    /// Whose.
    pub service: ServiceId,
    /// Gone, by address and port; applied first.
    pub remove: Vec<(IpAddr, u16)>,
    /// New or changed.
    pub put: Vec<BackendConfig>,
}
