//! Which addresses a node may be told to stand for: a datapath that is told of one that is somebody's refuses its whole configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use protocol::link::{EgressRule, UplinkConfig};

use super::NodeFacts;
use super::egress::taken_on_link;

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
    let is_free = |address: &Ipv4Addr| {
        is_stations(*address)
            && !taken.contains(&IpAddr::V4(*address))
            && taken_on_link(uplink, *address).is_none()
    };
    facts.announced.iter().copied().filter(is_free).take(room).collect()
}

/// Somebody could have it (RFC 1122 §3.2.1.3).
const fn is_stations(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    let is_local = address.is_loopback() || address.is_link_local();
    first != 0 && first < 240 && !is_local && !address.is_multicast()
}
