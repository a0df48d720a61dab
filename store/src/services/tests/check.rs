//! What is refused, and in which words.

use super::*;

#[track_caller]
fn refused(spec: &Value, expected: &str) {
    let error = Spec::check(&service(spec)).unwrap_err().to_string();
    assert!(error.starts_with("The Service \"web\" is invalid: "), "{error}");
    assert!(error.contains(expected), "{spec}: {error}");
}

#[test]
fn bad_services_are_refused_by_field() {
    for (spec, expected) in [
        (
            json!({ "ports": [{ "port": 0 }] }),
            "spec.ports[0].port: Invalid value: \"0\": must be between 1 and 65535",
        ),
        (json!({ "ports": [{ "port": 65536 }] }), "must be between 1 and 65535, inclusive"),
        (json!({ "ports": [{ "port": 80, "targetPort": 65536 }] }), "spec.ports[0].targetPort"),
        (json!({ "ports": [{ "port": 80, "targetPort": "Http_" }] }), "spec.ports[0].targetPort"),
        (json!({ "ports": [{ "port": 80, "protocol": "ICMP" }] }), "Unsupported value: \"ICMP\""),
        (json!({ "ports": [] }), "spec.ports: Required value"),
        (
            json!({ "ports": [{ "port": 1 }, { "port": 2, "name": "b" }] }),
            "spec.ports[0].name: Required value",
        ),
        (
            json!({ "ports": [{ "port": 1, "name": "a" }, { "port": 2, "name": "a" }] }),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (
            json!({ "ports": [{ "port": 1, "name": "a" }, { "port": 1, "name": "b" }] }),
            "spec.ports[1]: Duplicate",
        ),
        (json!({ "ports": [{ "port": 80, "nodePort": 30080 }] }), "spec.ports[0].nodePort: Forbidden"),
        (
            json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 70000 }] }),
            "spec.ports[0].nodePort",
        ),
        (json!({ "type": "Cluster" }), "spec.type: Unsupported value: \"Cluster\""),
        (json!({ "type": "ExternalName", "clusterIP": null }), "spec.externalName: Required value"),
        (
            json!({ "type": "ExternalName", "clusterIP": null, "externalName": "a_b" }),
            "spec.externalName: Invalid value: \"a_b\"",
        ),
        (json!({ "type": "NodePort", "clusterIP": "None" }), "may not be set to 'None'"),
        (json!({ "clusterIP": "010.096.000.001" }), "without leading zeros"),
        (json!({ "clusterIP": "fd00::1" }), "must be an IPv4 address"),
        (json!({ "ipFamilyPolicy": "RequireDualStack" }), "this release gives services IPv4"),
        (json!({ "ipFamilies": ["IPv6"] }), "spec.ipFamilies[0]"),
        (
            json!({ "externalIPs": ["127.0.0.1"] }),
            "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback",
        ),
        (json!({ "externalIPs": ["203.0.113.09"] }), "without leading zeros"),
        (json!({ "externalIPs": ["224.0.0.1"] }), "multicast"),
        (json!({ "sessionAffinity": "Cookie" }), "spec.sessionAffinity: Unsupported value"),
        (
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 0 } } }),
            "timeoutSeconds: Invalid value: \"0\"",
        ),
        (
            json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 86401 } } }),
            "timeoutSeconds",
        ),
        (json!({ "externalTrafficPolicy": "Local" }), "externally-accessible"),
        (json!({ "internalTrafficPolicy": "Near" }), "spec.internalTrafficPolicy: Unsupported value"),
        (json!({ "trafficDistribution": "Near" }), "spec.trafficDistribution: Unsupported value"),
        (
            json!({ "type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/33"] }),
            "loadBalancerSourceRanges[0]",
        ),
        (json!({ "healthCheckNodePort": 30000 }), "spec.healthCheckNodePort"),
        (json!({ "selector": { "app": "a b" } }), "spec.selector"),
    ] {
        refused(&spec, expected);
    }
}

#[test]
fn several_problems_are_told_together() {
    let error = Spec::check(&service(
        &json!({ "ports": [{ "port": 0, "protocol": "X" }], "type": "NodePort", "sessionAffinity": "Y" }),
    ));
    let error = error.unwrap_err();
    assert_eq!(error.problems.len(), 3);
    assert_eq!(error.to_string().lines().count(), 4);
}

