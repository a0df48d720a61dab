//! Pods and their containers.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Bandwidth, ObjectMeta, PodDns, Serving, Timestamp};
use crate::addr::{Mac, PortId};
use crate::name::ObjectName;

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
    /// What it offers to services.
    #[serde(default)]
    pub serving: Serving,
    /// How its programs resolve names.
    #[serde(default)]
    pub dns: PodDns,
    /// Its host name; its own name without.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The headless service whose domain its host name is in.
    #[serde(default)]
    pub subdomain: Option<String>,
    /// How much it may send and receive.
    #[serde(default)]
    pub bandwidth: Bandwidth,
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
    /// It can serve: its containers run, and its probe succeeds.
    pub ready: bool,
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
