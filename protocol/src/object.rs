//! Objects as users see them: Kubernetes-shaped, camelCase in JSON and YAML.
//!
//! Only what bincode and postcard can carry without self-description: no `flatten`, no untagged
//! or internally tagged enums, no skipped fields, no recursion.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::addr::{Mac, Offloads, PortId};
use crate::name::{Namespace, ObjectName};

/// Wall-clock time in whole seconds since the Unix epoch; RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The system clock, for stamps only: every timer runs on the monotonic clock.
    #[must_use]
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }

    /// Time from `self` to `later`, zero if the clock went backwards.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.0)).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(serde::de::Error::custom)?;
        Ok(Self(since.as_secs()))
    }
}

/// What every object has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Unique within its namespace and kind.
    pub name: ObjectName,
    /// The Kubernetes namespace it lives in.
    pub namespace: Namespace,
    /// Unique in time as well: a pod created again under the same name has another one.
    pub uid: String,
    /// Free key/value pairs that selectors match.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub creation_timestamp: Timestamp,
    /// Grows with every write to the store.
    pub resource_version: u64,
}

impl ObjectMeta {
    /// `namespace/name`, as errors and logs name an object.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A pod: one netns with one address, and the containers that share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What was asked for, with allocations filled in.
    pub spec: PodSpec,
    /// What is.
    pub status: PodStatus,
}

/// What a pod should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The node it runs on.
    pub node_name: String,
    /// Its addresses: one, or one of each family with dual stack.
    pub pod_ips: Vec<IpAddr>,
    /// The address of its `eth0`.
    pub mac: Mac,
    /// Frames must carry the pod's own MAC and addresses as source. Off only for pods that hold
    /// further stations behind their `eth0`, such as a bridged virtual machine.
    pub port_security: bool,
    /// Limits for all its containers together.
    pub resources: Resources,
    /// When an ended container is started again.
    pub restart_policy: RestartPolicy,
    /// Its containers; empty is a bare network namespace.
    pub containers: Vec<Container>,
}

/// Limits enforced by the pod's cgroup; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millicores: Option<u32>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
}

/// Kubernetes' restart policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Start again whatever the exit status.
    #[default]
    Always,
    /// Start again after a non-zero exit status or a signal.
    OnFailure,
    /// Leave it ended.
    Never,
}

/// One container process of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Unique within the pod.
    pub name: ObjectName,
    /// Program and arguments; the program is looked up in `PATH`.
    pub command: Vec<String>,
}

/// What a pod is right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Summary of the containers, as Kubernetes derives it.
    pub phase: PodPhase,
    /// Why it is in that phase, when that is not obvious.
    pub message: Option<String>,
    /// The pod's netns, a path that `ip netns exec` and `nsenter --net=` understand.
    pub netns: String,
    /// Its attachment to the switch.
    pub port: Option<PortId>,
    /// One per container of the spec.
    pub container_statuses: Vec<ContainerStatus>,
}

/// Kubernetes' pod phases. `Failed` also covers a pod whose netns or TAP vanished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodPhase {
    /// Accepted, not yet able to talk.
    Pending,
    /// Can talk; at least one container runs, or it has none.
    Running,
    /// All containers ended with status 0 and will not be started again.
    Succeeded,
    /// All containers ended, one of them not with status 0; or the pod lost its network.
    Failed,
}

/// What one container is right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// The container's name.
    pub name: ObjectName,
    /// Waiting, running or ended.
    pub state: ContainerState,
    /// How often it was started again.
    pub restart_count: u32,
    /// How it ended the last time.
    pub last_exit: Option<Exit>,
}

/// State of a container process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not running, and will be started.
    Waiting {
        /// `ContainerCreating`, `CrashLoopBackOff` and the like.
        reason: String,
    },
    /// Running.
    Running {
        /// In the node's PID namespace.
        pid: u32,
        /// Since when.
        since: Timestamp,
    },
    /// Ended, and will not be started again.
    Terminated {
        /// How.
        exit: Exit,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status; 128 + signal number when a signal ended it, as shells report.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When.
    pub at: Timestamp,
}

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
    /// MTU of its pods.
    pub pod_mtu: u16,
    /// Pods on it.
    pub pods: u32,
    /// The datapath process forwards.
    pub ready: bool,
    /// vpod's version there.
    pub version: String,
    /// Kernel release there.
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
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortKind {
    /// A pod's `eth0`.
    Pod,
    /// `vpod0`, the node's own way in.
    Gateway,
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
