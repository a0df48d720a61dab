//! Whatever comes, the answer is a call or an error object; results survive every version.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;
use crate::result::{Dns, Extra, Interface, Ip, Route};
use crate::{AddResult, Command, Version};

/// A call was understood, or what is printed is the specification's error object.
fn is_answered(variables: &Variables, stdin: &[u8]) {
    for role in [Role::Interface, Role::Ipam] {
        let Err(error) = read(role, variables, || Ok(stdin.to_vec())) else { continue };
        let object: Value = error.to_json().parse().unwrap();
        assert!(object["cniVersion"].is_string() && object["msg"].is_string());
        assert!(Code::ALL.iter().any(|code| object["code"] == code.number()));
        assert!(error.to_json().len() < 1 << 16);
    }
}

fn any_command() -> impl Strategy<Value = OsString> {
    prop_oneof![
        6 => prop::sample::select(Command::ALL.to_vec()).prop_map(|command| command.as_str().into()),
        1 => any::<Vec<u8>>().prop_map(OsString::from_vec),
    ]
}

/// Anything; often nearly right.
fn any_variable() -> impl Strategy<Value = OsString> {
    let nearly = [
        "eth0",
        "some-id",
        "/var/run/netns/blue",
        "..",
        "a/b",
        "IP=1",
        "MAC=",
        "K8S_POD_NAME=x;IgnoreUnknown=1",
        "=;;=",
    ];
    prop_oneof![
        prop::sample::select(nearly.to_vec()).prop_map(OsString::from),
        any::<Vec<u8>>().prop_map(OsString::from_vec),
        any::<String>().prop_map(OsString::from),
    ]
}

fn any_variables() -> impl Strategy<Value = Variables> {
    (any_command(), prop::collection::vec(any_variable(), 6)).prop_map(|(command, others)| {
        let mut values = std::iter::once(command).chain(others);
        Variables::read(|_| values.next())
    })
}

/// Words that mean something here, so that generated objects come far.
const WORDS: [&str; 42] = [
    "cniVersion",
    "name",
    "1.1.0",
    "0.3.1",
    "podnet",
    "runtimeConfig",
    "portMappings",
    "hostPort",
    "containerPort",
    "protocol",
    "hostIP",
    "bandwidth",
    "ingressRate",
    "ingressBurst",
    "ips",
    "mac",
    "dns",
    "servers",
    "ipRanges",
    "subnet",
    "rangeStart",
    "gateway",
    "aliases",
    "args",
    "cni",
    "labels",
    "key",
    "value",
    "prevResult",
    "interfaces",
    "address",
    "interface",
    "routes",
    "dst",
    "10.0.0.5/32",
    "fd00::1",
    "ipam",
    "type",
    "mtu",
    "socket",
    "cni.dev/valid-attachments",
    "containerID",
];

fn any_json() -> impl Strategy<Value = Value> {
    let word = || prop_oneof![4 => prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..70_000_u32).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().collect::<Value>()),
        ]
    })
}

/// An unknown key, which no version can mean.
fn extra() -> impl Strategy<Value = Extra> {
    prop::collection::vec(
        ("x-[a-z]{1,4}", prop_oneof![Just(Value::Null), any::<i32>().prop_map(Value::from)]),
        0..3,
    )
    .prop_map(|fields| fields.into_iter().collect())
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[ -~]{1,12}")
}

fn number() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(any::<u32>())
}

fn address() -> impl Strategy<Value = std::net::IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(Into::into), any::<[u8; 16]>().prop_map(Into::into)]
}

fn net() -> impl Strategy<Value = ipnet::IpNet> {
    (address(), 0..=128_u8).prop_map(|(address, len)| {
        ipnet::IpNet::new(address, if address.is_ipv4() { len % 33 } else { len }).unwrap()
    })
}

fn interface() -> impl Strategy<Value = Interface> {
    ("[!-~]{1,15}", text(), number(), text(), text(), text(), extra()).prop_map(
        |(name, mac, mtu, sandbox, socket_path, pci_id, extra)| Interface {
            name,
            mac,
            mtu,
            sandbox,
            socket_path,
            pci_id,
            extra,
        },
    )
}

fn route() -> impl Strategy<Value = Route> {
    let attributes = (number(), number(), number(), number(), number());
    (net(), prop::option::of(address()), attributes, extra()).prop_map(
        |(dst, gw, (mtu, advmss, priority, table, scope), extra)| Route {
            dst,
            gw,
            mtu,
            advmss,
            priority,
            table,
            scope,
            extra,
        },
    )
}

fn dns() -> impl Strategy<Value = Dns> {
    let texts = || prop::collection::vec("[ -~]{0,12}", 0..3);
    (texts(), text(), texts(), texts(), extra()).prop_map(|(nameservers, domain, search, options, extra)| {
        Dns { nameservers, domain, search, options, extra }
    })
}

