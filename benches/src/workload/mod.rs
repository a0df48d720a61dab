//! What is measured.

mod create_pod;
mod idle_cpu;
mod same_node_tcp;

use anyhow::Result;

use crate::metric::Metric;
use crate::subject::Peer;

/// How a workload is run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Samples of each subject.
    pub(crate) rounds: u32,
    /// Length of one throughput sample.
    pub(crate) seconds: u32,
    /// What to measure beside vpod.
    pub(crate) peers: Vec<Peer>,
}

/// A named measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) run: fn(&Options) -> Result<Vec<Metric>>,
}

/// All of them, in the order of `list`.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "same-node-tcp",
        description: "one TCP stream between two pods of a node (iperf3, cubic)",
        run: same_node_tcp::run,
    },
    Workload {
        name: "create-pod",
        description: "time from `vpodctl create-pod` to a pod that can talk, and of delete-pod",
        run: create_pod::run,
    },
    Workload { name: "idle-cpu", description: "CPU of a daemon with 50 silent pods", run: idle_cpu::run },
];
