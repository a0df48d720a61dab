//! `runtimeConfig`, and what is said in several ways.

use super::*;
use crate::{Bandwidth, MAX_BURST_BITS, Rate};

#[track_caller]
pub(super) fn asked(runtime_config: &Value) -> Attachment {
    added(&[], &config(&json!({ "runtimeConfig": runtime_config })))
}

/// The error's whole text.
#[track_caller]
pub(super) fn wrong(runtime_config: &Value) -> String {
    refused("ADD", &[], &config(&json!({ "runtimeConfig": runtime_config })), Code::InvalidConfiguration)
        .to_string()
}

#[test]
fn bandwidth_is_bits_per_second_and_bits_either_direction_optional() {
    let rate = |bits_per_second, burst_bits| Some(Rate { bits_per_second, burst_bits });
    for (value, ingress, egress) in [
        (json!({}), None, None),
        (json!({ "ingressRate": 2048, "ingressBurst": 1600 }), rate(2048, 1600), None),
        (
            json!({ "egressRate": 4096, "egressBurst": 1600, "ingressRate": 0, "ingressBurst": 0 }),
            None,
            rate(4096, 1600),
        ),
        // As the container runtime interface writes it: a burst of 2^31 - 1.
        (
            json!({ "ingressRate": 1_000_000, "ingressBurst": 2_147_483_647 }),
            rate(1_000_000, 2_147_483_647),
            None,
        ),
        (
            json!({ "egressRate": u64::MAX, "egressBurst": MAX_BURST_BITS }),
            None,
            rate(u64::MAX, MAX_BURST_BITS),
        ),
    ] {
        assert_eq!(asked(&json!({ "bandwidth": value })).bandwidth, Bandwidth { ingress, egress }, "{value}");
    }
    let rate = Rate { bits_per_second: 8001, burst_bits: 1 };
    assert_eq!((rate.bytes_per_second(), rate.burst_bytes()), (1001, 1));
}

/// containerd names the fields as Go does, and Go's plugins read either.
#[test]
fn fields_that_begin_with_a_capital_are_understood() {
    let attachment = asked(&json!({
        "portMappings": [{ "HostPort": 8080, "ContainerPort": 80, "Protocol": "udp", "HostIP": "192.0.2.1" }],
        "bandwidth": { "IngressRate": 4096, "IngressBurst": 1600, "EgressRate": 0, "EgressBurst": 0 },
        "dns": { "Servers": ["192.0.2.53"], "Searches": ["example"], "Options": null },
        "ipRanges": [[{ "Subnet": "10.244.0.0/24", "RangeStart": "10.244.0.7", "RangeEnd": "", "Gateway": "" }]],
    }));
    let ports: Vec<String> = attachment.port_mappings.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["192.0.2.1 8080/udp -> 80"]);
    assert_eq!(attachment.bandwidth.ingress, Some(Rate { bits_per_second: 4096, burst_bits: 1600 }));
    assert_eq!(attachment.resolver.searches, ["example"]);
    assert_eq!(attachment.ranges[0][0].bounds().0.to_string(), "10.244.0.7");
    // The usual spelling goes first.
    let both = asked(&json!({ "portMappings": [{ "HostPort": 1, "hostPort": 2, "containerPort": 80 }] }));
    assert_eq!(both.port_mappings[0].host_port, 2);
}

