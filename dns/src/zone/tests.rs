//! A table of questions and answers, and a comparison with a naive zone over random clusters.

use std::net::IpAddr;

use proptest::prelude::*;
use protocol::feed::{NameChange, NameTarget, NamedEndpoint, NamedPort, NamedService};
use protocol::link::Transport;
use protocol::message::PodRef;

use super::model::{self, Expected};
use super::*;
use crate::encode::{Source, encode};
use crate::wire::query;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name as LibraryName, RData, Record, RecordType};

fn port(name: &str, transport: Transport, number: u16) -> NamedPort {
    NamedPort { name: (!name.is_empty()).then(|| name.to_owned()), transport, number }
}

fn endpoint(address: &str, hostname: Option<&str>, ports: &[NamedPort]) -> NamedEndpoint {
    NamedEndpoint {
        address: address.parse().unwrap(),
        hostname: hostname.map(str::to_owned),
        pod: None,
        ports: ports.to_vec(),
    }
}

fn service(namespace: &str, name: &str, target: NameTarget) -> NameChange {
    NameChange::Service(NamedService {
        namespace: namespace.parse().unwrap(),
        name: name.parse().unwrap(),
        target,
    })
}

fn cluster(addresses: &[&str], ports: &[NamedPort]) -> NameTarget {
    NameTarget::Cluster {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        ports: ports.to_vec(),
    }
}

fn pod(namespace: &str, name: &str) -> PodRef {
    PodRef { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
}

fn zone(origin: &str, pod_records: PodRecords) -> Zone {
    let reverse = ["10.244.0.0/16", "10.96.0.0/12", "fd00:10::/32"].map(|net| net.parse().unwrap());
    Zone::new(&Name::from_text(origin).unwrap(), reverse.to_vec(), 5, pod_records).unwrap()
}

fn example(zone: &Zone) -> Register {
    let http = port("http", Transport::Tcp, 80);
    let metrics = port("metrics", Transport::Tcp, 9090);
    let external = |name: &str| NameTarget::External { name: name.to_owned() };
    let mut register = Register::default();
    for change in [
        NameChange::Namespace("default".parse().unwrap()),
        NameChange::Namespace("kube-system".parse().unwrap()),
        NameChange::Namespace("empty".parse().unwrap()),
        service(
            "kube-system",
            "kube-dns",
            cluster(
                &["10.96.0.10"],
                &[port("dns", Transport::Udp, 53), port("dns-tcp", Transport::Tcp, 53), metrics.clone()],
            ),
        ),
        service("default", "kubernetes", cluster(&["10.96.0.1"], &[port("https", Transport::Tcp, 443)])),
        service("default", "web", cluster(&["10.96.1.1"], &[http.clone(), port("", Transport::Tcp, 81)])),
        service("default", "two", cluster(&["10.96.1.2", "fd00:10::2"], std::slice::from_ref(&http))),
        service(
            "default",
            "db",
            NameTarget::Headless {
                endpoints: vec![
                    endpoint("10.244.0.5", Some("db-0"), &[http.clone(), metrics.clone()]),
                    endpoint("10.244.0.6", Some("DB-1"), &[http.clone(), metrics]),
                    endpoint("10.244.0.7", None, std::slice::from_ref(&http)),
                ],
            },
        ),
        service(
            "default",
            "six",
            NameTarget::Headless {
                endpoints: vec![endpoint("fd00:10::5", None, std::slice::from_ref(&http))],
            },
        ),
        service(
            "default",
            "bare",
            NameTarget::Headless { endpoints: vec![endpoint("10.244.0.5", Some("x"), &[])] },
        ),
        service("default", "nobody", NameTarget::Headless { endpoints: vec![] }),
        service("default", "out", external("example.com")),
        service("default", "in", external("web.default.svc.cluster.local")),
        service("default", "address", external("192.0.2.1")),
        NameChange::Pod { pod: pod("default", "a"), address: "10.244.0.9".parse().unwrap() },
    ] {
        register.apply(zone, &change);
    }
    register
}

/// Asks, and has the library read the answer.
fn ask(zone: &Zone, names: &Names, name: &str, kind: RecordType) -> Option<Message> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(LibraryName::from_ascii(name).unwrap(), kind));
    let bytes = message.to_vec().unwrap();
    let query = query::read(&bytes).unwrap();
    let answered = answer::answer(zone, names, &query.name, query.kind)?;
    let mut out = Vec::new();
    encode(&mut out, &query, &answered, Source { zone, names, recursive: true }, 65_535, 0);
    Some(Message::from_vec(&out).unwrap())
}

