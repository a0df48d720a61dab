//! What plugins are known to do, verb by verb, that is not a matter of values.

use super::*;
use crate::Version;

fn of_version(version: &str) -> Value {
    config(&json!({ "cniVersion": version, "prevResult": {}, "cni.dev/valid-attachments": [] }))
}

#[test]
fn verbs_are_refused_in_versions_that_do_not_have_them() {
    for (command, since) in [("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")] {
        for version in Version::ALL.map(Version::as_str) {
            if version < since {
                let error = refused(command, &[], &of_version(version), Code::IncompatibleVersion);
                assert!(error.message.contains(command) && error.message.contains(since), "{error}");
                assert_eq!(error.version, version);
            } else {
                call(command, &[], &of_version(version));
            }
        }
    }
    for command in ["ADD", "DEL"] {
        for version in Version::ALL {
            assert_eq!(call(command, &[], &of_version(version.as_str())).version, version);
        }
    }
}

#[test]
fn no_version_means_0_1_0_which_we_do_not_speak() {
    for none in [json!(null), json!("")] {
        let error = refused("ADD", &[], &config(&json!({ "cniVersion": none })), Code::IncompatibleVersion);
        assert!(error.message.contains("0.1.0"), "{error}");
    }
    let without = json!({ "name": "podnet" });
    assert!(refused("ADD", &[], &without, Code::IncompatibleVersion).message.contains("0.1.0"));
}

#[test]
fn check_needs_the_result_of_add() {
    let error = refused("CHECK", &[], &config(&json!({})), Code::InvalidConfiguration);
    assert!(error.message.contains("prevResult: Required value"), "{error}");
    refused("CHECK", &[], &config(&json!({ "prevResult": null })), Code::InvalidConfiguration);
}

#[test]
fn del_needs_neither_namespace_nor_result() {
    let call = call("DEL", &[("CNI_NETNS", "")], &config(&json!({})));
    let Verb::Del { key, netns, previous } = call.verb else { panic!() };
    assert_eq!(
        (key.to_string().as_str(), netns, previous),
        ("eth0 of container some-container-id in network podnet", None, None)
    );
    assert!(call.warnings.is_empty());
}

/// Or the container could never be removed: runtimes try until DEL succeeds.
#[test]
fn del_is_understood_where_add_was_refused_for_the_same_call() {
    let bad_config = config(&json!({
        "mtu": 1, "socket": "x", "namespace": "-", "ipam": { "type": "dhcp" }, "dns": 7, "args": { "cni": 7 },
        "runtimeConfig": { "portMappings": 7, "deviceID": "x", "ips": ["10.244.0.1", "10.244.0.2"] }, "prevResult": 7,
    }));
    let bad_variables = [("CNI_NETNS", "../x"), ("CNI_ARGS", "K8S_POD_NAMESPACE=A;K8S_POD_NAME=_;X")];
    refused("ADD", &[], &bad_config, Code::UnsupportedField);
    refused("ADD", &bad_variables, &config(&json!({})), Code::InvalidEnvironment);
    let call = call("DEL", &bad_variables, &bad_config);
    assert!(matches!(&call.verb, Verb::Del { netns: None, previous: None, .. }));
    for part in ["CNI_NETNS", "CNI_ARGS", "mtu", "socket", "ipam.type", "portMappings", "prevResult"] {
        assert!(call.warnings.iter().any(|warning| warning.contains(part)), "{part}: {:?}", call.warnings);
    }
}

#[test]
fn add_check_and_del_of_one_attachment_have_one_key() {
    let config =
        config(&json!({ "prevResult": { "interfaces": [{ "name": "eth0", "sandbox": "/elsewhere" }] } }));
    let keys = ["ADD", "CHECK", "DEL"].map(|command| match call(command, &[], &config).verb {
        Verb::Add { attachment, .. } | Verb::Check { attachment, .. } => attachment.key,
        Verb::Del { key, .. } => key,
        other => panic!("{other:?}"),
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn status_is_refused_where_add_would_be() {
    call("STATUS", &[], &config(&json!({})));
    for broken in [json!({ "mtu": 1 }), json!({ "socket": "x" }), json!({ "dns": 7 })] {
        refused("STATUS", &[], &config(&broken), Code::InvalidConfiguration);
    }
}

#[test]
fn two_interfaces_of_one_container_are_two_attachments_of_one_pod() {
    let args = ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web");
    let first = added(&[args], &config(&json!({})));
    let second = added(&[args, ("CNI_IFNAME", "eth1")], &config(&json!({})));
    assert_ne!(first.key, second.key);
    assert_eq!(first.pod, second.pod);
    assert!(first.pod.named_by_runtime);
}

#[test]
fn a_key_that_comes_twice_has_its_last_value() {
    let text = r#"{"cniVersion":"0.2.0","cniVersion":"1.0.0","name":"a","name":"b"}"#;
    let Ok(Asked::Call(call)) = read(Role::Interface, &variables("ADD", &[]), || Ok(text.into())) else {
        panic!()
    };
    assert_eq!((call.version, call.network.as_str()), (Version::V1_0_0, "b"));
}
