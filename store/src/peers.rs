//! Other nodes: which of those we are told of can be peers, and the numbers they get.
//!
//! Peers come from the configuration file and from the cluster's store. [`check`] holds them against
//! the node itself and against each other: an address that two nodes claim cannot be routed, and what
//! lies inside our own ranges must not come in by the tunnel. What it finds is an error where a person
//! wrote it ([`Subject`] says which value it is), and is left out ([`sound`]) where it came from the store.
//!
//! [`PeerIds`] gives each name a number that stays its own as long as the peer exists, so that counters
//! and flows in the datapath keep their meaning; the lowest free number is given first, which keeps the
//! datapath's tables dense.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use protocol::link::PeerConfig;
use protocol::{Mac, PeerId};
use serde::{Deserialize, Serialize};

/// Pod CIDRs of one peer; bounds a peer's size in a message.
pub const MAX_POD_CIDRS: usize = 64;
/// Node addresses of one peer.
pub const MAX_NODE_ADDRESSES: usize = 64;

/// Another node, as we are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSpec {
    /// Its name.
    pub name: String,
    /// Outer address.
    pub address: Ipv4Addr,
    /// UDP port it receives at.
    pub udp_port: u16,
    /// Its Pod CIDRs, at least one.
    pub pod_cidrs: Vec<IpNet>,
    /// Its node's own addresses.
    pub node_addresses: Vec<IpAddr>,
    /// Inner destination address of what is routed to it.
    pub router_mac: Mac,
    /// It answers keep-alives.
    pub keep_alive: bool,
    /// It has pods, so that broadcast and multicast are copied to it.
    pub has_pods: bool,
}

impl PeerSpec {
    /// As the datapath is told. `shares_store`: it is known from the store that this node's pods and policies are in.
    #[must_use]
    pub fn config(&self, id: PeerId, shares_store: bool) -> PeerConfig {
        PeerConfig {
            id,
            name: self.name.clone(),
            address: self.address,
            udp_port: self.udp_port,
            pod_cidrs: self.pod_cidrs.clone(),
            node_addresses: self.node_addresses.clone(),
            router_mac: self.router_mac,
            keep_alive: self.keep_alive,
            has_pods: self.has_pods,
            // A plain VXLAN device asks nobody.
            shares_policies: shares_store && self.keep_alive,
        }
    }
}

/// The MAC of the router of a daemon whose first Pod CIDR is `cidr`.
#[must_use]
pub fn router_mac(cidr: IpNet) -> Mac {
    Mac::for_router(crate::ipam::Ipam::new(cidr).gateway())
}

/// This node, as far as peers must not contradict it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its name.
    pub name: String,
    /// Its Pod CIDR.
    pub pod_cidr: IpNet,
    /// All pods.
    pub cluster_cidr: IpNet,
    /// Virtual addresses of services.
    pub service_cidr: IpNet,
    /// Its outer address, where it is known already.
    pub address: Option<Ipv4Addr>,
    /// Its own addresses, as far as they are known already.
    pub node_addresses: Vec<IpAddr>,
}

/// Which value of a peer a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Its name.
    Name,
    /// Its outer address.
    Address,
    /// The number of its Pod CIDRs.
    PodCidrs,
    /// One of its Pod CIDRs.
    PodCidr(usize),
    /// The number of its node addresses.
    NodeAddresses,
    /// One of its node addresses.
    NodeAddress(usize),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("name"),
            Self::Address => f.write_str("address"),
            Self::PodCidrs => f.write_str("pod_cidrs"),
            Self::PodCidr(index) => write!(f, "pod_cidrs[{index}]"),
            Self::NodeAddresses => f.write_str("node_addresses"),
            Self::NodeAddress(index) => write!(f, "node_addresses[{index}]"),
        }
    }
}

/// Why a peer cannot be as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which of the peers, counted from 0.
    pub peer: usize,
    /// Which of its values.
    pub subject: Subject,
    /// What is wrong with it.
    pub text: String,
}

/// Everything that is wrong with `peers`. Of two that contradict each other the later one is named.
#[must_use]
pub fn check(own: &Own, peers: &[PeerSpec]) -> Vec<Problem> {
    let mut claims = Claims::of(own);
    let mut problems = Vec::new();
    for (peer, spec) in peers.iter().enumerate() {
        let found = claims.add(own, spec);
        problems.extend(found.into_iter().map(|(subject, text)| Problem { peer, subject, text }));
    }
    problems
}

