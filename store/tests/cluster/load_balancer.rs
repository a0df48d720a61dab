//! Addresses of load balancers are given, shared and taken back, on either store.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::thread;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use store::cluster::ClusterStore;
use store::services::allocate::{ClusterIps, NodePorts};
use store::services::load_balancer::{LOAD_BALANCER_IPS, Tenants, pending_reason};
use store::services::write::{
    Pools, Run, Stamp, Surroundings, WriteError, Written, delete_service, put_service,
};
use store::services::{AddressPool, AddressPools, ObjectRef, Problem, Spec};

use crate::bed::Bed;
use crate::on_both_stores;

on_both_stores! {
    an_address_is_given_kept_and_taken_back
    pools_are_asked_in_order_and_only_by_those_they_are_for
    a_requested_address_is_given_or_refused_by_name
    an_address_is_shared_by_those_who_agree
    a_service_without_address_says_why_and_gets_one_later
    what_is_a_nodes_is_not_given_away
    concurrent_writers_never_get_one_address
    an_address_outlives_its_pool
}

fn pool(name: &str, addresses: &str) -> AddressPool {
    AddressPool {
        name: name.to_owned(),
        addresses: vec![addresses.parse().unwrap()],
        auto_assign: true,
        avoid_buggy_ips: false,
        priority: 0,
        namespaces: BTreeSet::new(),
        service_selectors: Vec::new(),
    }
}

fn pools(pools: Vec<AddressPool>) -> Pools {
    Pools {
        cluster_ips: ClusterIps { cidr: "10.96.0.0/16".parse().unwrap(), dns: None },
        node_ports: NodePorts::default(),
        load_balancer: AddressPools::new(pools).unwrap(),
    }
}

/// Three addresses.
fn few() -> Pools {
    pools(vec![pool("few", "192.0.2.10-192.0.2.12")])
}

fn service(name: &str, spec: &Value, annotations: &Value) -> Service {
    let mut whole = json!({ "type": "LoadBalancer", "selector": { "app": name }, "ports": [{ "port": 80 }] });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let metadata = json!({ "name": name, "annotations": annotations });
    serde_json::from_value(json!({ "metadata": metadata, "spec": whole })).unwrap()
}

fn plain(name: &str) -> Service {
    service(name, &json!({}), &json!({}))
}

/// One of those that share.
fn sharing(name: &str, port: u16, spec: &Value) -> Service {
    let mut spec = spec.clone();
    spec["ports"] = json!([{ "port": port }]);
    service(name, &spec, &json!({ "metallb.io/allow-shared-ip": "us" }))
}

fn put(store: &dyn ClusterStore, pools: &Pools, service: &Service) -> Result<Service, WriteError> {
    let stamp = Stamp { uid: "uid".to_owned(), now: 1_700_000_000, seed: 1 };
    put_service(store, pools, service, &stamp, &(), Run::Real).map(|(_, service)| service)
}

fn address(service: &Service) -> Option<String> {
    let status = service.status.as_ref()?.load_balancer.as_ref()?;
    let [ingress] = status.ingress.as_deref()? else { panic!("{status:?}") };
    assert_eq!(ingress.ip_mode.as_deref(), Some("VIP"));
    ingress.ip.clone()
}

#[track_caller]
fn gets(store: &dyn ClusterStore, pools: &Pools, service: &Service, expected: &str) -> Service {
    let written = put(store, pools, service).unwrap();
    assert_eq!(address(&written).as_deref(), Some(expected), "{written:?}");
    assert_eq!(pending_reason(&written), None);
    written
}

#[track_caller]
fn waits(store: &dyn ClusterStore, pools: &Pools, service: &Service, expected: &str) -> Service {
    let written = put(store, pools, service).unwrap();
    assert_eq!(address(&written), None);
    let why = pending_reason(&written).unwrap_or_default();
    assert!(why.contains(expected), "{why}");
    written
}