#[test]
fn bandwidth_that_cannot_be_is_named() {
    for (value, part) in [
        (json!({ "ingressRate": 1000 }), "needs a ingressBurst"),
        (json!({ "egressBurst": 1000 }), "needs a egressRate"),
        (json!({ "ingressRate": -1, "ingressBurst": 1 }), "ingressRate"),
        (json!({ "ingressRate": 1, "ingressBurst": MAX_BURST_BITS + 1 }), "ingressBurst"),
        (json!({ "ingressRate": "1M", "ingressBurst": 1 }), "1M"),
        (json!([]), "must be an object"),
    ] {
        let text = wrong(&json!({ "bandwidth": value }));
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn addresses_are_taken_from_the_newest_way_that_says_some() {
    let all = |runtime: Value, args: Value| {
        config(&json!({ "runtimeConfig": { "ips": runtime }, "args": { "cni": { "ips": args } } }))
    };
    let variable = [("CNI_ARGS", "IP=10.244.0.3")];
    for (config, expected) in [
        (all(json!(["10.244.0.1/24", "fd00::1"]), json!(["10.244.0.2"])), vec!["10.244.0.1", "fd00::1"]),
        (all(json!([]), json!(["10.244.0.2"])), vec!["10.244.0.2"]),
        (all(Value::Null, Value::Null), vec!["10.244.0.3"]),
    ] {
        let addresses: Vec<String> =
            added(&variable, &config).addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, expected);
    }
    assert!(added(&[], &config(&json!({}))).addresses.is_empty());
}

#[test]
fn addresses_that_no_pod_can_have_are_refused_by_name() {
    for ips in [
        json!(["10.244.0.1", "10.244.0.2"]),
        json!(["fd00::1", "fd00::2"]),
        json!(["0.0.0.0"]),
        json!(["127.0.0.1"]),
        json!(["224.0.0.1"]),
        json!(["ff02::1"]),
        json!(["10.244.0.300"]),
        json!(["web"]),
        json!([7]),
        json!("10.244.0.1"),
    ] {
        let text = wrong(&json!({ "ips": ips }));
        assert!(text.contains("runtimeConfig.ips"), "{text}");
    }
}

#[test]
fn the_mac_address_is_taken_from_the_newest_way_that_says_one() {
    let variable = [("CNI_ARGS", "MAC=02:00:00:00:00:03")];
    let args = json!({ "cni": { "mac": "02:00:00:00:00:02" } });
    let all = config(&json!({ "runtimeConfig": { "mac": "02:00:00:00:00:01" }, "args": args }));
    for (config, last) in [(all, "01"), (config(&json!({ "args": args })), "02"), (config(&json!({})), "03")]
    {
        assert_eq!(added(&variable, &config).mac.unwrap().to_string(), format!("02:00:00:00:00:{last}"));
    }
    for mac in
        ["01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "0a58.0af4.0002", "02:00:00:00:00"]
    {
        assert!(wrong(&json!({ "mac": mac })).contains("runtimeConfig.mac"), "{mac}");
    }
}

#[test]
fn ranges_of_addresses_are_understood() {
    let attachment = asked(&json!({ "ipRanges": [
        [{ "subnet": "10.1.2.0/24", "rangeStart": "10.1.2.3", "rangeEnd": "10.1.2.99", "gateway": "10.1.2.254" },
         { "subnet": "10.2.0.0/16" }],
        [{ "subnet": "2001:db8::/64" }], [],
    ] }));
    assert_eq!(attachment.ranges.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    let first = &attachment.ranges[0][0];
    assert_eq!(
        (first.start.unwrap().to_string(), first.gateway.unwrap().to_string()),
        ("10.1.2.3".to_owned(), "10.1.2.254".to_owned())
    );
}

#[test]
fn ranges_that_cannot_be_are_named() {
    for (range, part) in [
        (json!({}), "subnet: Required"),
        (json!({ "subnet": "10.1.2.3/24" }), "host bits set: the network is 10.1.2.0/24"),
        (json!({ "subnet": "192.168.0.0/31" }), "too small to allocate from"),
        (json!({ "subnet": "10.1.2.0" }), "must be a network"),
        (json!({ "subnet": "10.1.2.0/24", "rangeStart": "10.1.3.1" }), "must be in 10.1.2.0/24"),
        (json!({ "subnet": "10.1.2.0/24", "gateway": "fd00::1" }), "must be in 10.1.2.0/24"),
        (
            json!({ "subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.8" }),
            "behind rangeEnd",
        ),
    ] {
        let text = wrong(&json!({ "ipRanges": [[range]] }));
        assert!(text.contains("ipRanges[0][0]") && text.contains(part), "{part}: {text}");
    }
    for (other, part) in [
        (json!({ "subnet": "fd00::/64" }), "same family"),
        (json!({ "subnet": "10.1.0.0/16" }), "must not meet"),
    ] {
        let text = wrong(&json!({ "ipRanges": [[{ "subnet": "10.1.2.0/24" }, other]] }));
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn dns_of_the_runtime_takes_the_place_of_the_configurations() {
    let dns =
        json!({ "nameservers": ["10.1.0.1"], "domain": "lab", "search": ["a.lab"], "options": ["ndots:2"] });
    let of_config = added(&[], &config(&json!({ "dns": dns }))).resolver;
    assert_eq!(of_config.domain.as_deref(), Some("lab"));
    assert_eq!(
        (of_config.searches, of_config.options),
        (vec!["a.lab".to_owned()], vec!["ndots:2".to_owned()])
    );
    let runtime = json!({ "dns": { "servers": ["8.8.8.8", "10.0.0.10"], "searches": ["corp.tyrell.net"], "options": [] } });
    let both = added(&[], &config(&json!({ "dns": dns, "runtimeConfig": runtime }))).resolver;
    assert_eq!((both.nameservers.len(), both.domain), (2, None));
    assert_eq!(both.searches, ["corp.tyrell.net"]);
    assert!(added(&[], &config(&json!({ "dns": {} }))).resolver.is_empty());
}

#[test]
fn dns_that_would_not_be_one_line_of_a_resolv_conf_is_refused() {
    for dns in [
        json!({ "servers": ["localhost"] }),
        json!({ "servers": ["8.8.8.8\nnameserver 6.6.6.6"] }),
        json!({ "searches": ["a\nnameserver 6.6.6.6"] }),
        json!({ "searches": ["a b"] }),
        json!({ "searches": ["a".repeat(255)] }),
        json!({ "options": ["ndots:2 debug"] }),
        json!({ "options": ["#"] }),
        json!({ "domain": "a\0" }),
        json!([]),
    ] {
        assert!(wrong(&json!({ "dns": dns })).contains("runtimeConfig.dns"), "{dns}");
    }
}

#[test]
fn aliases_are_a_list_or_podmans_lists_by_network() {
    let names = |value: Value| {
        let call = call("ADD", &[], &config(&json!({ "runtimeConfig": { "aliases": value } })));
        let warnings = call.warnings.len();
        let Verb::Add { attachment, .. } = call.verb else { panic!() };
        (attachment.aliases.iter().map(ToString::to_string).collect::<Vec<_>>(), warnings)
    };
    assert_eq!(names(json!(["db", "DB", "primary.db"])), (vec!["db".to_owned(), "primary.db".to_owned()], 0));
    assert_eq!(names(json!({ "podnet": ["web"], "other": ["x"] })), (vec!["web".to_owned()], 0));
    assert_eq!(names(json!({ "other": ["x"] })), (vec![], 0));
    assert_eq!(names(json!(["my_app", "web"])), (vec!["web".to_owned()], 1));
}

#[test]
fn capabilities_that_we_do_not_have_are_refused_with_key_and_value() {
    for (key, value) in
        [("infinibandGUID", "c2:11:22:33:44:55:66:77"), ("deviceID", "0000:04:00.5"), ("shaping", "x")]
    {
        let config = config(&json!({ "runtimeConfig": { key: value } }));
        let error = refused("ADD", &[], &config, Code::UnsupportedField);
        assert!(error.message.contains(key) && error.message.contains(value), "{error}");
    }
    asked(&json!({ "cgroupPath": "/kubelet.slice/x", "deviceID": null }));
}

#[test]
fn our_own_keys_are_understood() {
    let config = config(
        &json!({ "socket": "/run/vswitchd/admin.sock", "mtu": 9000, "namespace": "lab", "ipam": { "type": "vpod-ipam" } }),
    );
    let call = call("ADD", &[], &config);
    assert_eq!(call.socket.unwrap().to_str(), Some("/run/vswitchd/admin.sock"));
    let attachment = added(&[], &config);
    assert_eq!(
        (attachment.mtu, attachment.pod.object.to_string()),
        (Some(9000), "lab/cni-some-contain-01e8f12f5736a7ef".to_owned())
    );
    assert_eq!(added(&[], &super::config(&json!({ "mtu": 0, "ipam": {} }))).mtu, None);
}
