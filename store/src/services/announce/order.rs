//! The order in which nodes take an address. Pure, and the same in all releases.

use std::net::Ipv4Addr;

/// `nodes` in the order that `address` has for them.
pub fn in_order<'a>(address: Ipv4Addr, nodes: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = nodes.into_iter().collect();
    all.sort_by_cached_key(|node| (hash(node, address), (*node).to_owned()));
    all
}

/// FNV-1a over both, with a last mix (`MurmurHash3`'s), without which names that differ in their last letter stay in order.
fn hash(node: &str, address: Ipv4Addr) -> u64 {
    let bytes = address.octets().into_iter().chain(node.bytes());
    let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (sum ^ (sum >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}
