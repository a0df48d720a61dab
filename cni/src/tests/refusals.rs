//! Configurations that cannot be.

use super::*;

fn bytes(bytes: &[u8]) -> Error {
    read(Role::Interface, &variables("ADD", &[]), || Ok(bytes.to_vec())).unwrap_err()
}

#[test]
fn what_is_no_json_object_is_not_decoded() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let inputs: [&[u8]; 12] = [
        b"",
        b" \n",
        b"{",
        b"}",
        b"null",
        b"[]",
        b"7",
        b"\"{}\"",
        b"{\"name\": }",
        b"\xff\xfe",
        b"{} {}",
        deep.as_bytes(),
    ];
    for input in inputs {
        let error = bytes(input);
        assert_eq!(error.code, Code::Decode, "{error}");
        assert!(error.message.contains("network configuration") && error.version == "1.1.0", "{error}");
    }
}

#[test]
fn a_configuration_that_is_cut_short_anywhere_is_not_decoded() {
    let whole = config(&json!({ "runtimeConfig": { "mac": "02:00:00:00:00:01" } })).to_string();
    for len in 0..whole.len() {
        assert_eq!(bytes(&whole.as_bytes()[..len]).code, Code::Decode, "{len}");
    }
}

#[test]
fn a_configuration_without_end_is_refused() {
    let long = vec![b' '; crate::MAX_CONFIG_BYTES + 1];
    assert_eq!(bytes(&long).code, Code::InvalidConfiguration);
}

#[test]
fn standard_input_that_cannot_be_read_is_an_io_failure() {
    let error = read(Role::Interface, &variables("ADD", &[]), || Err(std::io::ErrorKind::BrokenPipe.into()))
        .unwrap_err();
    assert_eq!(error.code, Code::Io);
    assert!(error.message.contains("standard input"), "{error}");
}

#[test]
fn unknown_versions_are_refused_with_those_we_speak_in_the_version_that_was_asked_for() {
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        for version in ["0.1.0", "0.2.0", "0.3.0", "1.2.0", "2.0.0", "1.0", "99999", "1.1.0-rc1"] {
            let error =
                refused(command, &[], &config(&json!({ "cniVersion": version })), Code::IncompatibleVersion);
            assert!(
                error.message.contains(version) && error.details.contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"),
                "{error}"
            );
            assert_eq!(error.version, version);
        }
        for version in [json!("adsfsadf"), json!(1), json!({}), json!("1.0.0\u{0}"), json!("1".repeat(100))] {
            let error = refused(command, &[], &config(&json!({ "cniVersion": version })), Code::Decode);
            assert!(error.message.contains("cniVersion") && error.version == "1.1.0", "{error}");
        }
    }
}

#[test]
fn names_of_networks_are_checked() {
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        for name in [
            json!(""),
            json!(null),
            json!(7),
            json!("te%%st"),
            json!("../x"),
            json!("a b"),
            json!("ä"),
            json!("a\u{0}"),
            json!("a".repeat(256)),
        ] {
            let error = refused(command, &[], &config(&json!({ "name": name })), Code::InvalidConfiguration);
            assert!(error.message.contains("network's name"), "{error}");
        }
    }
}

