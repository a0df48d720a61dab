//! Chains, and what an IPAM plugin answers.

use ipnet::IpNet;

use super::*;
use crate::result::Dns;
use crate::{AddResult, Attached, Resolver, Version};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// What the switch makes.
fn own() -> AddResult {
    let attached = Attached {
        mac: "0a:58:0a:f4:00:09".parse().unwrap(),
        mtu: 1450,
        addresses: vec![(net("10.244.0.9/24"), "10.244.0.1".parse().unwrap())],
        resolver: Resolver { nameservers: vec!["10.96.0.10".parse().unwrap()], ..Resolver::default() },
    };
    attached.result(&added(&[], &config(&json!({}))))
}

#[test]
fn what_the_switch_made_is_the_answer_in_the_version_that_was_asked_for() {
    assert_eq!(
        own().to_value(Version::V1_1_0),
        json!({
            "cniVersion": "1.1.0",
            "interfaces": [{ "name": "eth0", "mac": "0a:58:0a:f4:00:09", "mtu": 1450, "sandbox": NETNS }],
            "ips": [{ "address": "10.244.0.9/24", "gateway": "10.244.0.1", "interface": 0 }],
            "routes": [{ "dst": "0.0.0.0/0", "gw": "10.244.0.1" }],
            "dns": { "nameservers": ["10.96.0.10"] },
        })
    );
    assert_eq!(
        own().to_json(Version::V0_3_1),
        json!({
            "cniVersion": "0.3.1",
            "interfaces": [{ "name": "eth0", "mac": "0a:58:0a:f4:00:09", "sandbox": NETNS }],
            "ips": [{ "version": "4", "address": "10.244.0.9/24", "gateway": "10.244.0.1", "interface": 0 }],
            "routes": [{ "dst": "0.0.0.0/0", "gw": "10.244.0.1" }],
            "dns": { "nameservers": ["10.96.0.10"] },
        })
        .to_string()
    );
}

fn previous(value: Value) -> AddResult {
    match call("ADD", &[], &config(&json!({ "prevResult": value }))).verb {
        Verb::Add { previous, .. } => previous.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_came_before_in_the_chain_stays_and_ours_is_added() {
    let before = previous(json!({
        "interfaces": [{ "name": "lo", "sandbox": NETNS }],
        "ips": [{ "address": "127.0.0.1/8", "interface": 0 }],
        "dns": { "nameservers": ["10.1.0.1"] },
    }));
    let after = before.clone().followed_by(own());
    assert_eq!(after.ips.iter().map(|ip| ip.interface).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_eq!(after.interface("eth0", NETNS).unwrap().0, 1);
    assert_eq!(after.dns.nameservers, ["10.96.0.10"]);
    let silent = AddResult { dns: Dns::default(), ..own() };
    assert_eq!(before.followed_by(silent).dns.nameservers, ["10.1.0.1"]);
}

#[test]
fn an_address_without_an_interface_does_not_become_ours() {
    let before = previous(json!({ "ips": [{ "address": "10.0.0.5/32", "interface": 0 }] }));
    let after = before.followed_by(own());
    assert_eq!(after.ips.iter().map(|ip| ip.interface).collect::<Vec<_>>(), [None, Some(0)]);
}

#[test]
fn unknown_keys_of_a_result_are_handed_on() {
    let value = json!({
        "cniVersion": "1.1.0", "vendor": { "deep": [1, null] },
        "interfaces": [{ "name": "lo", "x-queues": 4 }],
        "ips": [{ "address": "10.0.0.5/32", "x-pool": "blue" }],
        "routes": [{ "dst": "10.0.0.0/8", "x-weight": 2 }],
        "dns": { "x-port": 5353 },
    });
    let read = previous(value.clone());
    assert_eq!(read.to_value(Version::V1_1_0), value);
    let old = read.to_value(Version::V0_4_0);
    assert_eq!((&old["vendor"], &old["ips"][0]["x-pool"]), (&value["vendor"], &json!("blue")));
}

#[test]
fn an_ipam_plugin_answers_without_interfaces() {
    assert_eq!(
        own().abbreviated().to_value(Version::V1_1_0),
        json!({
            "cniVersion": "1.1.0",
            "ips": [{ "address": "10.244.0.9/24", "gateway": "10.244.0.1" }],
            "routes": [{ "dst": "0.0.0.0/0", "gw": "10.244.0.1" }],
            "dns": { "nameservers": ["10.96.0.10"] },
        })
    );
}

#[test]
fn an_interface_that_the_chain_has_already_is_not_made_again() {
    let has = |name: &str, sandbox: &str| {
        config(&json!({ "prevResult": { "interfaces": [{ "name": name, "sandbox": sandbox }] } }))
    };
    let error = refused("ADD", &[], &has("eth0", NETNS), Code::AlreadyAttached);
    assert!(error.message.contains("eth0") && error.message.contains(NETNS), "{error}");
    for other in [has("eth1", NETNS), has("eth0", ""), has("eth0", "/var/run/netns/red")] {
        call("ADD", &[], &other);
    }
}

#[test]
fn null_and_empty_values_of_a_result_are_as_if_they_were_not_there() {
    let read = previous(json!({
        "interfaces": [{ "name": "a", "mac": "", "sandbox": null }], "ips": null,
        "routes": [{ "dst": "10.0.0.0/8", "gw": "", "mtu": null }], "dns": null,
    }));
    assert_eq!(
        read.to_value(Version::V1_1_0),
        json!({
            "cniVersion": "1.1.0", "interfaces": [{ "name": "a" }], "routes": [{ "dst": "10.0.0.0/8" }],
        })
    );
}
