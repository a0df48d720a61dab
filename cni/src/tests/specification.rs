//! The specification's own examples, version by version.

use super::*;
use crate::{AddResult, Version};

/// SPEC 0.3.1, "Network configuration list runtime examples", as a plugin behind `bridge` gets it. An address refers to an
/// interface that is not listed.
fn tuning_0_3_1() -> Value {
    json!({
        "cniVersion": "0.3.1", "name": "dbnet", "type": "tuning",
        "sysctl": { "net.core.somaxconn": "500" },
        "prevResult": {
            "ips": [{ "version": "4", "address": "10.0.0.5/32", "interface": 0 }],
            "dns": { "nameservers": ["10.1.0.1"] },
        },
    })
}

/// SPEC 0.4.0, the same section: the result of `bridge`.
fn result_0_4_0() -> Value {
    json!({
        "ips": [{ "version": "4", "address": "10.0.0.5/32", "interface": 2 }],
        "interfaces": [
            { "name": "cni0", "mac": "00:11:22:33:44:55" },
            { "name": "veth3243", "mac": "55:44:33:22:11:11" },
            { "name": "eth0", "mac": "99:88:77:66:55:44", "sandbox": NETNS },
        ],
        "dns": { "nameservers": ["10.1.0.1"] },
    })
}

