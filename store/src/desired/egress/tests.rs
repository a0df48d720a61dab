use std::collections::BTreeSet;

use protocol::Offloads;
use protocol::link::Filtering;

use super::super::tests::{facts, pod};
use super::super::{NodeFacts, UplinkFacts, desired};
use super::*;

const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 91);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 92);

fn selector(namespaces: &[&str], labels: &[(&str, &str)], address: Ipv4Addr) -> EgressSelector {
    EgressSelector {
        namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
        labels: labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        address,
    }
}

/// Pod `number` with these labels.
fn labelled(number: u32, namespace: &str, labels: &[(&str, &str)]) -> PodRecord {
    let mut pod = pod(number);
    pod.metadata.namespace = namespace.parse().unwrap();
    pod.metadata.labels = selector(&[], labels, ONE).labels;
    pod
}

fn sources(rules: &[EgressRule]) -> Vec<(Ipv4Addr, Vec<String>)> {
    rules.iter().map(|rule| (rule.address, rule.sources.iter().map(ToString::to_string).collect())).collect()
}

#[test]
fn pods_are_selected_by_namespace_and_all_labels() {
    let pods = [
        labelled(1, "a", &[("app", "x"), ("tier", "1")]),
        labelled(2, "b", &[("app", "x"), ("tier", "1")]),
        labelled(3, "a", &[("app", "x")]),
        labelled(4, "a", &[("app", "y"), ("tier", "1")]),
    ];
    let pods: Vec<&PodRecord> = pods.iter().collect();
    let of = |selector: EgressSelector| sources(&rules(&[selector], &pods));
    let both = [("app", "x"), ("tier", "1")];
    assert_eq!(of(selector(&["a"], &both, ONE)), [(ONE, vec!["10.244.0.1/32".to_owned()])]);
    assert_eq!(of(selector(&[], &both, ONE))[0].1.len(), 2);
    assert_eq!(of(selector(&["a", "b"], &[], ONE))[0].1.len(), 4);
    assert_eq!(of(selector(&[], &[], ONE))[0].1.len(), 4);
}

#[test]
fn a_pod_counts_for_the_first_selector_that_fits_and_one_without_pods_makes_no_rule() {
    let pods = [labelled(1, "a", &[("app", "x")]), labelled(2, "b", &[])];
    let pods: Vec<&PodRecord> = pods.iter().collect();
    let selectors = [
        selector(&["nobodys"], &[], Ipv4Addr::new(192, 0, 2, 93)),
        selector(&["a"], &[], ONE),
        selector(&[], &[], OTHER),
    ];
    let expected = [(ONE, vec!["10.244.0.1/32".to_owned()]), (OTHER, vec!["10.244.0.2/32".to_owned()])];
    assert_eq!(sources(&rules(&selectors, &pods)), expected);
    assert!(rules(&[], &pods).is_empty());
}

fn uplink() -> UplinkConfig {
    UplinkConfig {
        address: [192, 0, 2, 7].into(),
        subnet: "192.0.2.0/24".parse().unwrap(),
        gateway: Some([192, 0, 2, 1].into()),
        source_ports: 61_000..=65_535,
        node_ports: 30_000..=32_767,
        filtering: Filtering::default(),
        not_translated: Vec::new(),
        egress: Vec::new(),
        announced: Vec::new(),
        announced_by_lease: false,
    }
}

#[test]
fn addresses_that_a_network_needs_are_told_by_what_they_are() {
    let of = |last: u8| taken_on_link(&uplink(), [192, 0, 2, last].into());
    assert_eq!(of(1), Some("the uplink's gateway"));
    assert_eq!(of(0), Some("the address of the uplink's network"));
    assert_eq!(of(255), Some("the broadcast address of the uplink's network"));
    assert_eq!(of(9), None);
    // RFC 3021: both addresses of a point-to-point link are stations'.
    let pair = UplinkConfig { subnet: "192.0.2.6/31".parse().unwrap(), gateway: None, ..uplink() };
    assert_eq!([6, 7].map(|last| taken_on_link(&pair, [192, 0, 2, last].into())), [None, None]);
}

/// The datapath would refuse all of the configuration with one of them.
#[test]
fn what_nobody_can_stand_for_is_not_announced() {
    let announced = [0, 1, 7, 200, 255].map(|last| Ipv4Addr::new(192, 0, 2, last)).to_vec();
    let uplink = UplinkFacts {
        config: uplink(),
        egress: Vec::new(),
        mac: protocol::Mac([2, 0, 0, 0, 0, 1]),
        ip_mtu: 1500,
        offloads: Offloads::NONE,
    };
    let facts = NodeFacts { uplink: Some(uplink), announced, ..facts() };
    let configuration = desired(&facts, &[], &BTreeSet::new());
    let announced = configuration.node.unwrap().uplink.unwrap().announced;
    assert_eq!(announced, [Ipv4Addr::new(192, 0, 2, 200)]);
}