fn text(record: &Record) -> String {
    format!("{} {} {}", record.name, record.record_type(), record.data)
}

fn texts(records: &[Record]) -> Vec<String> {
    let mut all: Vec<_> = records.iter().map(text).collect();
    all.sort();
    all
}

/// The answer as one text: its code, records, `+` the additional ones, `SOA` where there is one in authority.
fn answered(zone: &Zone, register: &Register, name: &str, kind: RecordType) -> String {
    let Some(message) = ask(zone, &register.names(1), name, kind) else { return "elsewhere".to_owned() };
    assert!(message.metadata.authoritative || message.metadata.response_code.low() == 5);
    let mut text = message.metadata.response_code.low().to_string();
    for record in texts(&message.answers) {
        text += &format!(" | {record}");
    }
    for record in texts(&message.additionals) {
        text += &format!(" + {record}");
    }
    for record in &message.authorities {
        assert_eq!((record.record_type(), record.ttl), (RecordType::SOA, 5));
        text += &format!(" SOA {}", record.name);
    }
    text
}

const NODATA: &str = "0 SOA cluster.local.";
const NXDOMAIN: &str = "3 SOA cluster.local.";

#[track_caller]
fn check(pods: PodRecords, table: &[(&str, RecordType, &str)]) {
    let zone = zone("cluster.local", pods);
    let register = example(&zone);
    for (name, kind, expected) in table {
        assert_eq!(answered(&zone, &register, name, *kind), *expected, "{name} {kind}");
    }
}