#[test]
fn what_kubernetes_takes_is_taken() {
    let checked = spec(&json!({
        "type": "LoadBalancer",
        "ports": [
            { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns" },
            { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
        ],
        "sessionAffinity": "ClientIP",
        "externalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": [" 192.0.2.7/24"],
        "trafficDistribution": "PreferClose",
    }));
    assert_eq!(checked.ports[0].target, Target::Name("dns".to_owned()));
    assert_eq!(checked.ports[1].target, Target::Number(53));
    assert_eq!(checked.affinity_seconds, Some(10_800));
    assert_eq!(checked.source_ranges, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(checked.distribution, Some(Distribution::SameZone));
    let named = spec(
        &json!({ "type": "ExternalName", "clusterIP": null, "externalName": "db.example.com.", "ports": null }),
    );
    assert_eq!(named.reach, Reach::ExternalName("db.example.com".to_owned()));
}

#[test]
fn bad_names_and_annotations_are_refused() {
    for (field, value, expected) in [
        ("name", json!("Web"), "metadata.name"),
        ("name", json!("a.b"), "one DNS label"),
        ("namespace", json!("a.b"), "metadata.namespace"),
        ("labels", json!({ "a b": "c" }), "metadata.labels"),
        ("annotations", json!({ "vpod.io/scheduler": "fast" }), "supported values: \"random\", \"rr\""),
    ] {
        let mut object = serde_json::to_value(service(&json!({}))).unwrap();
        object["metadata"][field] = value;
        let error = Spec::check(&serde_json::from_value(object).unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn bad_slices_are_refused_by_field() {
    for (object, expected) in [
        (json!({ "endpoints": [{ "addresses": ["127.0.0.1"] }] }), "loopback"),
        (json!({ "endpoints": [{ "addresses": ["169.254.1.1"] }] }), "link-local"),
        (json!({ "endpoints": [{ "addresses": ["224.0.0.251"] }] }), "multicast"),
        (json!({ "endpoints": [{ "addresses": ["0.0.0.0"] }] }), "unspecified"),
        (json!({ "endpoints": [{ "addresses": ["192.0.2.080"] }] }), "leading zeros"),
        (json!({ "endpoints": [{ "addresses": ["192.0.2.1", "::1"] }] }), "endpoints[0].addresses[1]"),
        (json!({ "endpoints": [{ "addresses": [] }] }), "endpoints[0].addresses: Required value"),
        (json!({ "ports": [{ "port": 0 }] }), "ports[0].port"),
        (json!({ "ports": [{ "port": 65536 }] }), "ports[0].port"),
        (json!({ "ports": [{}] }), "ports[0].port: Required value"),
        (json!({ "addressType": "FQDN" }), "addressType: Unsupported value"),
    ] {
        let error = SliceSpec::check(&slice(&object)).unwrap_err().to_string();
        assert!(error.contains(expected), "{object}: {error}");
    }
}

#[test]
fn what_nobody_may_claim_is_refused_by_name() {
    let mut table = Table::new(settings());
    table.set_node_addresses([ip("192.0.2.10")].into());
    table.put_pod(pod("other/db", "10.244.0.9"));
    table.put_pod(pod("default/own", "10.244.0.8"));
    for (address, expected) in [
        ("192.0.2.10", Some("is an address of a node")),
        ("10.244.0.9", Some("is the address of pod other/db, in another namespace")),
        ("10.96.3.4", Some("is in the range of services")),
        ("10.244.0.8", None),
        ("192.0.2.80", None),
    ] {
        let by_hand =
            SliceSpec::check(&slice(&json!({ "endpoints": [{ "addresses": [address] }] }))).unwrap();
        let problems = table.check_slice(&by_hand);
        match expected {
            Some(text) => assert!(problems[0].to_string().contains(text), "{}", problems[0]),
            None => assert_eq!(problems, []),
        }
    }
    for (address, expected) in [
        ("192.0.2.10", Some("is an address of a node")),
        ("10.244.0.9", Some("is in the range of pods")),
        ("10.96.0.10", Some("is in the range of services")),
        ("198.51.100.1", Some("services.external_ips")),
        ("203.0.113.1", None),
    ] {
        let problems = table.check_service(&spec(&json!({ "externalIPs": [address] })));
        match expected {
            Some(text) => assert!(problems[0].to_string().contains(text), "{}", problems[0]),
            None => assert_eq!(problems, []),
        }
    }
}
