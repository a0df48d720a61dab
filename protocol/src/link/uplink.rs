//! The way out of the cluster and into it, as the datapath sees it.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The node's network, which it shares with the node's own stack: the switch sends with the node's MAC and address, and takes what
/// comes for its reserved ports, for node ports and for load-balancer addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkConfig {
    /// The node's address there: what pods appear as outside, unless an [`EgressRule`] says otherwise.
    pub address: Ipv4Addr,
    /// What is on the link itself.
    pub subnet: Ipv4Net,
    /// Who takes everything else; without it, only the link can be reached.
    pub gateway: Option<Ipv4Addr>,
    /// Ports of the node's addresses that are the switch's: it alone makes connections from them.
    pub source_ports: RangeInclusive<u16>,
    /// Ports of the node's addresses where services may be.
    pub node_ports: RangeInclusive<u16>,
    /// Who may answer to a pod through a mapping (RFC 4787 section 5).
    pub filtering: Filtering,
    /// Outside the cluster, but reached with the pod's own address.
    pub not_translated: Vec<Ipv4Net>,
    /// Other addresses for some pods; the first that fits counts.
    pub egress: Vec<EgressRule>,
    /// Load-balancer addresses this node stands for: it answers ARP for them, and says so unasked.
    pub announced: Vec<Ipv4Addr>,
    /// They are this node's by a lease: it stands for them only until the moment that control last gave
    /// ([`ToDatapath::HoldAnnounced`](super::ToDatapath::HoldAnnounced)), so that nobody else has to ask whether it still does.
    pub announced_by_lease: bool,
}

/// What some pods appear as outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressRule {
    /// Whose connections.
    pub sources: Vec<Ipv4Net>,
    /// What they appear as; the switch answers ARP for it, and all its ports are the switch's.
    pub address: Ipv4Addr,
}

/// Which packets from outside a mapping lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Filtering {
    /// From addresses and ports the pod has sent to, as the kernel's masquerading does.
    #[default]
    AddressAndPortDependent,
    /// From anybody (RFC 4787 REQ-8, where transparency is wanted most).
    EndpointIndependent,
}
