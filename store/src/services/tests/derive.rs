//! What becomes of objects, by example.

use protocol::link::{BackendState, FrontendKind, TrafficPolicy, Transport};

use super::*;

fn table(spec: &Value, pods: impl IntoIterator<Item = PodFacts>) -> Table {
    let mut table = Table::new(settings());
    table.put_service(super::spec(spec));
    pods.into_iter().for_each(|pod| table.put_pod(pod));
    table.settle();
    table
}

fn state<'a>(table: &'a Table, port: &str) -> &'a ServiceState {
    table.states().values().find(|state| state.config.name == port).unwrap()
}

/// Addresses, ports and states of the backends.
fn ends(table: &Table, port: &str) -> Vec<(String, u16, BackendState)> {
    let backends = state(table, port).backends.values();
    backends.map(|b| (b.address.to_string(), b.port, b.state)).collect()
}

fn end(address: &str, port: u16) -> (String, u16, BackendState) {
    (address.to_owned(), port, BackendState::Ready)
}

#[test]
fn a_service_leads_to_its_ready_pods() {
    let unready = PodFacts { ready: false, ..pod("default/c", "10.244.0.4") };
    let other = PodFacts { labels: BTreeMap::new(), ..pod("default/d", "10.244.0.5") };
    let elsewhere = pod("prod/e", "10.244.0.6");
    let ended = PodFacts { ended: true, ..pod("default/f", "10.244.0.7") };
    let pods =
        [pod("default/a", "10.244.0.2"), pod("default/b", "10.244.0.3"), unready, other, elsewhere, ended];
    let table = table(&json!({ "ports": [{ "port": 80, "targetPort": 8080 }] }), pods);
    assert_eq!(ends(&table, "default/web:80"), [end("10.244.0.2", 8080), end("10.244.0.3", 8080)]);
    let frontends = &state(&table, "default/web:80").config.frontends;
    assert_eq!(frontends.len(), 1);
    assert_eq!(
        (frontends[0].kind, frontends[0].address, frontends[0].port),
        (FrontendKind::ClusterIp, ip("10.96.7.7"), 80)
    );
}

#[test]
fn named_ports_are_each_pods_own_and_protocols_are_apart() {
    let port = |name: &str, transport, number| NamedPort { name: name.to_owned(), transport, number };
    let a = PodFacts {
        ports: vec![port("web", Transport::Tcp, 1), port("web", Transport::Udp, 2)],
        ..pod("default/a", "10.244.0.2")
    };
    let b = PodFacts { ports: vec![port("web", Transport::Tcp, 3)], ..pod("default/b", "10.244.0.3") };
    let ports = json!({ "ports": [
        { "name": "t", "port": 80, "targetPort": "web" },
        { "name": "u", "port": 80, "protocol": "UDP", "targetPort": "web" },
    ] });
    let table = table(&ports, [a, b]);
    assert_eq!(ends(&table, "default/web:t"), [end("10.244.0.2", 1), end("10.244.0.3", 3)]);
    assert_eq!(ends(&table, "default/web:u"), [end("10.244.0.2", 2)]);
}

#[test]
fn terminating_endpoints_drain_and_publishing_needs_no_readiness() {
    let going = PodFacts { terminating: true, ..pod("default/a", "10.244.0.2") };
    let dead = PodFacts { terminating: true, ready: false, ..pod("default/b", "10.244.0.3") };
    let pods = || [going.clone(), dead.clone()];
    assert_eq!(
        ends(&table(&json!({}), pods()), "default/web:80"),
        [("10.244.0.2".to_owned(), 80, BackendState::Draining)]
    );
    let all = table(&json!({ "publishNotReadyAddresses": true }), pods());
    assert_eq!(ends(&all, "default/web:80"), [end("10.244.0.2", 80), end("10.244.0.3", 80)]);
}

#[test]
fn headless_named_and_foreign_services_are_not_the_switchs() {
    for spec in [
        json!({ "clusterIP": "None" }),
        json!({ "type": "ExternalName", "clusterIP": null, "externalName": "x.y" }),
    ] {
        assert!(table(&spec, [pod("default/a", "10.244.0.2")]).states().is_empty());
    }
    for label in ["service.kubernetes.io/headless", "service.kubernetes.io/service-proxy-name"] {
        let mut object = service(&json!({}));
        object.metadata.labels = Some(BTreeMap::from([(label.to_owned(), String::new())]));
        let mut table = Table::new(settings());
        table.put_service(Spec::check(&object).unwrap());
        assert!(!table.settle() && table.states().is_empty());
    }
    // Their endpoints are known all the same, for the name server.
    let headless = table(&json!({ "clusterIP": "None" }), [pod("default/a", "10.244.0.2")]);
    assert_eq!(headless.endpoints_of(&name("default/web")).len(), 1);
}

