//! What is measured.

mod bandwidth;
mod cni;
mod create_pod;
mod cross_node_rr;
mod cross_node_tcp;
mod cross_node_udp;
mod dns;
mod egress_crr;
mod fairness;
mod idle_cpu;
mod ingress;
mod pod_churn;
mod policies;
mod same_node_crr;
mod same_node_rr;
mod same_node_tcp;
mod same_node_udp;
mod scale_pods;
mod services;
mod tcp_stream;

use anyhow::Result;

use crate::metric::Metric;
use crate::subject::{Peer, Settings};

pub(crate) use services::ServiceBeds;

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
    /// Services of those workloads that are about services, one run each.
    pub(crate) services: Vec<u32>,
}

/// A named measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) run: Run,
}

/// How one is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// It sets up what it needs.
    Alone(fn(&Options) -> Result<Vec<Metric>>),
    /// It shares subjects that have services, which take long to load.
    WithServices(fn(&Options, &mut ServiceBeds) -> Result<Vec<Metric>>),
}

impl Workload {
    /// Runs it. `beds` is left there for the next one that has use for it.
    pub(crate) fn run(&self, options: &Options, beds: &mut Option<ServiceBeds>) -> Result<Vec<Metric>> {
        match self.run {
            Run::Alone(run) => {
                *beds = None;
                run(options)
            }
            Run::WithServices(run) => {
                let mut ready = match beds.take() {
                    Some(ready) => ready,
                    None => ServiceBeds::set_up(options)?,
                };
                let metrics = run(options, &mut ready)?;
                *beds = Some(ready);
                Ok(metrics)
            }
        }
    }
}

/// All of them, in the order of `list`.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: same_node_tcp::NAME,
        description: "1, 4 and 16 TCP streams between two pods of a node (iperf3, cubic)",
        run: Run::Alone(same_node_tcp::run),
    },
    Workload {
        name: same_node_udp::NAME,
        description: "datagrams of 64 and 1400 bytes: highest rate without loss, and under overload",
        run: Run::Alone(same_node_udp::run),
    },
    Workload {
        name: same_node_rr::NAME,
        description: "TCP requests of 1 byte and 1 KiB, one at a time: rate and latency, free and on one core",
        run: Run::Alone(same_node_rr::run),
    },
    Workload {
        name: same_node_crr::NAME,
        description: "TCP connections with one request each, one at a time",
        run: Run::Alone(same_node_crr::run),
    },
    Workload {
        name: cross_node_tcp::NAME,
        description: "1 and 8 TCP streams between pods of two nodes, underlay with segmentation offload and without",
        run: Run::Alone(cross_node_tcp::run),
    },
    Workload {
        name: cross_node_udp::NAME,
        description: "datagrams of 64 bytes between pods of two nodes: without loss, and under overload",
        run: Run::Alone(cross_node_udp::run),
    },
    Workload {
        name: cross_node_rr::NAME,
        description: "TCP requests of 1 byte between pods of two nodes, one at a time, free and on one core",
        run: Run::Alone(cross_node_rr::run),
    },
    Workload {
        name: services::crr::NAME,
        description: "TCP connections with one request each through one of many services (--services)",
        run: Run::WithServices(services::crr::run),
    },
    Workload {
        name: services::rr::NAME,
        description: "TCP requests of 1 byte on one connection through a service",
        run: Run::WithServices(services::rr::run),
    },
    Workload {
        name: services::tcp::NAME,
        description: "a TCP stream through a service, and in turn one straight to its pod (iperf3, cubic)",
        run: Run::WithServices(services::tcp::run),
    },
    Workload {
        name: services::first_packet::NAME,
        description: "a first packet through a service and back: TCP handshake, UDP datagram and its echo",
        run: Run::WithServices(services::first_packet::run),
    },
    Workload {
        name: services::program::NAME,
        description: "time until the datapath runs a change of one endpoint, and all services; memory",
        run: Run::WithServices(services::program::run),
    },
    Workload {
        name: egress_crr::NAME,
        description: "TCP connections from a pod to a server outside, which sees the node's address",
        run: Run::Alone(egress_crr::run),
    },
    Workload {
        name: dns::NAME,
        description: "queries for names of services: rate, and latency at half of it (dnsperf)",
        run: Run::Alone(dns::run),
    },
    Workload {
        name: dns::pod::NAME,
        description: "the same through the switch, from a pod to the DNS service; time until a new name is answered",
        run: Run::Alone(dns::pod::run),
    },
    Workload {
        name: policies::NAME,
        description: "a TCP stream and connections between two pods, without network policies and with 1,000",
        run: Run::Alone(policies::run),
    },
    Workload {
        name: fairness::NAME,
        description: "ten polite pods beside one that floods: their loss and latency",
        run: Run::Alone(fairness::run),
    },
    Workload {
        name: bandwidth::NAME,
        description: "a TCP stream to and from a pod with a rate: its share of 10, 100 and 1000 Mbit/s (iperf3, cubic)",
        run: Run::Alone(bandwidth::run),
    },
    Workload {
        name: scale_pods::NAME,
        description: "two active pods among many idle ones (--idle-pods), and what the idle ones cost",
        run: Run::Alone(scale_pods::run),
    },
    Workload {
        name: pod_churn::NAME,
        description: "pods made and removed per second, each system by its own tools",
        run: Run::Alone(pod_churn::run),
    },
    Workload {
        name: cni::NAME,
        description: "CNI ADD and DEL, 16 at a time, beside the plugins bridge and host-local",
        run: Run::Alone(cni::run),
    },
    Workload {
        name: create_pod::NAME,
        description: "time from `vpodctl create-pod` to a pod that can talk, and of delete-pod",
        run: Run::Alone(create_pod::run),
    },
    Workload {
        name: idle_cpu::NAME,
        description: "CPU of a daemon with 50 silent pods",
        run: Run::Alone(idle_cpu::run),
    },
    Workload {
        name: ingress::NAME,
        description: "HTTP through the ingress, nginx and haproxy: requests per second of CPU, p99, memory",
        run: Run::Alone(ingress::run),
    },
];