#[test]
fn services_with_addresses() {
    use RecordType::{A, AAAA, CNAME, MX, SOA, SRV, TXT};
    check(
        PodRecords::Disabled,
        &[
            ("web.default.svc.cluster.local.", A, "0 | web.default.svc.cluster.local. A 10.96.1.1"),
            ("WEB.Default.svc.Cluster.local.", A, "0 | WEB.Default.svc.Cluster.local. A 10.96.1.1"),
            ("web.default.svc.cluster.local.", AAAA, NODATA),
            ("web.default.svc.cluster.local.", TXT, NODATA),
            ("web.default.svc.cluster.local.", MX, NODATA),
            ("web.default.svc.cluster.local.", CNAME, NODATA),
            ("web.default.svc.cluster.local.", SOA, NODATA),
            ("two.default.svc.cluster.local.", A, "0 | two.default.svc.cluster.local. A 10.96.1.2"),
            ("two.default.svc.cluster.local.", AAAA, "0 | two.default.svc.cluster.local. AAAA fd00:10::2"),
            (
                "_http._tcp.web.default.svc.cluster.local.",
                SRV,
                "0 | _http._tcp.web.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local. + web.default.svc.cluster.local. A 10.96.1.1",
            ),
            (
                "_HTTP._TCP.web.default.svc.cluster.local.",
                SRV,
                "0 | _HTTP._TCP.web.default.svc.cluster.local. SRV 0 100 80 web.default.svc.cluster.local. + web.default.svc.cluster.local. A 10.96.1.1",
            ),
            (
                "_http._tcp.two.default.svc.cluster.local.",
                SRV,
                "0 | _http._tcp.two.default.svc.cluster.local. SRV 0 50 80 two.default.svc.cluster.local. + two.default.svc.cluster.local. A 10.96.1.2 + two.default.svc.cluster.local. AAAA fd00:10::2",
            ),
            (
                "web.default.svc.cluster.local.",
                SRV,
                "0 | web.default.svc.cluster.local. SRV 0 50 80 web.default.svc.cluster.local. | web.default.svc.cluster.local. SRV 0 50 81 web.default.svc.cluster.local. + web.default.svc.cluster.local. A 10.96.1.1",
            ),
            ("_http._udp.web.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("_nope._tcp.web.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("_._tcp.web.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("http.tcp.web.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("*._tcp.web.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("_http._tcp.web.default.svc.cluster.local.", A, NODATA),
            ("_tcp.web.default.svc.cluster.local.", SRV, NODATA),
            ("_udp.web.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("a._http._tcp.web.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("10-96-1-1.web.default.svc.cluster.local.", A, NXDOMAIN),
        ],
    );
}

#[test]
fn headless_services() {
    use RecordType::{A, AAAA, SRV, TXT};
    check(
        PodRecords::Disabled,
        &[
            (
                "db.default.svc.cluster.local.",
                A,
                "0 | db.default.svc.cluster.local. A 10.244.0.5 | db.default.svc.cluster.local. A 10.244.0.6 | db.default.svc.cluster.local. A 10.244.0.7",
            ),
            ("db.default.svc.cluster.local.", AAAA, NODATA),
            ("db-0.db.default.svc.cluster.local.", A, "0 | db-0.db.default.svc.cluster.local. A 10.244.0.5"),
            ("db-1.db.default.svc.cluster.local.", A, "0 | db-1.db.default.svc.cluster.local. A 10.244.0.6"),
            (
                "10-244-0-7.db.default.svc.cluster.local.",
                A,
                "0 | 10-244-0-7.db.default.svc.cluster.local. A 10.244.0.7",
            ),
            ("10-244-0-5.db.default.svc.cluster.local.", A, NXDOMAIN),
            ("db-0.db.default.svc.cluster.local.", TXT, NODATA),
            ("db-9.db.default.svc.cluster.local.", A, NXDOMAIN),
            (
                "_metrics._tcp.db.default.svc.cluster.local.",
                SRV,
                "0 | _metrics._tcp.db.default.svc.cluster.local. SRV 0 50 9090 db-0.db.default.svc.cluster.local. | _metrics._tcp.db.default.svc.cluster.local. SRV 0 50 9090 db-1.db.default.svc.cluster.local. + db-0.db.default.svc.cluster.local. A 10.244.0.5 + db-1.db.default.svc.cluster.local. A 10.244.0.6",
            ),
            (
                "fd00-10--5.six.default.svc.cluster.local.",
                AAAA,
                "0 | fd00-10--5.six.default.svc.cluster.local. AAAA fd00:10::5",
            ),
            ("bare.default.svc.cluster.local.", A, "0 | bare.default.svc.cluster.local. A 10.244.0.5"),
            ("bare.default.svc.cluster.local.", SRV, NODATA),
            ("nobody.default.svc.cluster.local.", A, NXDOMAIN),
            ("nobody.default.svc.cluster.local.", AAAA, NXDOMAIN),
        ],
    );
}

#[test]
fn what_is_between_names_and_what_is_not_there() {
    use RecordType::{A, ANY, AXFR, NS, SOA, SRV, TXT};
    check(
        PodRecords::Disabled,
        &[
            ("cluster.local.", A, NODATA),
            ("svc.cluster.local.", A, NODATA),
            ("svc.cluster.local.", NS, NODATA),
            ("pod.cluster.local.", A, NODATA),
            ("default.svc.cluster.local.", A, NODATA),
            ("default.svc.cluster.local.", NS, NODATA),
            ("empty.svc.cluster.local.", A, NODATA),
            ("nowhere.svc.cluster.local.", A, NXDOMAIN),
            ("foo.cluster.local.", A, NXDOMAIN),
            ("foo.default.svc.cluster.local.", A, NXDOMAIN),
            ("web.nowhere.svc.cluster.local.", A, NXDOMAIN),
            ("*.default.svc.cluster.local.", A, NXDOMAIN),
            ("any.any.any.any.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("dns-version.cluster.local.", TXT, "0 | dns-version.cluster.local. TXT 1.1.0"),
            ("dns-version.cluster.local.", A, NODATA),
            ("a.dns-version.cluster.local.", TXT, NXDOMAIN),
            (
                "cluster.local.",
                SOA,
                "0 | cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5",
            ),
            (
                "cluster.local.",
                NS,
                "0 | cluster.local. NS ns.dns.cluster.local. + ns.dns.cluster.local. A 10.96.0.10",
            ),
            ("ns.dns.cluster.local.", A, "0 | ns.dns.cluster.local. A 10.96.0.10"),
            ("dns.cluster.local.", A, NODATA),
            ("web.default.svc.cluster.local.", ANY, "0 | web.default.svc.cluster.local. HINFO RFC8482 "),
            ("nope.default.svc.cluster.local.", ANY, NXDOMAIN),
            ("cluster.local.", AXFR, "5"),
            ("local.", A, "elsewhere"),
            ("example.com.", A, "elsewhere"),
            ("xcluster.local.", A, "elsewhere"),
            (".", A, "elsewhere"),
        ],
    );
}

#[test]
fn external_names() {
    use RecordType::{A, AAAA, CNAME, SRV};
    check(
        PodRecords::Disabled,
        &[
            (
                "out.default.svc.cluster.local.",
                CNAME,
                "0 | out.default.svc.cluster.local. CNAME example.com.",
            ),
            ("out.default.svc.cluster.local.", A, "0 | out.default.svc.cluster.local. CNAME example.com."),
            (
                "in.default.svc.cluster.local.",
                AAAA,
                "0 | in.default.svc.cluster.local. CNAME web.default.svc.cluster.local.",
            ),
            ("_http._tcp.out.default.svc.cluster.local.", SRV, NXDOMAIN),
            ("x.out.default.svc.cluster.local.", A, NXDOMAIN),
            ("address.default.svc.cluster.local.", A, NXDOMAIN),
        ],
    );
}

#[test]
fn names_of_pods() {
    use RecordType::{A, AAAA, TXT};
    let known = "10-244-0-9.default.pod.cluster.local.";
    let strange = "10-244-0-8.default.pod.cluster.local.";
    let answer = "0 | 10-244-0-9.default.pod.cluster.local. A 10.244.0.9";
    check(PodRecords::Disabled, &[(known, A, NXDOMAIN), ("default.pod.cluster.local.", A, NXDOMAIN)]);
    check(
        PodRecords::Insecure,
        &[
            (known, A, answer),
            (strange, A, "0 | 10-244-0-8.default.pod.cluster.local. A 10.244.0.8"),
            (known, AAAA, NODATA),
            (known, TXT, NODATA),
            (
                "fd00--1.default.pod.cluster.local.",
                AAAA,
                "0 | fd00--1.default.pod.cluster.local. AAAA fd00::1",
            ),
            ("10-244-0-9.nowhere.pod.cluster.local.", A, NXDOMAIN),
            ("10-244-0-999.default.pod.cluster.local.", A, NXDOMAIN),
            ("default.pod.cluster.local.", A, NODATA),
            ("a.10-244-0-9.default.pod.cluster.local.", A, NXDOMAIN),
        ],
    );
    check(
        PodRecords::Verified,
        &[(known, A, answer), (strange, A, NXDOMAIN), ("10-244-0-9.empty.pod.cluster.local.", A, NXDOMAIN)],
    );
}

#[test]
fn names_of_addresses() {
    use RecordType::{A, NS, PTR, SOA};
    let nibbles = format!("2.{}0.1.0.0.0.0.d.f.ip6.arpa.", "0.".repeat(23));
    check(
        PodRecords::Disabled,
        &[
            (
                "1.1.96.10.in-addr.arpa.",
                PTR,
                "0 | 1.1.96.10.in-addr.arpa. PTR web.default.svc.cluster.local.",
            ),
            (
                "7.0.244.10.in-addr.arpa.",
                PTR,
                "0 | 7.0.244.10.in-addr.arpa. PTR 10-244-0-7.db.default.svc.cluster.local.",
            ),
            (
                "5.0.244.10.in-addr.arpa.",
                PTR,
                "0 | 5.0.244.10.in-addr.arpa. PTR db-0.db.default.svc.cluster.local. | 5.0.244.10.in-addr.arpa. PTR x.bare.default.svc.cluster.local.",
            ),
            (&nibbles, PTR, &format!("0 | {nibbles} PTR two.default.svc.cluster.local.")),
            ("1.1.96.10.in-addr.arpa.", A, "0 SOA 96.10.in-addr.arpa."),
            ("99.1.96.10.in-addr.arpa.", PTR, "3 SOA 96.10.in-addr.arpa."),
            ("1.1.111.10.in-addr.arpa.", PTR, "3 SOA 111.10.in-addr.arpa."),
            ("9.0.244.10.in-addr.arpa.", PTR, "3 SOA 244.10.in-addr.arpa."),
            ("1.96.10.in-addr.arpa.", PTR, "0 SOA 96.10.in-addr.arpa."),
            ("x.1.1.96.10.in-addr.arpa.", PTR, "3 SOA 96.10.in-addr.arpa."),
            ("300.1.96.10.in-addr.arpa.", PTR, "3 SOA 96.10.in-addr.arpa."),
            ("01.1.96.10.in-addr.arpa.", PTR, "3 SOA 96.10.in-addr.arpa."),
            (
                "96.10.in-addr.arpa.",
                SOA,
                "0 | 96.10.in-addr.arpa. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5",
            ),
            (
                "96.10.in-addr.arpa.",
                NS,
                "0 | 96.10.in-addr.arpa. NS ns.dns.cluster.local. + ns.dns.cluster.local. A 10.96.0.10",
            ),
            ("1.1.112.10.in-addr.arpa.", PTR, "elsewhere"),
            ("8.8.8.8.in-addr.arpa.", PTR, "elsewhere"),
            ("10.in-addr.arpa.", PTR, "elsewhere"),
            ("in-addr.arpa.", PTR, "elsewhere"),
        ],
    );
}

#[test]
fn changes_are_followed() {
    let zone = zone("cluster.local", PodRecords::Verified);
    let mut register = example(&zone);
    let before = register.names(1);
    let web = "web.default.svc.cluster.local.";
    register.apply(&zone, &service("default", "web", cluster(&["10.96.9.9"], &[])));
    assert_eq!(answered(&zone, &register, web, RecordType::A), format!("0 | {web} A 10.96.9.9"));
    assert_eq!(
        answered(&zone, &register, "1.1.96.10.in-addr.arpa.", RecordType::PTR),
        "3 SOA 96.10.in-addr.arpa."
    );
    register.apply(
        &zone,
        &NameChange::ServiceGone { namespace: "default".parse().unwrap(), name: "web".parse().unwrap() },
    );
    assert_eq!(answered(&zone, &register, web, RecordType::A), NXDOMAIN);
    register.apply(&zone, &service("default", "out", cluster(&["10.96.9.8"], &[])));
    let out = "out.default.svc.cluster.local.";
    assert_eq!(answered(&zone, &register, out, RecordType::A), format!("0 | {out} A 10.96.9.8"));
    let known = "10-244-0-9.default.pod.cluster.local.";
    register
        .apply(&zone, &NameChange::Pod { pod: pod("default", "b"), address: "10.244.0.9".parse().unwrap() });
    register.apply(&zone, &NameChange::PodGone(pod("default", "a")));
    assert_eq!(answered(&zone, &register, known, RecordType::A), format!("0 | {known} A 10.244.0.9"));
    register.apply(&zone, &NameChange::PodGone(pod("default", "b")));
    assert_eq!(answered(&zone, &register, known, RecordType::A), NXDOMAIN);
    register.apply(&zone, &NameChange::NamespaceGone("empty".parse().unwrap()));
    assert_eq!(answered(&zone, &register, "empty.svc.cluster.local.", RecordType::A), NXDOMAIN);
    // Who still has the old names sees all of them as they were.
    let old = ask(&zone, &before, web, RecordType::A).unwrap();
    assert_eq!(texts(&old.answers), [format!("{web} A 10.96.1.1")]);
}

fn some_port() -> impl Strategy<Value = NamedPort> {
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp), Just(Transport::Sctp)];
    (proptest::option::of("[pq]"), transport, 1_u16..4).prop_map(|(name, transport, number)| NamedPort {
        name,
        transport,
        number,
    })
}

fn some_address() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), 1_u8..6).prop_map(|(four, last)| {
        if four { IpAddr::from([10, 244, 0, last]) } else { format!("fd00:10::{last}").parse().unwrap() }
    })
}