#[test]
fn all_sorts_of_frontends() {
    let mut object = service(&json!({
        "type": "LoadBalancer",
        "ports": [{ "port": 80, "nodePort": 30080 }],
        "externalIPs": ["203.0.113.1", "198.51.100.1", "203.0.113.9"],
        "externalTrafficPolicy": "Local",
    }));
    let ingress = json!({ "loadBalancer": { "ingress": [
        { "ip": "203.0.113.9" }, { "ip": "203.0.113.10", "ipMode": "Proxy" }, { "hostname": "lb.example" }
    ] } });
    object.status = serde_json::from_value(ingress).unwrap();
    let mut table = Table::new(settings());
    table.put_service(Spec::check(&object).unwrap());
    table.settle();
    let config = &state(&table, "default/web:80").config;
    let all: Vec<_> = config.frontends.iter().map(|f| (f.kind, f.address.to_string(), f.port)).collect();
    let expect = [
        (FrontendKind::ClusterIp, "10.96.7.7", 80),
        (FrontendKind::NodePort, "0.0.0.0", 30080),
        (FrontendKind::LoadBalancer, "203.0.113.9", 80),
        (FrontendKind::ExternalIp, "203.0.113.1", 80),
    ];
    assert_eq!(all, expect.map(|(kind, address, port)| (kind, address.to_owned(), port)));
    assert_eq!(config.external_policy, TrafficPolicy::Local);
}

#[test]
fn near_endpoints_are_preferred_where_all_say_where_they_are() {
    let at = |text: &str, address: &str, node: &str, zone: Option<&str>| PodFacts {
        node: node.to_owned(),
        zone: zone.map(str::to_owned),
        ..pod(text, address)
    };
    let a = at("default/a", "10.244.0.2", "a", Some("z1"));
    let b = at("default/b", "10.244.1.2", "b", Some("z1"));
    let c = at("default/c", "10.244.2.2", "c", Some("z2"));
    let lost = at("default/d", "10.244.3.2", "d", None);
    let preferred = |word: &str, pods: &[&PodFacts]| -> Vec<bool> {
        let table = table(&json!({ "trafficDistribution": word }), pods.iter().copied().cloned());
        state(&table, "default/web:80").backends.values().map(|b| b.is_preferred).collect()
    };
    assert_eq!(preferred("PreferSameZone", &[&a, &b, &c]), [true, true, false]);
    assert_eq!(preferred("PreferSameNode", &[&a, &b, &c]), [true, false, false]);
    assert_eq!(preferred("PreferSameNode", &[&b, &c]), [true, false], "the zone is next");
    assert_eq!(preferred("PreferSameZone", &[&c]), [true], "none is near");
    assert_eq!(preferred("PreferSameZone", &[&a, &c, &lost]), [true, true, true], "one has no zone");
    let local: Vec<bool> = {
        let table = table(&json!({}), [a.clone(), b.clone()]);
        state(&table, "default/web:80").backends.values().map(|b| b.is_local).collect()
    };
    assert_eq!(local, [true, false]);
}

#[test]
fn endpoints_by_hand_join_those_of_pods_unless_they_may_not() {
    let mut table = table(&json!({}), [pod("default/a", "10.244.0.2"), pod("prod/x", "10.244.0.9")]);
    let ends_by_hand = json!({ "endpoints": [
        { "addresses": ["192.0.2.80"] },
        { "addresses": ["10.244.0.9"] },
        { "addresses": ["192.0.2.81"], "conditions": { "ready": false } },
        { "addresses": ["192.0.2.82"], "conditions": { "ready": false, "serving": true, "terminating": true } },
    ] });
    table.put_slice(SliceSpec::check(&slice(&ends_by_hand)).unwrap());
    assert!(table.settle());
    let draining = ("192.0.2.82".to_owned(), 8080, BackendState::Draining);
    assert_eq!(ends(&table, "default/web:80"), [end("10.244.0.2", 80), end("192.0.2.80", 8080), draining]);
    let problems: Vec<&str> = table.problems().collect();
    assert_eq!(
        problems,
        [
            "EndpointSlice default/by-hand: endpoint 10.244.0.9 is left out: it is the address of pod prod/x, in another namespace"
        ]
    );
    // The pod goes, and with it the objection.
    table.remove_pod(&name("prod/x"));
    assert!(table.settle());
    assert_eq!(ends(&table, "default/web:80").len(), 4);
    table.remove_slice(&name("default/by-hand"));
    assert!(table.settle());
    assert_eq!(ends(&table, "default/web:80").len(), 1);
}

