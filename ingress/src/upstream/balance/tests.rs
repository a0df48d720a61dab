use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn endpoints(count: u16) -> Endpoints {
    let list: Vec<(IpAddr, u16)> = (0..count).map(|n| (IpAddr::from([10, 0, 0, 1]), 8000 + n)).collect();
    Endpoints::updated(&list, None)
}

fn options(eject_after: u32) -> Options {
    Options { eject_after, ..Options::default() }
}

fn port(lease: Option<Lease>) -> u16 {
    lease.unwrap().endpoint().address.port()
}

#[test]
fn round_robin_goes_round() {
    let e = endpoints(3);
    let ports: Vec<u16> = (0..6).map(|_| port(e.choose(Policy::RoundRobin, &[], 0))).collect();
    assert_eq!(ports, [8000, 8001, 8002, 8000, 8001, 8002]);
}

#[test]
fn least_outstanding_goes_where_least_is_under_way() {
    let e = endpoints(2);
    let first = e.choose(Policy::LeastOutstanding, &[], 0).unwrap();
    let second = e.choose(Policy::LeastOutstanding, &[], 0).unwrap();
    assert_ne!(first.endpoint().address, second.endpoint().address);
    let free = second.endpoint().address.port();
    drop(second);
    for _ in 0..5 {
        assert_eq!(port(e.choose(Policy::LeastOutstanding, &[], 0)), free);
    }
}

#[test]
fn an_endpoint_that_fails_is_left_alone_for_a_while_but_never_all() {
    let e = endpoints(2);
    let options = options(3);
    let bad = Arc::clone(&e.list[0]);
    assert!(!bad.failed(&options, 0));
    assert!(!bad.failed(&options, 0));
    assert!(bad.failed(&options, 0));
    let ports: Vec<u16> = (0..4).map(|_| port(e.choose(Policy::RoundRobin, &[], 1))).collect();
    assert_eq!(ports, [8001; 4]);
    // its time is over
    assert!((0..2).any(|_| port(e.choose(Policy::RoundRobin, &[], 10_000)) == 8000));
    for _ in 0..3 {
        e.list[1].failed(&options, 0);
    }
    assert!(e.choose(Policy::RoundRobin, &[], 1).is_some());
    bad.succeeded();
    assert_eq!(port(e.choose(Policy::RoundRobin, &[], 1)), 8000);
}

#[test]
fn ejections_grow_to_a_bound() {
    let endpoint = Endpoint::new("10.0.0.1:80".parse().unwrap());
    let options = options(1);
    let mut now = 0;
    let mut longest = 0;
    for _ in 0..20 {
        assert!(endpoint.failed(&options, now));
        let until = endpoint.ejected_until_ms.load(Ordering::Relaxed);
        longest = until - now;
        now = until;
    }
    assert_eq!(longest, 60_000);
}

#[test]
fn what_was_tried_is_not_tried_again_while_there_is_another() {
    let e = endpoints(3);
    let tried: Vec<SocketAddr> = e.list.iter().take(2).map(|x| x.address).collect();
    for policy in [Policy::RoundRobin, Policy::LeastOutstanding, Policy::Hash(7)] {
        for _ in 0..5 {
            assert_eq!(port(e.choose(policy, &tried, 0)), 8002);
        }
    }
    let all: Vec<SocketAddr> = e.list.iter().map(|x| x.address).collect();
    assert!(e.choose(Policy::RoundRobin, &all, 0).is_some());
    assert!(endpoints(0).choose(Policy::RoundRobin, &[], 0).is_none());
}

#[test]
fn a_hash_moves_only_the_share_of_an_endpoint_that_goes() {
    let before = endpoints(10);
    let left: Vec<(IpAddr, u16)> = (0..9).map(|n| (IpAddr::from([10, 0, 0, 1]), 8000 + n)).collect();
    let after = Endpoints::updated(&left, Some(&before));
    let mut shares: HashMap<u16, u32> = HashMap::new();
    for key in 0..1000 {
        let was = port(before.choose(Policy::Hash(key), &[], 0));
        let is = port(after.choose(Policy::Hash(key), &[], 0));
        assert!(was == 8009 || was == is);
        *shares.entry(was).or_default() += 1;
    }
    assert_eq!(shares.len(), 10);
    assert!(shares.values().all(|&n| (50..200).contains(&n)), "{shares:?}");
}

#[test]
fn an_update_keeps_what_is_known() {
    let before = endpoints(3);
    before.list[1].failed(&options(1), 0);
    let same: Vec<(IpAddr, u16)> = before.list.iter().map(|e| (e.address.ip(), e.address.port())).collect();
    let after = Endpoints::updated(&same[1..], Some(&before));
    assert!(Arc::ptr_eq(&before.list[1], &after.list[0]));
    assert!(after.by_token(before.list[1].token(), 1).is_none(), "ejected");
    assert!(after.by_token(before.list[2].token(), 1).is_some());
    assert!(after.by_token(before.list[0].token(), 1).is_none(), "gone");
}

proptest! {
    #[test]
    fn tokens_tell_addresses_apart(a in any::<[u8; 16]>(), b in any::<[u8; 16]>(), p in any::<u16>(), q in any::<u16>()) {
        let x = Endpoint::new(SocketAddr::new(IpAddr::from(a), p));
        let y = Endpoint::new(SocketAddr::new(IpAddr::from(b), q));
        prop_assert_eq!(x.address == y.address, x.token() == y.token());
    }
}
