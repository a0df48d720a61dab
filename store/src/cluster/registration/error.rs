//! Why a node cannot be registered, or deleted.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::cluster::error::{ClusterError, seconds};

/// Why a node cannot be registered, or deleted.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Another machine's daemon runs under this name.
    #[error(
        "node {name} is running on another machine ({address}, machine id {machine_id}): give this node another name, or stop the other one and wait for its lease to end"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Of the other one.
        machine_id: String,
        /// Of the other one.
        address: Ipv4Addr,
    },
    /// The node has another CIDR than the one it asks for.
    #[error(
        "node {name} has the Pod CIDR {has}, not {requested}: ask for that one, or delete the node first (vpodctl delete node {name})"
    )]
    CidrDiffers {
        /// The node.
        name: String,
        /// What it has.
        has: Ipv4Net,
        /// What it asks for.
        requested: Ipv4Net,
    },
    /// Another node has the CIDR.
    #[error("Pod CIDR {cidr} belongs to node {owner}")]
    CidrTaken {
        /// What is asked for.
        cidr: Ipv4Net,
        /// Who has it.
        owner: String,
    },
    /// The CIDR is none that the cluster gives out.
    #[error("Pod CIDR {cidr} is not a /{node_prefix_len} of the cluster's {cluster_cidr}")]
    CidrOutside {
        /// What is asked for.
        cidr: Ipv4Net,
        /// The cluster's range.
        cluster_cidr: Ipv4Net,
        /// Of each node's range.
        node_prefix_len: u8,
    },
    /// No CIDR left.
    #[error(
        "all {nodes} ranges of the size /{node_prefix_len} in the cluster's {cluster_cidr} are given out: delete nodes that are gone (vpodctl delete node)"
    )]
    Exhausted {
        /// The cluster's range.
        cluster_cidr: Ipv4Net,
        /// Of each node's range.
        node_prefix_len: u8,
        /// How many have one.
        nodes: usize,
    },
    /// The configuration gives no ranges that could be used.
    #[error("the cluster's {cluster_cidr} cannot be cut into nodes' ranges of the size /{node_prefix_len}")]
    Plan {
        /// The cluster's range.
        cluster_cidr: Ipv4Net,
        /// Of each node's range.
        node_prefix_len: u8,
    },
    /// Other nodes are registered with another cluster CIDR.
    #[error(
        "this node is configured for /{node_prefix_len} ranges of {cluster_cidr}, the cluster for /{theirs_len} ranges of {theirs}"
    )]
    PlanDiffers {
        /// Ours.
        cluster_cidr: Ipv4Net,
        /// Ours.
        node_prefix_len: u8,
        /// The cluster's.
        theirs: Ipv4Net,
        /// The cluster's.
        theirs_len: u8,
    },
    /// No key can be made of the name.
    #[error("\"{name}\" is no name for a node")]
    Name {
        /// The name.
        name: String,
    },
    /// Others were faster every time.
    #[error("node {name} could not be registered within {}: others were faster every time", seconds(*.after))]
    GaveUp {
        /// The node.
        name: String,
        /// How long it was tried.
        after: Duration,
    },
    /// There is no node of this name.
    #[error("there is no node {name}")]
    NoSuchNode {
        /// The name.
        name: String,
    },
    /// Its daemon runs.
    #[error("node {name} is running at {address}: stop its daemon first")]
    NodeAlive {
        /// The name.
        name: String,
        /// Where it runs.
        address: Ipv4Addr,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] ClusterError),
    /// The thread that keeps the lease cannot be started.
    #[error("cannot start the registration's thread: {0}")]
    Thread(std::io::Error),
}
