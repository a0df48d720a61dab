//! `ipRanges`: where a pod's addresses are to come from (CONVENTIONS, "Dynamically configure ip range").
//!
//! One address is taken from each set, and a set may have several ranges. The rules are the reference plugin host-local's.

use std::net::IpAddr;

use ipnet::IpNet;

use super::MAX_LIST;
use crate::json::{Node, Problems};

/// Ranges of one family that do not meet.
pub type RangeSet = Vec<IpRange>;

/// Addresses of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpRange {
    /// The network, without host bits, with room for more than two addresses.
    pub subnet: IpNet,
    /// The first that may be given; the first of the network without.
    pub start: Option<IpAddr>,
    /// The last that may be given, not below `start`; the last of the network without.
    pub end: Option<IpAddr>,
    /// The router's.
    pub gateway: Option<IpAddr>,
}

impl IpRange {
    pub(crate) fn bounds(&self) -> (IpAddr, IpAddr) {
        (
            self.start.unwrap_or_else(|| self.subnet.network()),
            self.end.unwrap_or_else(|| self.subnet.broadcast()),
        )
    }

    fn meets(&self, other: &Self) -> bool {
        let ((start, end), (other_start, other_end)) = (self.bounds(), other.bounds());
        start <= other_end && other_start <= end
    }
}

pub(super) fn read(node: &Node<'_>, problems: &mut Problems) -> Vec<RangeSet> {
    let sets = node.list(MAX_LIST, problems);
    sets.iter().map(|set| read_set(set, problems)).filter(|set| !set.is_empty()).collect()
}

fn read_set(node: &Node<'_>, problems: &mut Problems) -> RangeSet {
    let mut set = RangeSet::new();
    for node in node.list(MAX_LIST, problems) {
        let Some(range) = read_range(&node, problems) else { continue };
        if set.iter().any(|other| other.subnet.addr().is_ipv4() != range.subnet.addr().is_ipv4()) {
            problems.invalid(&node, "must be of the same family as the others of its set");
        } else if set.iter().any(|other| other.meets(&range)) {
            problems.invalid(&node, "must not meet others of its set");
        } else {
            set.push(range);
        }
    }
    set
}

fn read_range(node: &Node<'_>, problems: &mut Problems) -> Option<IpRange> {
    let map = node.object(problems)?;
    let Some(field) = Node::of(map, &node.path, "subnet") else {
        problems.required(&format!("{}.subnet", node.path));
        return None;
    };
    let subnet = field.read(problems, subnet)?;
    let within = |key: &str, problems: &mut Problems| {
        Node::of(map, &node.path, key)?.read(problems, |text| match text.parse::<IpAddr>() {
            Ok(ip) if subnet.contains(&ip) => Ok(ip),
            Ok(_) => Err(format!("must be in {subnet}")),
            Err(_) => Err("must be an address".to_owned()),
        })
    };
    let range = IpRange {
        subnet,
        start: within("rangeStart", problems),
        end: within("rangeEnd", problems),
        gateway: within("gateway", problems),
    };
    let (start, end) = range.bounds();
    if start > end {
        problems.invalid(node, "rangeStart must not be behind rangeEnd");
        return None;
    }
    Some(range)
}

fn subnet(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text.parse().map_err(|_| "must be a network, as in 10.244.0.0/24".to_owned())?;
    if net.addr() != net.network() {
        return Err(format!("has host bits set: the network is {}", net.trunc()));
    }
    if net.max_prefix_len() - net.prefix_len() < 2 {
        return Err(format!("network {net} is too small to allocate from"));
    }
    Ok(net)
}