#[test]
fn everything_wrong_is_told_at_once_with_its_place() {
    let config = config(&json!({
        "mtu": 12, "socket": "relative", "namespace": "A",
        "dns": { "nameservers": "10.1.0.1" },
        "args": { "cni": { "labels": [{ "key": "-", "value": "x" }], "mac": "x" } },
        "runtimeConfig": { "mac": "zz", "ips": [1] },
        "prevResult": { "ips": [{ "address": "10.0.0.5" }] },
    }));
    let error = refused("ADD", &[], &config, Code::InvalidConfiguration);
    for part in [
        "mtu: Invalid value: 12",
        "socket: Invalid value: \"relative\"",
        "namespace",
        "dns.nameservers",
        "args.cni.labels[0]",
        "args.cni.mac",
        "runtimeConfig.mac",
        "runtimeConfig.ips[0]",
        "prevResult.ips[0].address",
    ] {
        assert!(error.details.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_corrupt_previous_result_is_refused_with_its_place_but_by_del() {
    for (result, part) in [
        (json!("x"), "prevResult: Invalid value: \"x\""),
        (json!([]), "prevResult"),
        (json!({ "cniVersion": "9.9.9" }), "prevResult.cniVersion"),
        (json!({ "interfaces": {} }), "prevResult.interfaces"),
        (json!({ "interfaces": [{}] }), "prevResult.interfaces[0].name"),
        (json!({ "interfaces": [{ "name": "a", "mtu": -1 }] }), "prevResult.interfaces[0].mtu"),
        (json!({ "interfaces": [{ "name": "a", "mac": 1 }] }), "prevResult.interfaces[0].mac"),
        (
            json!({ "interfaces": [{ "name": "a" }], "ips": [{ "address": "10.0.0.5/32", "interface": 1 }] }),
            "prevResult.ips[0].interface",
        ),
        (json!({ "ips": [{}] }), "prevResult.ips[0].address"),
        (json!({ "ips": [{ "address": "10.0.0.5" }] }), "prevResult.ips[0].address"),
        (json!({ "ips": [{ "address": "10.0.0.5/33" }] }), "prevResult.ips[0].address"),
        (json!({ "ips": [{ "address": "10.0.0.5/32", "version": "6" }] }), "prevResult.ips[0].version"),
        (json!({ "ips": [{ "address": "10.0.0.5/32", "gateway": "x" }] }), "prevResult.ips[0].gateway"),
        (json!({ "ips": [{ "address": "10.0.0.5/32", "interface": -1 }] }), "prevResult.ips[0].interface"),
        (json!({ "routes": [{ "gw": "10.0.0.1" }] }), "prevResult.routes[0].dst"),
        (json!({ "routes": [{ "dst": "10.0.0.0/8", "scope": "link" }] }), "prevResult.routes[0].scope"),
        (json!({ "dns": { "search": [1] } }), "prevResult.dns.search[0]"),
        (json!({ "ips": vec![json!({ "address": "10.0.0.5/32" }); 1025] }), "at most 1024"),
    ] {
        let config = config(&json!({ "prevResult": result }));
        for command in ["ADD", "CHECK"] {
            let error = refused(command, &[], &config, Code::InvalidConfiguration);
            assert!(error.message.contains(part), "{part}: {error}");
        }
        let call = call("DEL", &[], &config);
        assert!(matches!(call.verb, Verb::Del { previous: None, .. }), "{:?}", call.verb);
        assert!(!call.warnings.is_empty());
    }
}

#[test]
fn addresses_that_are_not_the_switchs_to_give_are_unsupported() {
    for (ipam, part) in [
        (
            json!({ "type": "host-local", "subnet": "10.1.0.0/16" }),
            "ipam.subnet: Unsupported value: \"10.1.0.0/16\"",
        ),
        (json!({ "type": "dhcp" }), "ipam.type: Unsupported value: \"dhcp\""),
        (json!({ "type": 7 }), "ipam.type: Unsupported value: 7"),
    ] {
        for command in ["ADD", "STATUS"] {
            let error = refused(command, &[], &config(&json!({ "ipam": ipam })), Code::UnsupportedField);
            assert!(error.message.contains(part), "{part}: {error}");
        }
        call("DEL", &[], &config(&json!({ "ipam": ipam })));
    }
}

#[test]
fn labels_that_kubernetes_would_not_have_are_refused() {
    for labels in [
        json!([{ "value": "x" }]),
        json!([{ "key": "a b", "value": "x" }]),
        json!([{ "key": "a", "value": "-" }]),
        json!([{ "key": "a", "value": "1" }, { "key": "a", "value": "2" }]),
        json!({ "a": "b" }),
        json!([7]),
        json!([{ "key": "a", "value": 1 }]),
    ] {
        let error = refused(
            "ADD",
            &[],
            &config(&json!({ "args": { "cni": { "labels": labels } } })),
            Code::InvalidConfiguration,
        );
        assert!(error.message.contains("args.cni.labels"), "{error}");
    }
    let same = json!([{ "key": "a", "value": "1" }, { "key": "a", "value": "1" }, { "key": "b" }]);
    assert_eq!(added(&[], &config(&json!({ "args": { "cni": { "labels": same } } }))).labels.len(), 2);
}

#[test]
fn an_error_quotes_no_more_than_a_page_of_what_it_refuses() {
    let error =
        refused("ADD", &[], &config(&json!({ "mtu": "x".repeat(1 << 20) })), Code::InvalidConfiguration);
    assert!(error.to_json().len() < 8192);
    let many: Vec<Value> = (0..200).map(|_| json!("x".repeat(1000))).collect();
    let error = refused(
        "ADD",
        &[],
        &config(&json!({ "runtimeConfig": { "ips": many } })),
        Code::InvalidConfiguration,
    );
    assert!(error.to_json().len() < 16_384, "{}", error.to_json().len());
    let key = "k".repeat(1 << 20);
    let error = refused("ADD", &[], &config(&json!({ "runtimeConfig": { key: 1 } })), Code::UnsupportedField);
    assert!(error.to_json().len() < 8192);
}