/// The peers among `peers` that can be, and what is said about the others.
///
/// A node address that somebody else has too (as each of many nodes has a bridge 172.17.0.1) costs the
/// peer that address only; it is not worth a word.
#[must_use]
pub fn sound(own: &Own, peers: Vec<PeerSpec>) -> (Vec<PeerSpec>, Vec<String>) {
    let mut claims = Claims::of(own);
    let (mut kept, mut said) = (Vec::new(), Vec::new());
    for mut spec in peers {
        spec.node_addresses.truncate(MAX_NODE_ADDRESSES);
        let found = claims.problems(own, &spec);
        let is_minor = |subject: &Subject| matches!(subject, Subject::NodeAddress(_));
        if let Some((subject, text)) = found.iter().find(|(subject, _)| !is_minor(subject)) {
            said.push(format!("node {} is not a peer: {subject}: {text}", spec.name));
            continue;
        }
        let mut index = 0;
        spec.node_addresses.retain(|_| {
            let claimed = found.iter().any(|(subject, _)| *subject == Subject::NodeAddress(index));
            index += 1;
            !claimed
        });
        claims.insert(&spec);
        kept.push(spec);
    }
    (kept, said)
}

/// Who has which name, address and range.
struct Claims {
    names: BTreeSet<String>,
    outer: BTreeMap<Ipv4Addr, String>,
    nodes: BTreeMap<IpAddr, String>,
    /// First address → last address and owner; they do not overlap.
    ranges: BTreeMap<Ipv4Addr, (Ipv4Addr, String)>,
}

/// The names under which our own values are claimed.
const THIS_NODE: &str = "this node";

impl Claims {
    fn of(own: &Own) -> Self {
        let mut claims = Self {
            names: BTreeSet::from([own.name.clone()]),
            outer: own.address.into_iter().map(|ip| (ip, THIS_NODE.to_owned())).collect(),
            nodes: own.node_addresses.iter().map(|ip| (*ip, THIS_NODE.to_owned())).collect(),
            ranges: BTreeMap::new(),
        };
        claims.claim_range(own.pod_cidr, THIS_NODE.to_owned());
        claims
    }

    /// What is wrong with `spec`; what is right of it is claimed.
    fn add(&mut self, own: &Own, spec: &PeerSpec) -> Vec<(Subject, String)> {
        let problems = self.problems(own, spec);
        self.insert(spec);
        problems
    }

    fn problems(&self, own: &Own, spec: &PeerSpec) -> Vec<(Subject, String)> {
        let mut problems = Vec::new();
        if self.names.contains(&spec.name) {
            let whose = if spec.name == own.name { "this node's own name" } else { "another peer's name" };
            problems.push((Subject::Name, format!("\"{}\" is {whose}", spec.name)));
        }
        if let Some(text) = self.outer_problem(spec.address) {
            problems.push((Subject::Address, text));
        }
        if spec.pod_cidrs.is_empty() || spec.pod_cidrs.len() > MAX_POD_CIDRS {
            let text = format!("{} ranges; want 1 to {MAX_POD_CIDRS}", spec.pod_cidrs.len());
            problems.push((Subject::PodCidrs, text));
        }
        for (index, cidr) in spec.pod_cidrs.iter().enumerate() {
            let twice = || spec.pod_cidrs.iter().take(index).find(|other| overlap(**other, *cidr));
            let problem = self.range_problem(own, *cidr);
            let problem = problem.or_else(|| Some(format!("{cidr} overlaps {} of the same peer", twice()?)));
            problems.extend(problem.map(|text| (Subject::PodCidr(index), text)));
        }
        if spec.node_addresses.len() > MAX_NODE_ADDRESSES {
            let text = format!("{} addresses; the limit is {MAX_NODE_ADDRESSES}", spec.node_addresses.len());
            problems.push((Subject::NodeAddresses, text));
        }
        for (index, ip) in spec.node_addresses.iter().enumerate() {
            problems.extend(self.node_problem(own, *ip).map(|text| (Subject::NodeAddress(index), text)));
        }
        problems
    }

