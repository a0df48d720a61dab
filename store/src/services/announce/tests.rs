//! The order in which nodes take addresses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::*;

#[test]
fn addresses_are_spread_over_nodes() {
    let nodes = ["node-1", "node-2", "node-3"];
    let mut firsts: BTreeMap<&str, u32> = BTreeMap::new();
    for last in 0..=255 {
        let order = in_order(Ipv4Addr::new(192, 0, 2, last), nodes);
        assert_eq!(order.len(), 3);
        *firsts.entry(order[0]).or_default() += 1;
    }
    assert!(firsts.values().all(|count| (60..=115).contains(count)), "{firsts:?}");
}

/// Nodes of different releases must agree.
#[test]
fn the_order_never_changes() {
    let nodes = ["a", "b", "c"];
    let order = |last| in_order(Ipv4Addr::new(192, 0, 2, last), nodes).join("");
    assert_eq!([1, 2, 3, 4].map(order), ["acb", "bca", "bac", "cab"]);
    assert_eq!(in_order(Ipv4Addr::new(192, 0, 2, 1), ["c", "b", "a"]).join(""), order(1));
}

#[test]
fn without_one_node_the_others_keep_their_order() {
    for last in 0..50 {
        let address = Ipv4Addr::new(198, 51, 100, last);
        let all = in_order(address, ["a", "b", "c", "d"]);
        let without: Vec<&str> = all.iter().copied().filter(|node| *node != "b").collect();
        assert_eq!(in_order(address, ["a", "c", "d"]), without);
    }
}
