//! Which addresses a node may be told to stand for: a datapath that is told of one that is somebody's refuses its whole configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use protocol::link::{EgressRule, UplinkConfig};

use super::NodeFacts;

/// As the datapath has it, with its egress addresses.
const MAX_ADDRESSES: usize = 4096;

/// Those of `facts.announced` that are nobody else's; the first of them, if they are too many.
pub(super) fn sound(facts: &NodeFacts, uplink: &UplinkConfig, egress: &[EgressRule]) -> Vec<Ipv4Addr> {
    let mut taken: BTreeSet<IpAddr> = facts.node_addresses.iter().copied().collect();
    taken.extend([Some(uplink.address), uplink.gateway].into_iter().flatten().map(IpAddr::V4));
    taken.extend(egress.iter().map(|rule| IpAddr::V4(rule.address)));
    for peer in facts.peers.values() {
        taken.insert(peer.address.into());
        taken.extend(peer.node_addresses.iter().copied());
    }
    let room = MAX_ADDRESSES.saturating_sub(egress.len());
    let free = facts.announced.iter().filter(|address| !taken.contains(&IpAddr::V4(**address)));
    free.copied().take(room).collect()
}
