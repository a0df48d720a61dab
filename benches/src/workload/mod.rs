//! What is measured.

mod create_pod;
mod cross_node_rr;
mod cross_node_tcp;
mod cross_node_udp;
mod fairness;
mod idle_cpu;
mod pod_churn;
mod same_node_crr;
mod same_node_rr;
mod same_node_tcp;
mod same_node_udp;
mod scale_pods;
mod tcp_stream;

use anyhow::Result;

use crate::metric::Metric;
use crate::subject::{Peer, Settings};

/// How a workload is run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Samples of each subject.
    pub(crate) rounds: u32,
    /// Length of one sample.
    pub(crate) seconds: f64,
    /// What to measure beside vpod.
    pub(crate) peers: Vec<Peer>,
    /// How to set them up.
    pub(crate) settings: Settings,
    /// Leave vpod out.
    pub(crate) only_peers: bool,
    /// Idle pods of `scale-pods`, one run each.
    pub(crate) idle_pods: Vec<usize>,
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
        name: same_node_tcp::NAME,
        description: "1, 4 and 16 TCP streams between two pods of a node (iperf3, cubic)",
        run: same_node_tcp::run,
    },
    Workload {
        name: same_node_udp::NAME,
        description: "datagrams of 64 and 1400 bytes: highest rate without loss, and under overload",
        run: same_node_udp::run,
    },
    Workload {
        name: same_node_rr::NAME,
        description: "TCP requests of 1 byte and 1 KiB, one at a time: rate and latency, free and on one core",
        run: same_node_rr::run,
    },
    Workload {
        name: same_node_crr::NAME,
        description: "TCP connections with one request each, one at a time",
        run: same_node_crr::run,
    },
    Workload {
        name: cross_node_tcp::NAME,
        description: "1 and 8 TCP streams between pods of two nodes, underlay with segmentation offload and without",
        run: cross_node_tcp::run,
    },
    Workload {
        name: cross_node_udp::NAME,
        description: "datagrams of 64 bytes between pods of two nodes: without loss, and under overload",
        run: cross_node_udp::run,
    },
    Workload {
        name: cross_node_rr::NAME,
        description: "TCP requests of 1 byte between pods of two nodes, one at a time, free and on one core",
        run: cross_node_rr::run,
    },
    Workload {
        name: fairness::NAME,
        description: "ten polite pods beside one that floods: their loss and latency",
        run: fairness::run,
    },
    Workload {
        name: scale_pods::NAME,
        description: "two active pods among many idle ones (--idle-pods), and what the idle ones cost",
        run: scale_pods::run,
    },
    Workload {
        name: pod_churn::NAME,
        description: "pods made and removed per second, each system by its own tools",
        run: pod_churn::run,
    },
    Workload {
        name: create_pod::NAME,
        description: "time from `vpodctl create-pod` to a pod that can talk, and of delete-pod",
        run: create_pod::run,
    },
    Workload { name: idle_cpu::NAME, description: "CPU of a daemon with 50 silent pods", run: idle_cpu::run },
];