fn some_target() -> impl Strategy<Value = NameTarget> {
    let ports = || proptest::collection::vec(some_port(), 0..4);
    let endpoint = (some_address(), proptest::option::of("h[0-2]"), ports())
        .prop_map(|(address, hostname, ports)| NamedEndpoint { address, hostname, pod: None, ports });
    prop_oneof![
        (proptest::collection::vec(some_address(), 0..3), ports())
            .prop_map(|(addresses, ports)| NameTarget::Cluster { addresses, ports }),
        proptest::collection::vec(endpoint, 0..5).prop_map(|endpoints| NameTarget::Headless { endpoints }),
        "[a-c]\\.example".prop_map(|name| NameTarget::External { name }),
    ]
}

const NAMESPACES: [&str; 2] = ["n0", "n1"];

fn data(record: &Record) -> String {
    match &record.data {
        RData::SRV(srv) => format!("SRV {} {}", srv.port, srv.target.to_string().trim_end_matches('.')),
        other => format!("{} {}", record.record_type(), other).trim_end_matches('.').to_owned(),
    }
}

proptest! {
    /// Random changes, then every name there is or was, and some beside, of every type.
    #[test]
    fn answers_are_those_of_a_naive_zone(
        changes in proptest::collection::vec((0_u8..6, 0_usize..2, proptest::option::of(some_target())), 0..24),
    ) {
        let zone = zone("z", PodRecords::Disabled);
        let mut register = Register::default();
        let mut services: Vec<NamedService> = Vec::new();
        let mut asked = std::collections::BTreeSet::new();
        for namespace in NAMESPACES {
            register.apply(&zone, &NameChange::Namespace(namespace.parse().unwrap()));
        }
        for (name, namespace, target) in changes {
            let (namespace, name) = (NAMESPACES[namespace].parse().unwrap(), format!("s{name}").parse().unwrap());
            services.retain(|service| service.namespace != namespace || service.name != name);
            let change = match target {
                Some(target) => {
                    let service = NamedService { namespace, name, target };
                    services.push(service.clone());
                    NameChange::Service(service)
                }
                None => NameChange::ServiceGone { namespace, name },
            };
            register.apply(&zone, &change);
            asked.extend(model::records(&services).into_iter().map(|(owner, ..)| owner));
        }
        for service in &services {
            let own = format!("{}.{}.svc.z", service.name, service.namespace);
            for below in ["_tcp", "_udp", "nope", "_p._sctp", "_p._tcp", "x._p._tcp"] {
                asked.insert(format!("{below}.{own}"));
            }
            asked.insert(own);
        }
        asked.extend(["z", "svc.z", "pod.z", "n0.svc.z", "n2.svc.z", "x.z", "s9.n0.svc.z", "dns.z"].map(str::to_owned));
        let names = register.names(1);
        for name in &asked {
            for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT] {
                if (name.as_str(), kind) == ("dns-version.z", RecordType::TXT) {
                    continue;
                }
                let message = ask(&zone, &names, &format!("{name}."), kind).unwrap();
                let found = match (message.metadata.response_code.low(), message.answers.is_empty()) {
                    (0, false) => Expected::Records(message.answers.iter().map(data).collect()),
                    (0, true) => Expected::NoData,
                    _ => Expected::NoName,
                };
                prop_assert_eq!(found, model::answer(&services, &NAMESPACES, name, &kind.to_string()), "{} {}", name, kind);
                prop_assert!(message.answers.iter().all(|record| record.ttl == 5));
                // No record twice, and every target of SRV with its addresses.
                let mut unique = texts(&message.answers);
                unique.dedup();
                prop_assert_eq!(unique.len(), message.answers.len());
                for record in &message.answers {
                    if let RData::SRV(srv) = &record.data {
                        prop_assert!(message.additionals.iter().any(|address| address.name == srv.target));
                    }
                }
            }
        }
        // Addresses lead back to names, one per service, and to nothing that is gone.
        for last in 1..6 {
            let message = ask(&zone, &names, &format!("{last}.0.244.10.in-addr.arpa."), RecordType::PTR).unwrap();
            let address = IpAddr::from([10, 244, 0, last]);
            let having = |cluster: bool| services.iter().filter(|service| match &service.target {
                NameTarget::Cluster { addresses, .. } => cluster && addresses.contains(&address),
                NameTarget::Headless { endpoints } => !cluster && endpoints.iter().any(|e| e.address == address),
                NameTarget::External { .. } => false,
            }).count();
            let expected = if having(true) > 0 { having(true) } else { having(false) };
            prop_assert_eq!(message.answers.len(), expected);
        }
    }
}