#[track_caller]
fn fails(store: &dyn ClusterStore, pools: &Pools, service: &Service, expected: &str) {
    let error = put(store, pools, service).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

fn delete(store: &dyn ClusterStore, name: &str) {
    let object = ObjectRef::parse(&format!("default/{name}")).unwrap();
    delete_service(store, &object, Run::Real).unwrap();
}

/// Addresses and who has them.
fn taken(store: &dyn ClusterStore) -> Vec<String> {
    let entries = store.list(LOAD_BALANCER_IPS).unwrap().entries;
    let line = |entry: &store::cluster::Entry| {
        let tenants: Tenants = serde_json::from_slice(&entry.value).unwrap();
        let names: Vec<&str> = tenants.iter().map(|tenant| tenant.service.name.as_str()).collect();
        format!("{} {}", &entry.key[LOAD_BALANCER_IPS.len()..], names.join("+"))
    };
    entries.iter().map(line).collect()
}

fn an_address_is_given_kept_and_taken_back(bed: &dyn Bed) {
    let (store, pools) = (bed.store(), few());
    let first = gets(&*store, &pools, &plain("web"), "192.0.2.10");
    gets(&*store, &pools, &plain("db"), "192.0.2.11");
    let stamp = Stamp { uid: "other".to_owned(), now: 1_800_000_000, seed: 7 };
    let again = put_service(&*store, &pools, &plain("web"), &stamp, &(), Run::Real).unwrap();
    assert_eq!(again, (Written::Unchanged, first.clone()));
    // A manifest's own idea of its status is nobody's business.
    let mut forged = plain("forged");
    forged.status = first.status.clone();
    gets(&*store, &pools, &forged, "192.0.2.12");
    let changed = service("web", &json!({ "sessionAffinity": "ClientIP" }), &json!({}));
    gets(&*store, &pools, &changed, "192.0.2.10");
    assert_eq!(taken(&*store), ["192.0.2.10 web", "192.0.2.11 db", "192.0.2.12 forged"]);
    let inside = put(&*store, &pools, &service("web", &json!({ "type": "ClusterIP" }), &json!({}))).unwrap();
    assert_eq!((inside.status, taken(&*store).len()), (None, 2));
    delete(&*store, "db");
    delete(&*store, "forged");
    assert_eq!(taken(&*store), [""; 0]);
    gets(&*store, &pools, &plain("web"), "192.0.2.10");
}

fn pools_are_asked_in_order_and_only_by_those_they_are_for(bed: &dyn Bed) {
    let store = bed.store();
    let pools = pools(vec![
        AddressPool { auto_assign: false, ..pool("kept", "192.0.2.1") },
        pool("last", "192.0.2.2"),
        AddressPool { priority: 2, ..pool("second", "192.0.2.3") },
        AddressPool { priority: 1, avoid_buggy_ips: true, ..pool("first", "192.0.2.255-192.0.3.1") },
        AddressPool { namespaces: ["prod".parse().unwrap()].into(), ..pool("prod", "192.0.2.5") },
        AddressPool {
            service_selectors: vec![[("tier".to_owned(), "front".to_owned())].into()],
            ..pool("front", "192.0.2.6")
        },
    ]);
    gets(&*store, &pools, &plain("a"), "192.0.3.1");
    gets(&*store, &pools, &plain("b"), "192.0.2.3");
    gets(&*store, &pools, &plain("c"), "192.0.2.2");
    waits(&*store, &pools, &plain("d"), "no address is left in pool first, second, last");
    let mut front = plain("e");
    front.metadata.labels = Some([("tier".to_owned(), "front".to_owned())].into());
    gets(&*store, &pools, &front, "192.0.2.6");
    let mut prod = plain("f");
    prod.metadata.namespace = Some("prod".to_owned());
    gets(&*store, &pools, &prod, "192.0.2.5");
    let asks =
        |name: &str, pool: &str| service(name, &json!({}), &json!({ "metallb.io/address-pool": pool }));
    gets(&*store, &pools, &asks("d", "kept"), "192.0.2.1");
    fails(&*store, &pools, &asks("g", "prod"), "pool prod is for other services");
    fails(&*store, &pools, &asks("g", "none"), "there is no such pool");
    // Another pool, another address.
    gets(&*store, &pools, &asks("a", "first"), "192.0.3.1");
    delete(&*store, "b");
    gets(&*store, &pools, &asks("a", "second"), "192.0.2.3");
}

fn a_requested_address_is_given_or_refused_by_name(bed: &dyn Bed) {
    let (store, pools) = (bed.store(), few());
    let asks = |name: &str, ip: &str| service(name, &json!({ "loadBalancerIP": ip }), &json!({}));
    gets(&*store, &pools, &asks("web", "192.0.2.12"), "192.0.2.12");
    for (wanted, expected) in [
        (
            asks("late", "192.0.2.12"),
            "spec.loadBalancerIP: Invalid value: \"192.0.2.12\": provided IP is already allocated: it is that of service default/web",
        ),
        (asks("late", "192.0.2.13"), "it is in no pool of vswitchd's configuration"),
        (asks("late", "192.0.2.012"), "without leading zeros"),
        (asks("late", "fd00::1"), "must be an IPv4 address"),
        (asks("late", "127.0.0.1"), "loopback"),
        (
            service("late", &json!({}), &json!({ "metallb.io/loadBalancerIPs": "192.0.2.12" })),
            "metadata.annotations[metallb.io/loadBalancerIPs]: Invalid value: \"192.0.2.12\"",
        ),
        (
            service("late", &json!({}), &json!({ "vpod.io/load-balancer-ips": "192.0.2.10,192.0.2.11" })),
            "one IPv4 address",
        ),
        (
            service(
                "late",
                &json!({ "loadBalancerIP": "192.0.2.10" }),
                &json!({ "metallb.io/loadBalancerIPs": "192.0.2.11" }),
            ),
            "asks for another one, 192.0.2.11",
        ),
    ] {
        fails(&*store, &pools, &wanted, expected);
        assert_eq!(taken(&*store), ["192.0.2.12 web"], "nothing is left behind");
        assert_eq!(store.get("/vpod/v1/services/default/late").unwrap(), None);
    }
    let own = service("late", &json!({}), &json!({ "vpod.io/load-balancer-ips": "192.0.2.11" }));
    gets(&*store, &pools, &own, "192.0.2.11");
    gets(&*store, &pools, &asks("web", "192.0.2.10"), "192.0.2.10");
    assert_eq!(taken(&*store), ["192.0.2.10 web", "192.0.2.11 late"]);
    let dry = put_service(
        &*store,
        &pools,
        &asks("third", "192.0.2.11"),
        &Stamp { uid: String::new(), now: 0, seed: 0 },
        &(),
        Run::Dry,
    );
    assert!(dry.is_err());
}

fn an_address_is_shared_by_those_who_agree(bed: &dyn Bed) {
    let (store, pools) = (bed.store(), few());
    gets(&*store, &pools, &plain("alone"), "192.0.2.10");
    gets(&*store, &pools, &sharing("a", 80, &json!({})), "192.0.2.11");
    gets(&*store, &pools, &sharing("b", 443, &json!({})), "192.0.2.11");
    // Where they cannot share, they do not.
    gets(&*store, &pools, &sharing("c", 80, &json!({})), "192.0.2.12");
    let asks = |name: &str, port, spec: &Value| {
        let mut spec = spec.clone();
        spec["loadBalancerIP"] = "192.0.2.11".into();
        sharing(name, port, &spec)
    };
    let local = json!({ "externalTrafficPolicy": "Local" });
    for (wanted, expected) in [
        (asks("d", 80, &json!({})), "it is shared with service default/a, which has port 80/TCP there"),
        (asks("d", 81, &local), "either both have externalTrafficPolicy Cluster, or both Local"),
        (
            service("d", &json!({ "loadBalancerIP": "192.0.2.11", "ports": [{ "port": 81 }] }), &json!({})),
            "to share it, both name the same metallb.io/allow-shared-ip",
        ),
    ] {
        fails(&*store, &pools, &wanted, expected);
    }
    // One who changes has to go on agreeing.
    fails(&*store, &pools, &sharing("b", 80, &json!({})), "which has port 80/TCP there");
    let udp = json!({ "loadBalancerIP": "192.0.2.11", "ports": [{ "port": 80, "protocol": "UDP" }] });
    let udp = service("d", &udp, &json!({ "metallb.io/allow-shared-ip": "us" }));
    gets(&*store, &pools, &udp, "192.0.2.11");
    assert_eq!(taken(&*store), ["192.0.2.10 alone", "192.0.2.11 a+b+d", "192.0.2.12 c"]);
    delete(&*store, "a");
    gets(&*store, &pools, &sharing("b", 80, &json!({})), "192.0.2.11");
    for name in ["b", "c", "d"] {
        delete(&*store, name);
    }
    // Local ones of the same pods share as well.
    let front = json!({ "externalTrafficPolicy": "Local", "selector": { "app": "front" } });
    gets(&*store, &pools, &sharing("e", 80, &front), "192.0.2.11");
    gets(&*store, &pools, &sharing("f", 443, &front), "192.0.2.11");
    gets(&*store, &pools, &sharing("g", 25, &local), "192.0.2.12");
}

fn a_service_without_address_says_why_and_gets_one_later(bed: &dyn Bed) {
    let store = bed.store();
    let none = pools(Vec::new());
    let late = waits(&*store, &none, &plain("late"), "no address pool is configured");
    // Only a load balancer that is here can refuse.
    waits(
        &*store,
        &none,
        &service("asks", &json!({ "loadBalancerIP": "192.0.2.10" }), &json!({})),
        "no address pool",
    );
    let pools = pools(vec![pool("one", "192.0.2.10")]);
    gets(&*store, &pools, &plain("early"), "192.0.2.10");
    let waiting = waits(&*store, &pools, &plain("late"), "no address is left in pool one");
    assert_ne!(late.status, waiting.status);
    // Nothing is written as long as nothing changes, whatever the time is.
    let stamp = Stamp { uid: "x".to_owned(), now: 1_900_000_000, seed: 3 };
    let again = put_service(&*store, &pools, &waiting, &stamp, &(), Run::Real).unwrap();
    assert_eq!(again, (Written::Unchanged, waiting.clone()));
    delete(&*store, "early");
    gets(&*store, &pools, &waiting, "192.0.2.10");
    let other = service("other", &json!({ "loadBalancerClass": "example.com/lb" }), &json!({}));
    waits(&*store, &pools, &other, "names another load balancer");
    let ours = service("ours", &json!({ "loadBalancerClass": "vpod.io/l2" }), &json!({}));
    waits(&*store, &pools, &ours, "no address is left");
    assert_eq!(taken(&*store), ["192.0.2.10 late"]);
}

struct Node;

impl Surroundings for Node {
    fn check(&self, _: &Spec) -> Vec<Problem> {
        Vec::new()
    }

    fn owner(&self, ip: Ipv4Addr) -> Option<String> {
        (ip == Ipv4Addr::new(192, 0, 2, 10)).then(|| "an address of a node".to_owned())
    }
}

fn what_is_a_nodes_is_not_given_away(bed: &dyn Bed) {
    let (store, pools) = (bed.store(), few());
    let stamp = Stamp { uid: "uid".to_owned(), now: 0, seed: 0 };
    let put = |service: &Service| put_service(&*store, &pools, service, &stamp, &Node, Run::Real);
    assert_eq!(address(&put(&plain("web")).unwrap().1).as_deref(), Some("192.0.2.11"));
    let asks = service("asks", &json!({ "loadBalancerIP": "192.0.2.10" }), &json!({}));
    let error = put(&asks).unwrap_err().to_string();
    assert!(error.contains("it is an address of a node"), "{error}");
}

fn concurrent_writers_never_get_one_address(bed: &dyn Bed) {
    const WRITERS: u8 = 4;
    const EACH: u8 = 12;
    let pools = pools(vec![pool("many", "192.0.2.0/24")]);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, pools) = (bed.another(), &pools);
            scope.spawn(move || {
                for n in 0..EACH {
                    let name = format!("s{writer}-{n}");
                    assert!(address(&put(&*store, pools, &plain(&name)).unwrap()).is_some());
                    if n % 4 == 3 {
                        delete(&*store, &name);
                    }
                }
            });
        }
    });
    let store = bed.store();
    let taken = taken(&*store);
    assert_eq!(taken.len(), usize::from(WRITERS) * usize::from(EACH) * 3 / 4);
    let mut shown = BTreeSet::new();
    for entry in store.list("/vpod/v1/services/").unwrap().entries {
        let service: Service = serde_json::from_slice(&entry.value).unwrap();
        let name = service.metadata.name.clone().unwrap();
        shown.insert(format!("{} {name}", address(&service).unwrap()));
    }
    assert_eq!(shown, taken.into_iter().collect());
}

fn an_address_outlives_its_pool(bed: &dyn Bed) {
    let store = bed.store();
    gets(&*store, &few(), &plain("web"), "192.0.2.10");
    let changed = service("web", &json!({ "sessionAffinity": "ClientIP" }), &json!({}));
    gets(&*store, &pools(vec![pool("other", "198.51.100.0/24")]), &changed, "192.0.2.10");
    gets(&*store, &pools(Vec::new()), &plain("web"), "192.0.2.10");
    delete(&*store, "web");
    assert_eq!(taken(&*store), [""; 0]);
}
