//! `portMappings`.

use super::capabilities::{asked, wrong};
use super::*;
use crate::{L4Protocol, PortMapping};

#[test]
fn port_mappings_are_understood() {
    let attachment = asked(&json!({ "portMappings": [
        { "hostPort": 8080, "containerPort": 80 },
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "" },
        { "hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.0.2.1" },
        { "hostPort": 53, "containerPort": 5354, "protocol": "udp", "hostIP": "192.0.2.2" },
        { "hostPort": 53, "containerPort": 5354, "protocol": "udp", "hostIP": "::" },
        { "hostPort": 53, "containerPort": 53, "protocol": "tcp", "hostIP": "0.0.0.0" },
        { "hostPort": 9, "containerPort": 9, "protocol": "sctp", "hostIP": null, "x": 1 },
    ] }));
    let mapping = |protocol, host_port, ip: Option<&str>, container_port| PortMapping {
        protocol,
        host_port,
        host_ip: ip.map(|ip| ip.parse().unwrap()),
        container_port,
    };
    assert_eq!(
        attachment.port_mappings,
        [
            mapping(L4Protocol::Tcp, 53, Some("0.0.0.0"), 53),
            mapping(L4Protocol::Tcp, 8080, None, 80),
            mapping(L4Protocol::Udp, 53, Some("192.0.2.1"), 5353),
            mapping(L4Protocol::Udp, 53, Some("192.0.2.2"), 5354),
            mapping(L4Protocol::Udp, 53, Some("::"), 5354),
            mapping(L4Protocol::Sctp, 9, None, 9),
        ]
    );
}

#[test]
fn port_mappings_that_cannot_be_are_named() {
    for (mapping, part) in [
        (json!({ "containerPort": 80 }), "portMappings[0].hostPort: Required"),
        (json!({ "hostPort": 80 }), "portMappings[0].containerPort: Required"),
        (json!({ "hostPort": 0, "containerPort": 80 }), "hostPort: Invalid value: 0"),
        (json!({ "hostPort": 65536, "containerPort": 80 }), "65536"),
        (json!({ "hostPort": -1, "containerPort": 80 }), "-1"),
        (json!({ "hostPort": "80", "containerPort": 80 }), "\"80\""),
        (json!({ "hostPort": 80.5, "containerPort": 80 }), "80.5"),
        (json!({ "hostPort": 80, "containerPort": 80, "protocol": "icmp" }), "icmp"),
        (json!({ "hostPort": 80, "containerPort": 80, "hostIP": "localhost" }), "localhost"),
        (json!("8080:80"), "must be an object"),
    ] {
        let text = wrong(&json!({ "portMappings": [mapping] }));
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(wrong(&json!({ "portMappings": {} })).contains("must be a list"));
}

#[test]
fn port_mappings_that_contradict_each_other_are_refused() {
    let two = |a: &str, b: &str| {
        json!({ "portMappings": [
            { "hostPort": 80, "containerPort": 8080, "hostIP": a }, { "hostPort": 80, "containerPort": 8081, "hostIP": b },
        ] })
    };
    for (a, b) in
        [("", ""), ("", "192.0.2.1"), ("0.0.0.0", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("::", "::1")]
    {
        for (a, b) in [(a, b), (b, a)] {
            assert!(wrong(&two(a, b)).contains("contradicts"), "{a} {b}");
        }
    }
    for (a, b) in [("192.0.2.1", "192.0.2.2"), ("0.0.0.0", "::"), ("::", "192.0.2.1")] {
        assert_eq!(asked(&two(a, b)).port_mappings.len(), 2, "{a} {b}");
    }
}

#[test]
fn the_number_of_port_mappings_is_bounded() {
    let many = |count: usize| {
        let mappings: Vec<_> =
            (1..=count).map(|port| json!({ "hostPort": port, "containerPort": 80 })).collect();
        json!({ "portMappings": mappings })
    };
    assert_eq!(asked(&many(crate::MAX_PORT_MAPPINGS)).port_mappings.len(), crate::MAX_PORT_MAPPINGS);
    assert!(wrong(&many(crate::MAX_PORT_MAPPINGS + 1)).contains("at most 4096"));
}