#[test]
fn of_two_services_with_one_external_address_the_first_by_name_has_it() {
    let mut table = Table::new(settings());
    let other = |text: &str| Spec { object: name(text), ..spec(&json!({ "externalIPs": ["203.0.113.1"] })) };
    table.put_service(Spec { cluster_ip: None, ..other("default/b") });
    table.settle();
    assert_eq!(state(&table, "default/b:80").config.frontends.len(), 1);
    table.put_service(Spec { cluster_ip: None, ..other("default/a") });
    assert!(table.settle());
    assert_eq!(state(&table, "default/a:80").config.frontends.len(), 1);
    assert_eq!(table.states().len(), 1, "the other has no frontend left");
    assert_eq!(
        table.problems().collect::<Vec<_>>(),
        ["service default/b: 203.0.113.1 port 80 is that of service default/a"]
    );
    table.remove_service(&name("default/a"));
    assert!(table.settle());
    assert_eq!(state(&table, "default/b:80").config.frontends.len(), 1);
}

#[test]
fn ports_keep_their_numbers() {
    let mut table = Table::new(settings());
    let put = |table: &mut Table, text: &str, ports: &Value| {
        table.put_service(Spec {
            object: name(text),
            ..spec(&json!({ "ports": ports, "clusterIP": format!("10.96.1.{}", text.len()) }))
        });
        table.settle();
    };
    let id = |table: &Table, port: &str| state(table, port).config.id.0;
    put(&mut table, "default/a", &json!([{ "name": "x", "port": 1 }, { "name": "y", "port": 2 }]));
    put(&mut table, "default/bb", &json!([{ "port": 1 }]));
    assert_eq!((id(&table, "default/a:x"), id(&table, "default/a:y"), id(&table, "default/bb:1")), (0, 1, 2));
    put(&mut table, "default/a", &json!([{ "name": "y", "port": 2 }, { "name": "z", "port": 3 }]));
    assert_eq!((id(&table, "default/a:y"), id(&table, "default/a:z")), (1, 0));
    assert_eq!(id(&table, "default/bb:1"), 2);
}

#[test]
fn what_does_not_matter_changes_nothing() {
    let mut table = table(&json!({}), [pod("default/a", "10.244.0.2")]);
    let before = std::sync::Arc::clone(table.states());
    table.put_pod(pod("default/a", "10.244.0.2"));
    table.put_pod(PodFacts { labels: BTreeMap::new(), ..pod("default/b", "10.244.0.3") });
    table.put_service(spec(&json!({})));
    assert!(!table.settle());
    assert!(std::sync::Arc::ptr_eq(&before, table.states()));
}

#[test]
fn endpoints_are_shown_as_slices() {
    let table = table(&json!({}), (2..=151).map(|n| pod(&format!("default/p{n}"), &format!("10.244.0.{n}"))));
    let object = name("default/web");
    let slices = slices(table.spec(&object).unwrap(), &table.endpoints_of(&object));
    assert_eq!(slices.iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect::<Vec<_>>(), [100, 50]);
    assert_eq!(slices[1].metadata.name.as_deref(), Some("web-1"));
    let read = SliceSpec::check(&slices[0]).unwrap();
    assert_eq!(read.service, Some(object));
}

#[test]
fn names_change_at_the_cost_of_what_changes() {
    let mut table = Table::new(settings());
    let headless = |number: u32| {
        let mut spec = spec(&json!({ "clusterIP": "None", "selector": { "app": format!("a{number}") } }));
        spec.object = name(&format!("default/s{number}"));
        spec
    };
    let pod_of = |number: u32, ready: bool| PodFacts {
        labels: BTreeMap::from([("app".to_owned(), format!("a{number}"))]),
        ready,
        ..pod(&format!("default/p{number}"), &format!("10.244.{}.{}", number / 200, 2 + number % 200))
    };
    for number in 0..1000 {
        table.put_service(headless(number));
        table.put_pod(pod_of(number, true));
    }
    table.settle();
    let all = table.take_renamed();
    assert_eq!((all.services.len(), all.pods.len(), all.namespaces.len()), (1000, 1000, 1));
    table.put_pod(pod_of(7, false));
    table.settle();
    let one = table.take_renamed();
    assert_eq!(one.services, [name("default/s7")].into());
    assert_eq!(one.pods, [name("default/p7")].into());
    table.settle();
    assert_eq!(table.take_renamed(), Renamed::default());
}

#[test]
fn an_endpoint_has_a_host_name_in_its_own_subdomain_only() {
    let named = PodFacts {
        hostname: Some("first".to_owned()),
        subdomain: Some("web".to_owned()),
        ..pod("default/a", "10.244.0.2")
    };
    let hostnames = |subdomain: &str| {
        let pod = PodFacts { subdomain: Some(subdomain.to_owned()), ..named.clone() };
        let table = table(&json!({ "clusterIP": "None" }), [pod]);
        table.endpoints_of(&name("default/web")).into_iter().map(|end| end.hostname).collect::<Vec<_>>()
    };
    assert_eq!(hostnames("web"), [Some("first".to_owned())]);
    assert_eq!(hostnames("other"), [None]);
}
