use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

fn own() -> Own {
    Own {
        name: "a".to_owned(),
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        address: Some(Ipv4Addr::new(192, 0, 2, 1)),
        node_addresses: vec!["192.0.2.1".parse().unwrap(), "172.17.0.1".parse().unwrap()],
    }
}

fn peer(name: &str, address: &str, cidrs: &[&str]) -> PeerSpec {
    let pod_cidrs: Vec<IpNet> = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    PeerSpec {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        udp_port: 4789,
        router_mac: pod_cidrs.first().map_or(Mac::for_router(address.parse().unwrap()), |c| router_mac(*c)),
        pod_cidrs,
        node_addresses: vec![address.parse().unwrap()],
        keep_alive: true,
        has_pods: true,
    }
}

fn subjects(peers: &[PeerSpec]) -> Vec<(usize, Subject)> {
    check(&own(), peers).into_iter().map(|problem| (problem.peer, problem.subject)).collect()
}

#[test]
fn peers_that_contradict_nobody_pass() {
    let peers = [
        peer("b", "192.0.2.2", &["10.244.1.0/24"]),
        peer("c", "192.0.2.3", &["10.244.2.0/25", "10.244.2.128/25"]),
    ];
    assert_eq!(check(&own(), &peers), []);
    assert_eq!(sound(&own(), peers.to_vec()), (peers.to_vec(), Vec::new()));
}

#[test]
fn each_contradiction_is_named_by_peer_and_value() {
    let b = || peer("b", "192.0.2.2", &["10.244.1.0/24"]);
    let with = |change: fn(&mut PeerSpec)| {
        let mut spec = peer("c", "192.0.2.3", &["10.244.2.0/24"]);
        change(&mut spec);
        subjects(&[b(), spec])
    };
    let node = Subject::NodeAddress(0);
    let cidr = Subject::PodCidr(0);
    let cases = [
        (with(|p| p.name = "b".to_owned()), Subject::Name),
        (with(|p| p.name = "a".to_owned()), Subject::Name),
        (with(|p| p.address = Ipv4Addr::new(192, 0, 2, 2)), Subject::Address),
        (with(|p| p.address = Ipv4Addr::new(192, 0, 2, 1)), Subject::Address),
        (with(|p| p.address = Ipv4Addr::new(172, 17, 0, 1)), Subject::Address),
        (with(|p| p.address = Ipv4Addr::LOCALHOST), Subject::Address),
        (with(|p| p.address = Ipv4Addr::new(224, 0, 0, 1)), Subject::Address),
        (with(|p| p.pod_cidrs.clear()), Subject::PodCidrs),
        (with(|p| p.pod_cidrs = vec!["10.244.1.128/25".parse().unwrap()]), cidr),
        (with(|p| p.pod_cidrs = vec!["10.244.0.0/23".parse().unwrap()]), cidr),
        (with(|p| p.pod_cidrs = vec!["10.244.0.0/16".parse().unwrap()]), cidr),
        (with(|p| p.pod_cidrs = vec!["10.245.0.0/24".parse().unwrap()]), cidr),
        (with(|p| p.pod_cidrs = vec!["fd00::/64".parse().unwrap()]), cidr),
        (with(|p| p.pod_cidrs = vec!["10.244.2.1/24".parse().unwrap()]), cidr),
        (with(|p| p.pod_cidrs.push("10.244.2.0/25".parse().unwrap())), Subject::PodCidr(1)),
        (with(|p| p.node_addresses = vec!["10.244.9.9".parse().unwrap()]), node),
        (with(|p| p.node_addresses = vec!["10.96.0.1".parse().unwrap()]), node),
        (with(|p| p.node_addresses = vec!["192.0.2.2".parse().unwrap()]), node),
        (with(|p| p.node_addresses = vec!["fd00::1".parse().unwrap()]), node),
        (with(|p| p.node_addresses = vec!["192.0.2.3".parse().unwrap(); 65]), Subject::NodeAddresses),
    ];
    for (found, subject) in cases {
        assert_eq!(found, [(1, subject)]);
    }
}

