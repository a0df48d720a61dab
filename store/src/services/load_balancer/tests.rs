//! Ranges and pools by example.

use proptest::prelude::*;
use std::net::Ipv4Addr;

use super::*;

fn range(text: &str) -> AddressRange {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn pool(name: &str, addresses: &[&str]) -> AddressPool {
    AddressPool {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| range(text)).collect(),
        auto_assign: true,
        avoid_buggy_ips: false,
        priority: 0,
        namespaces: [].into(),
        service_selectors: Vec::new(),
    }
}

#[test]
fn ranges_are_read_as_people_write_them() {
    for (text, first, last, shown) in [
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.10-192.0.2.20", "192.0.2.10", "192.0.2.20", "192.0.2.10-192.0.2.20"),
        ("192.0.2.10 - 192.0.2.20", "192.0.2.10", "192.0.2.20", "192.0.2.10-192.0.2.20"),
        ("192.0.2.8-192.0.2.15", "192.0.2.8", "192.0.2.15", "192.0.2.8/29"),
    ] {
        let range = range(text);
        let all: Vec<Ipv4Addr> = range.addresses().collect();
        assert_eq!((all[0].to_string(), all[all.len() - 1].to_string()), (first.to_owned(), last.to_owned()));
        assert_eq!(range.to_string(), shown);
    }
    for (text, reason) in [
        ("192.0.2.1/24", "did you mean 192.0.2.0/24?"),
        ("192.0.2.20-192.0.2.10", "ends before it begins"),
        ("192.0.2.010-192.0.2.20", "is not a range"),
        ("fd00::/64", "is not a range"),
        ("", "is not a range"),
    ] {
        let error = text.parse::<AddressRange>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_pool_can_do_without_addresses_that_look_like_a_networks() {
    let mut pool = pool("a", &["192.0.2.254-192.0.3.1"]);
    let all = |pool: &AddressPool| pool.candidates().map(|ip| ip.octets()[3]).collect::<Vec<_>>();
    assert_eq!(all(&pool), [254, 255, 0, 1]);
    pool.avoid_buggy_ips = true;
    assert_eq!(all(&pool), [254, 1]);
    assert!(!pool.has(Ipv4Addr::new(192, 0, 2, 255)) && pool.has(Ipv4Addr::new(192, 0, 3, 1)));
}

#[test]
fn pools_have_nothing_in_common() {
    let problem = |pools: Vec<AddressPool>| AddressPools::new(pools).unwrap_err().to_string();
    let same = problem(vec![pool("a", &["192.0.2.0/25"]), pool("a", &["192.0.2.128/25"])]);
    assert_eq!(same, "there are two pools \"a\"");
    let overlap = problem(vec![pool("a", &["192.0.2.0/24"]), pool("b", &["192.0.2.9-192.0.2.10"])]);
    assert_eq!(overlap, "192.0.2.9-192.0.2.10 of pool \"b\" overlaps 192.0.2.0/24 of pool \"a\"");
}

proptest! {
    #[test]
    fn what_is_shown_reads_back_as_the_same_range(a: u32, len in 0u32..70_000) {
        let (first, last) = (Ipv4Addr::from_bits(a), Ipv4Addr::from_bits(a.saturating_add(len)));
        let range = range(&format!("{first}-{last}"));
        prop_assert_eq!(range.to_string().parse::<AddressRange>(), Ok(range));
        prop_assert!(range.contains(first) && range.contains(last));
    }
}