    fn outer_problem(&self, address: Ipv4Addr) -> Option<String> {
        if let Some(owner) = self.outer.get(&address) {
            return Some(format!("{address} is the address of {owner}"));
        }
        if self.nodes.get(&IpAddr::V4(address)).is_some_and(|owner| owner == THIS_NODE) {
            return Some(format!("{address} is an address of {THIS_NODE}"));
        }
        (!is_unicast(address)).then(|| format!("{address} is not an address a node can have"))
    }

    fn range_problem(&self, own: &Own, cidr: IpNet) -> Option<String> {
        let IpNet::V4(net) = cidr else {
            return Some(format!("{cidr} is not an IPv4 range; this release gives pods IPv4 addresses"));
        };
        if net.trunc() != net {
            return Some(format!("{cidr} has bits behind its prefix length; did you mean {}?", net.trunc()));
        }
        if !own.cluster_cidr.contains(&cidr) {
            return Some(format!("{cidr} is not inside cluster_cidr {}", own.cluster_cidr));
        }
        let (_, (_, owner)) = self.overlapping(net)?;
        Some(format!("{cidr} overlaps the range of {owner}"))
    }

    fn node_problem(&self, own: &Own, ip: IpAddr) -> Option<String> {
        let IpAddr::V4(v4) = ip else {
            return Some(format!("{ip} is not an IPv4 address"));
        };
        if !is_unicast(v4) {
            return Some(format!("{ip} is not an address a node can have"));
        }
        for (key, range) in [("cluster_cidr", own.cluster_cidr), ("service_cidr", own.service_cidr)] {
            if range.contains(&ip) {
                return Some(format!("{ip} is inside {key} {range}"));
            }
        }
        self.nodes.get(&ip).map(|owner| format!("{ip} is an address of {owner}"))
    }

    fn insert(&mut self, spec: &PeerSpec) {
        let owner = || format!("peer \"{}\"", spec.name);
        self.names.insert(spec.name.clone());
        self.outer.entry(spec.address).or_insert_with(owner);
        for ip in &spec.node_addresses {
            self.nodes.entry(*ip).or_insert_with(owner);
        }
        for cidr in &spec.pod_cidrs {
            self.claim_range(*cidr, owner());
        }
    }

    fn claim_range(&mut self, cidr: IpNet, owner: String) {
        if let IpNet::V4(net) = cidr
            && self.overlapping(net).is_none()
        {
            self.ranges.insert(net.network(), (net.broadcast(), owner));
        }
    }

    /// The last range that begins before `net` ends is the only one that can reach into it.
    fn overlapping(&self, net: Ipv4Net) -> Option<(&Ipv4Addr, &(Ipv4Addr, String))> {
        self.ranges.range(..=net.broadcast()).next_back().filter(|(_, (last, _))| *last >= net.network())
    }
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn is_unicast(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast() || ip.is_link_local())
}

/// Numbers by name.
///
/// INVARIANT: no number is given twice, and all are below [`PeerId::MAX_PEERS`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerIds(BTreeMap<String, PeerId>);

impl PeerIds {
    /// As they were given before. Of what cannot be, the later one is forgotten.
    pub fn restore(known: impl IntoIterator<Item = (String, PeerId)>) -> Self {
        let mut taken = BTreeSet::new();
        let good = |id: &PeerId| id.0 < PeerId::MAX_PEERS;
        Self(known.into_iter().filter(|(_, id)| good(id) && taken.insert(*id)).collect())
    }

    /// Exactly `names` have a number from now on, those that had one the same. Returns how many have
    /// none because there are no more.
    pub fn assign(&mut self, names: &BTreeSet<&str>) -> usize {
        self.0.retain(|name, _| names.contains(name.as_str()));
        let taken: BTreeSet<PeerId> = self.0.values().copied().collect();
        let mut free = (0..PeerId::MAX_PEERS).map(PeerId).filter(|id| !taken.contains(id));
        let mut without = 0;
        for name in names {
            if self.0.contains_key(*name) {
                continue;
            }
            match free.next() {
                Some(id) => _ = self.0.insert((*name).to_owned(), id),
                None => without += 1,
            }
        }
        without
    }

    /// The number of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<PeerId> {
        self.0.get(name).copied()
    }
}

#[cfg(test)]
mod tests;