/// SPEC 1.0.0, appendix: the result of `tuning`.
fn result_1_0_0() -> Value {
    json!({
        "ips": [{ "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2 }],
        "routes": [{ "dst": "0.0.0.0/0" }],
        "interfaces": [
            { "name": "cni0", "mac": "00:11:22:33:44:55" },
            { "name": "veth3243", "mac": "55:44:33:22:11:11" },
            { "name": "eth0", "mac": "00:11:22:33:44:66", "sandbox": NETNS },
        ],
        "dns": { "nameservers": ["10.1.0.1"] },
    })
}

/// The fields that 1.1.0 added (§5, "Success").
fn result_1_1_0() -> Value {
    let mut result = result_1_0_0();
    result["interfaces"][2]["mtu"] = json!(1450);
    result["interfaces"][2]["socketPath"] = json!("/run/vhost.sock");
    result["interfaces"][2]["pciID"] = json!("0000:00:1f.6");
    result["routes"][0] = json!({ "dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "advmss": 1360, "priority": 0, "table": 254, "scope": 0 });
    result
}

fn previous(call: Call) -> AddResult {
    match call.verb {
        Verb::Check { previous, .. } => previous,
        Verb::Add { previous, .. } | Verb::Del { previous, .. } => previous.unwrap(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn handed_on(command: &str, version: Version, result: &Value) -> Value {
    let mut config = config(&json!({ "cniVersion": version.as_str(), "prevResult": result.clone() }));
    config["prevResult"]["cniVersion"] = json!(version.as_str());
    // As if behind another plugin, which made another interface.
    previous(call(command, &[("CNI_IFNAME", if command == "ADD" { "eth1" } else { "eth0" })], &config))
        .to_value(version)
}

#[test]
fn the_examples_of_every_version_are_handed_on_unchanged() {
    for (version, mut result) in [
        (Version::V0_3_1, result_0_4_0()),
        (Version::V0_4_0, result_0_4_0()),
        (Version::V1_0_0, result_1_0_0()),
        (Version::V1_1_0, result_1_1_0()),
    ] {
        result["cniVersion"] = json!(version.as_str());
        for command in ["ADD", "DEL", "CHECK"] {
            if command != "CHECK" || version > Version::V0_3_1 {
                assert_eq!(handed_on(command, version, &result), result, "{command} {version}");
            }
        }
    }
}

#[test]
fn an_address_of_an_interface_that_is_not_listed_is_read() {
    let previous = previous(call("ADD", &[], &tuning_0_3_1()));
    assert_eq!(previous.ips[0].interface, Some(0));
    let mut expected = tuning_0_3_1()["prevResult"].clone();
    expected["cniVersion"] = json!("0.3.1");
    assert_eq!(previous.to_value(Version::V0_3_1), expected);
}

#[test]
fn a_result_has_exactly_the_fields_of_the_version_it_is_written_in() {
    let result = previous(call("CHECK", &[], &config(&json!({ "prevResult": result_1_1_0() }))));
    for version in [Version::V0_3_1, Version::V0_4_0] {
        let written = result.to_value(version);
        assert_eq!(written["ips"][0]["version"], "4");
        assert_eq!(
            written["interfaces"][2],
            json!({ "name": "eth0", "mac": "00:11:22:33:44:66", "sandbox": NETNS })
        );
        assert_eq!(written["routes"][0], json!({ "dst": "0.0.0.0/0", "gw": "10.1.0.1" }));
    }
    let written = result.to_value(Version::V1_0_0);
    assert_eq!(written["ips"][0], json!({ "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2 }));
    assert_eq!(written["routes"][0], json!({ "dst": "0.0.0.0/0", "gw": "10.1.0.1" }));
    assert_eq!(written["interfaces"][2].as_object().unwrap().len(), 3);
    let mut newest = result_1_1_0();
    newest["cniVersion"] = json!("1.1.0");
    assert_eq!(result.to_value(Version::V1_1_0), newest);
}

#[test]
fn dns_is_written_always_before_1_0_0_and_only_if_it_says_something_since() {
    for (version, expected) in [
        (Version::V0_3_1, json!({ "cniVersion": "0.3.1", "dns": {} })),
        (Version::V0_4_0, json!({ "cniVersion": "0.4.0", "dns": {} })),
        (Version::V1_0_0, json!({ "cniVersion": "1.0.0" })),
        (Version::V1_1_0, json!({ "cniVersion": "1.1.0" })),
    ] {
        assert_eq!(AddResult::default().to_value(version), expected);
    }
}

/// §1, "Example configuration", as it comes to the first plugin: with keys that are another's.
#[test]
fn keys_of_other_plugins_are_passed_over() {
    for version in Version::ALL {
        let config = json!({
            "cniVersion": version.as_str(), "name": "dbnet", "type": "bridge", "bridge": "cni0",
            "keyA": ["some more", "plugin specific", "configuration"], "vxlanID": 42, "ipMasq": true,
            "args": { "labels": { "appVersion": "1.0" } },
            "dns": { "nameservers": ["10.1.0.1"] }, "capabilities": { "mac": true },
            "cni.dev/something": 1, "disableCheck": true, "cniVersions": ["1.0.0", "1.1.0"],
        });
        let attachment = added(&[], &config);
        assert_eq!(attachment.resolver.nameservers, ["10.1.0.1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(attachment.key.network.as_str(), "dbnet");
        assert!(attachment.labels.is_empty());
    }
}

/// §2, "Deriving runtimeConfig", and the appendix.
#[test]
fn capability_arguments_of_the_examples_are_understood() {
    let config = config(&json!({ "runtimeConfig": {
        "mac": "00:11:22:33:44:66",
        "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
    } }));
    let attachment = added(&[("CNI_ARGS", "IgnoreUnknown=1;argA=foo")], &config);
    assert_eq!(attachment.mac.unwrap().to_string(), "00:11:22:33:44:66");
    assert_eq!(attachment.port_mappings[0].to_string(), "* 8080/tcp -> 80");
}

/// CONVENTIONS, "args in network config".
#[test]
fn labels_and_addresses_in_args_are_understood() {
    let config = config(&json!({ "args": { "cni": {
        "labels": [{ "key": "app", "value": "myapp" }, { "key": "env", "value": "prod" }],
        "ips": ["10.2.2.42", "2001:db8::5"],
    } } }));
    let attachment = added(&[], &config);
    let labels: Vec<_> = attachment.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["app=myapp", "env=prod"]);
    assert_eq!(attachment.addresses.len(), 2);
}
