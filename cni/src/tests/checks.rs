//! CHECK and GC, as far as they are decided without a kernel.

use std::collections::BTreeSet;

use super::*;
use crate::check::{Found, FoundInterface, outcome};
use crate::result::Route;
use crate::{AddResult, AttachmentKey, ContainerId, InterfaceName, NetworkName, gc};

fn prev_result() -> Value {
    json!({
        "interfaces": [
            { "name": "vpod0" },
            { "name": "eth0", "mac": "0a:58:0a:f4:00:09", "sandbox": NETNS, "mtu": 1450 },
        ],
        "ips": [{ "address": "10.244.0.9/24", "gateway": "10.244.0.1", "interface": 1 }, { "address": "192.0.2.1/32", "interface": 0 }],
        "routes": [{ "dst": "0.0.0.0/0", "gw": "10.244.0.1" }],
    })
}

fn route(dst: &str, gw: &str) -> Route {
    Route::new(dst.parse().unwrap(), Some(gw.parse().unwrap()))
}

fn found() -> Found {
    Found {
        interface: Some(FoundInterface {
            mac: "0a:58:0a:f4:00:09".parse().unwrap(),
            up: true,
            addresses: vec!["10.244.0.9/24".parse().unwrap(), "fe80::1/64".parse().unwrap()],
        }),
        routes: vec![route("0.0.0.0/0", "10.244.0.1"), route("192.168.0.0/16", "10.244.0.7")],
    }
}

fn checked(prev_result: &Value, held: bool, found: &Found) -> Result<(), Error> {
    let call = call("CHECK", &[], &config(&json!({ "prevResult": prev_result })));
    let Verb::Check { attachment, previous } = call.verb else { panic!() };
    let own = AddResult { routes: vec![route("0.0.0.0/0", "10.244.0.1")], ..AddResult::default() };
    outcome(&attachment, &previous, held.then_some(&own), found)
}

#[test]
fn check_passes_right_after_add_and_beside_what_others_added() {
    assert_eq!(checked(&prev_result(), true, &found()), Ok(()));
}

#[test]
fn check_names_everything_that_is_missing() {
    let error = checked(&prev_result(), false, &Found::default()).unwrap_err();
    assert_eq!(error.code, Code::CheckFailed);
    for part in ["holds no eth0 of container some-container-id", "no interface eth0"] {
        assert!(error.details.contains(part), "{part}: {error}");
    }
    let mut changed = found();
    changed.routes.clear();
    changed.interface =
        Some(FoundInterface { mac: "02:00:00:00:00:01".parse().unwrap(), up: false, addresses: vec![] });
    let error = checked(&prev_result(), true, &changed).unwrap_err();
    for part in [
        "is down",
        "02:00:00:00:00:01, not 0a:58:0a:f4:00:09",
        "no address 10.244.0.9/24",
        "no route to 0.0.0.0/0 by 10.244.0.1",
    ] {
        assert!(error.details.contains(part), "{part}: {error}");
    }
}

#[test]
fn check_tolerates_what_later_plugins_of_the_chain_changed() {
    // They said so: another MAC address, no default route.
    let mut prev_result = prev_result();
    prev_result["interfaces"][1]["mac"] = json!("02:00:00:00:00:01");
    prev_result["routes"] = json!([]);
    let mut found = found();
    found.routes.clear();
    found.interface.as_mut().unwrap().mac = "02:00:00:00:00:01".parse().unwrap();
    assert_eq!(checked(&prev_result, true, &found), Ok(()));
    // They said so and did not: that is no state to be in.
    found.interface.as_mut().unwrap().mac = "0a:58:0a:f4:00:09".parse().unwrap();
    assert!(checked(&prev_result, true, &found).is_err());
}

#[test]
fn check_fails_where_the_chain_never_had_our_interface() {
    let mut prev_result = prev_result();
    prev_result["interfaces"][1]["sandbox"] = json!("/var/run/netns/red");
    let error = checked(&prev_result, true, &found()).unwrap_err();
    assert!(error.message.contains("prevResult has no interface eth0"), "{error}");
}

fn key(network: &str, container: &str, interface: &str) -> AttachmentKey {
    AttachmentKey {
        network: NetworkName::new(network).unwrap(),
        container: ContainerId::new(container).unwrap(),
        interface: InterfaceName::new(interface).unwrap(),
    }
}

fn stale(valid: Value, held: &[AttachmentKey]) -> BTreeSet<String> {
    let call = call("GC", &[], &config(&json!({ "cni.dev/valid-attachments": valid })));
    let Verb::Gc { valid } = call.verb else { panic!() };
    valid.stale(&call.network, held).map(ToString::to_string).collect()
}

#[test]
fn gc_releases_all_that_is_not_valid_and_nothing_of_other_networks() {
    let held = [
        key("podnet", "a", "eth0"),
        key("podnet", "a", "eth1"),
        key("podnet", "b", "eth0"),
        key("other", "c", "eth0"),
    ];
    let valid = json!([{ "containerID": "a", "ifname": "eth0" }, { "containerID": "../x", "ifname": "" }]);
    let released = stale(valid, &held);
    assert_eq!(released, BTreeSet::from([held[1].to_string(), held[2].to_string()]));
    for none in [json!([]), Value::Null] {
        assert_eq!(stale(none, &held).len(), 3);
    }
}

#[test]
fn gc_releases_nothing_by_a_list_that_is_missing_or_half_understood() {
    let error =
        refused("GC", &[], &config(&json!({ "cni.dev/attachments": [] })), Code::InvalidConfiguration);
    assert!(error.message.contains("cni.dev/valid-attachments"), "{error}");
    for list in [
        json!({}),
        json!("x"),
        json!([1]),
        json!([{ "containerID": "a" }]),
        json!([{ "containerID": "a", "ifname": 7 }]),
    ] {
        let error = refused(
            "GC",
            &[],
            &config(&json!({ "cni.dev/valid-attachments": list })),
            Code::InvalidConfiguration,
        );
        assert!(error.message.contains("cni.dev/valid-attachments"), "{error}");
    }
}

#[test]
fn gc_goes_on_after_errors_and_reports_them_all() {
    assert_eq!(gc::outcome(&[]), Ok(()));
    let failures = [
        (key("podnet", "a", "eth0"), "busy".to_owned()),
        (key("podnet", "b", "eth0"), "no reply".to_owned()),
    ];
    let error = gc::outcome(&failures).unwrap_err();
    assert_eq!(error.code, Code::CollectFailed);
    assert!(error.message.starts_with("2 attachments"), "{error}");
    assert_eq!(error.details.lines().count(), 2);
}