fn result() -> impl Strategy<Value = AddResult> {
    let ip = (net(), prop::option::of(address()), prop::option::of(any::<prop::sample::Index>()), extra());
    let interfaces = prop::collection::vec(interface(), 1..4);
    (interfaces, prop::collection::vec(ip, 0..4), prop::collection::vec(route(), 0..4), dns(), extra())
        .prop_map(|(interfaces, ips, routes, dns, extra)| {
            let place = |index: prop::sample::Index| u32::try_from(index.index(interfaces.len())).unwrap();
            let ips = ips.into_iter();
            let ips = ips.map(|(address, gateway, index, extra)| Ip {
                address,
                gateway,
                interface: index.map(place),
                extra,
            });
            AddResult { ips: ips.collect(), interfaces, routes, dns, extra }
        })
}

/// What is left of a result in a version.
fn restricted(mut result: AddResult, version: Version) -> AddResult {
    if !version.has_attributes() {
        for interface in &mut result.interfaces {
            (interface.mtu, interface.socket_path, interface.pci_id) = (None, None, None);
        }
        for route in &mut result.routes {
            *route = Route { extra: route.extra.clone(), ..Route::new(route.dst, route.gw) };
        }
    }
    result
}

fn reread(result: &AddResult, version: Version) -> AddResult {
    let config = config(&json!({ "cniVersion": version.as_str(), "prevResult": result.to_value(version) }));
    match call("DEL", &[], &config).verb {
        Verb::Del { previous: Some(previous), .. } => previous,
        other => panic!("{other:?} for {config}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_and_any_environment_are_answered(variables in any_variables(), stdin in any::<Vec<u8>>()) {
        is_answered(&variables, &stdin);
    }

    #[test]
    fn any_json_and_any_environment_are_answered(variables in any_variables(), value in any_json()) {
        is_answered(&variables, value.to_string().as_bytes());
    }

    #[test]
    fn any_value_in_any_place_is_answered(
        command in prop::sample::select(Command::ALL.to_vec()),
        key in prop::sample::select(WORDS.to_vec()),
        value in any_json(),
    ) {
        for config in [
            config(&json!({ key: value.clone() })),
            config(&json!({ "runtimeConfig": { key: value.clone() } })),
            config(&json!({ "prevResult": { key: value.clone() } })),
            config(&json!({ "args": { "cni": { key: value.clone() } } })),
        ] {
            is_answered(&variables(command.as_str(), &[]), config.to_string().as_bytes());
        }
    }

    #[test]
    fn a_call_with_one_flipped_bit_is_answered(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let whole = config(&json!({
            "runtimeConfig": { "portMappings": [{ "hostPort": 80, "containerPort": 80 }], "mac": "02:00:00:00:00:01" },
            "prevResult": { "ips": [{ "address": "10.0.0.5/32" }] },
        }));
        let mut bytes = whole.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        is_answered(&variables("ADD", &[]), &bytes);
    }

    #[test]
    fn a_result_survives_every_version_as_far_as_it_goes(result in result()) {
        for version in Version::ALL {
            let read = reread(&result, version);
            prop_assert_eq!(&read, &restricted(result.clone(), version));
            prop_assert_eq!(read.to_json(version), result.to_json(version));
        }
    }

    #[test]
    fn a_chain_keeps_what_was_before_and_moves_what_is_ours(before in result(), own in result()) {
        let interfaces = u32::try_from(before.interfaces.len()).unwrap();
        let after = before.clone().followed_by(own.clone());
        prop_assert_eq!(&after.interfaces[..before.interfaces.len()], &before.interfaces[..]);
        prop_assert_eq!(&after.ips[..before.ips.len()], &before.ips[..]);
        for (moved, ip) in after.ips[before.ips.len()..].iter().zip(&own.ips) {
            prop_assert_eq!(moved.interface, ip.interface.map(|index| index + interfaces));
        }
    }

    #[test]
    fn what_is_asked_twice_is_asked_alike(value in any_json(), id in "[A-Za-z0-9][A-Za-z0-9_.-]{0,80}", name in "[A-Za-z0-9_.-]{0,40}") {
        let args = format!("K8S_POD_NAME={name}");
        let changed = [("CNI_CONTAINERID", id.as_str()), ("CNI_ARGS", args.as_str())];
        let config = config(&json!({ "runtimeConfig": value }));
        prop_assert_eq!(ask("ADD", &changed, &config), ask("ADD", &changed, &config));
        // Whatever it is called, an ADD that is right otherwise is one.
        let attachment = added(&changed, &super::config(&json!({})));
        prop_assert_eq!(attachment.key.container.as_str(), id);
    }
}