#[test]
fn what_the_store_says_wrongly_costs_only_what_is_wrong() {
    let mut c = peer("c", "192.0.2.3", &["10.244.2.0/24"]);
    c.node_addresses = vec!["172.17.0.1".parse().unwrap(), "192.0.2.3".parse().unwrap()];
    let thief = peer("d", "192.0.2.4", &["10.244.2.128/25"]);
    let after = peer("e", "192.0.2.4", &["10.244.3.0/24"]);
    let (kept, said) = sound(&own(), vec![c.clone(), thief, after.clone()]);
    c.node_addresses.remove(0);
    assert_eq!(kept, [c, after]);
    assert_eq!(
        said,
        ["node d is not a peer: pod_cidrs[0]: 10.244.2.128/25 overlaps the range of peer \"c\""]
    );
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set("[a-h]", 0..8)
}

proptest! {
    #[test]
    fn numbers_are_unique_dense_and_kept_while_the_name_is(history in vec(names(), 1..20)) {
        let mut ids = PeerIds::default();
        let mut most = 0;
        for names in history {
            let before = ids.clone();
            let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            prop_assert_eq!(ids.assign(&wanted), 0);
            let given: BTreeSet<PeerId> = names.iter().map(|name| ids.get(name).unwrap()).collect();
            prop_assert_eq!(given.len(), names.len());
            most = most.max(names.len());
            prop_assert!(given.iter().all(|id| id.index() < most));
            for name in &names {
                if let Some(id) = before.get(name) {
                    prop_assert_eq!(ids.get(name), Some(id));
                }
            }
            prop_assert_eq!(PeerIds::restore(names.iter().map(|n| (n.clone(), ids.get(n).unwrap()))), ids.clone());
        }
    }

    /// Overlaps are found exactly where comparing every pair finds them.
    #[test]
    fn ranges_are_compared_with_all_others(ranges in vec((0..64u32, 18..=26u8), 1..12)) {
        let peers: Vec<PeerSpec> = ranges.iter().enumerate().map(|(number, (block, len))| {
            let first = Ipv4Addr::from_bits(0x0af4_0000 | (block << 10));
            let cidr = Ipv4Net::new(first, *len).unwrap().trunc();
            peer(&format!("p{number}"), &format!("192.0.3.{number}"), &[&cidr.to_string()])
        }).collect();
        let mut claimed = vec![own().pod_cidr];
        let mut expected = Vec::new();
        for (number, peer) in peers.iter().enumerate() {
            let cidr = peer.pod_cidrs[0];
            match claimed.iter().any(|other| overlap(*other, cidr)) {
                true => expected.push((number, Subject::PodCidr(0))),
                false => claimed.push(cidr),
            }
        }
        prop_assert_eq!(subjects(&peers), expected);
    }
}

#[test]
fn numbers_run_out_without_harm() {
    let all: Vec<String> = (0..=PeerId::MAX_PEERS).map(|n| format!("n{n:05}")).collect();
    let mut ids = PeerIds::default();
    assert_eq!(ids.assign(&all.iter().map(String::as_str).collect()), 1);
    assert_eq!(ids.get(&all[PeerId::MAX_PEERS as usize]), None);
    assert_eq!(ids.assign(&all.iter().skip(1).map(String::as_str).collect()), 0);
}

#[test]
fn damaged_numbers_are_given_anew() {
    let known = [("a", 1), ("b", 1), ("c", PeerId::MAX_PEERS)];
    let ids = PeerIds::restore(known.map(|(name, id)| (name.to_owned(), PeerId(id))));
    assert_eq!((ids.get("a"), ids.get("b"), ids.get("c")), (Some(PeerId(1)), None, None));
}
