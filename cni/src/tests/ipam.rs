//! Called by another plugin for addresses.

use super::*;
use crate::Version;

/// SPEC 1.0.0, appendix: what `bridge` calls its IPAM plugin with, which is what it was called with itself.
fn bridge(ipam: &Value) -> Value {
    config(&json!({
        "cniVersion": "1.0.0", "name": "dbnet", "type": "bridge", "bridge": "cni0", "keyA": ["some more"],
        // Keys that mean something else to us where we make the interface.
        "mtu": 1, "socket": 7, "namespace": "-", "ipam": ipam,
        "dns": { "nameservers": ["10.1.0.1"] },
        "runtimeConfig": {
            "ips": ["10.1.0.5/16"], "ipRanges": [[{ "subnet": "10.1.0.0/16" }]],
            "deviceID": "0000:04:00.5", "portMappings": "another's", "mac": 1,
        },
        "args": { "cni": { "labels": 7, "mac": 7 } },
        "prevResult": { "interfaces": [{ "name": "eth0", "sandbox": NETNS }] },
    }))
}

fn called(command: &str, config: &Value) -> Result<Call, Error> {
    let asked = read(Role::Ipam, &variables(command, &[]), || Ok(config.to_string().into_bytes()))?;
    let Asked::Call(call) = asked else { panic!("{asked:?}") };
    Ok(*call)
}

#[test]
fn what_is_for_the_plugin_that_makes_the_interface_is_passed_over() {
    let call =
        called("ADD", &bridge(&json!({ "type": "vpod-ipam", "socket": "/run/a.sock", "namespace": "lab" })))
            .unwrap();
    assert_eq!((call.version, call.socket.unwrap().to_str()), (Version::V1_0_0, Some("/run/a.sock")));
    let Verb::Add { attachment, .. } = call.verb else { panic!() };
    assert_eq!(attachment.pod.object.namespace.as_str(), "lab");
    assert_eq!((attachment.addresses[0].to_string(), attachment.ranges.len()), ("10.1.0.5".to_owned(), 1));
    assert!(attachment.mtu.is_none() && attachment.mac.is_none() && attachment.port_mappings.is_empty());
}

#[test]
fn settings_that_vpod_ipam_does_not_have_are_refused_with_key_and_value() {
    let with_subnet = bridge(&json!({ "type": "vpod-ipam", "subnet": "10.1.0.0/16" }));
    let error = called("ADD", &with_subnet).unwrap_err();
    assert_eq!((error.code, error.version.as_str()), (Code::UnsupportedField, "1.0.0"));
    assert!(error.message.contains("ipam.subnet") && error.message.contains("10.1.0.0/16"), "{error}");
    assert!(called("DEL", &with_subnet).is_ok());
    for (ipam, part) in [
        (json!({ "socket": "x" }), "ipam.socket"),
        (json!({ "namespace": "A" }), "ipam.namespace"),
        (json!(7), "ipam"),
    ] {
        let error = called("ADD", &bridge(&ipam)).unwrap_err();
        assert!(error.code == Code::InvalidConfiguration && error.message.contains(part), "{error}");
    }
}

#[test]
fn all_verbs_are_delegated() {
    let mut config = bridge(&json!({ "type": "vpod-ipam" }));
    config["cniVersion"] = json!("1.1.0");
    config["cni.dev/valid-attachments"] = json!([]);
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        assert!(called(command, &config).is_ok(), "{command}");
    }
    assert!(crate::about(Role::Ipam).contains("vpod-ipam"));
}
