//! Services are written together with what is allocated to them, on either store.

use std::collections::BTreeSet;
use std::thread;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use store::cluster::{ClusterStore, Txn};
use store::services::allocate::{CLUSTER_IPS, ClusterIps, NODE_PORTS, NodePorts};
use store::services::write::{Pools, Run, Stamp, WriteError, Written, delete_service, put_service};
use store::services::{AddressPools, ObjectRef, Spec};

use crate::bed::Bed;
use crate::on_both_stores;

on_both_stores! {
    a_service_keeps_what_it_was_given
    what_is_asked_for_is_given_or_refused_by_name
    types_change_and_give_back_what_they_do_not_need
    concurrent_writers_never_share_an_address
    a_full_range_says_so_and_the_last_address_is_found
    a_dry_run_changes_nothing
    an_outdated_manifest_is_refused
}

fn pools() -> Pools {
    Pools {
        cluster_ips: ClusterIps {
            cidr: "10.96.0.0/24".parse().unwrap(),
            dns: Some("10.96.0.10".parse().unwrap()),
        },
        node_ports: NodePorts::default(),
        load_balancer: AddressPools::default(),
    }
}

fn stamp(seed: u64) -> Stamp {
    Stamp { uid: format!("uid-{seed}"), now: 1_700_000_000, seed }
}

fn service(name: &str, spec: &Value) -> Service {
    let mut whole = json!({ "selector": { "app": "web" }, "ports": [{ "port": 80 }] });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(json!({ "metadata": { "name": name }, "spec": whole })).unwrap()
}

fn apply(store: &dyn ClusterStore, service: &Service, seed: u64) -> Result<(Written, Service), WriteError> {
    put_service(store, &pools(), service, &stamp(seed), &(), Run::Real)
}

fn name(text: &str) -> ObjectRef {
    ObjectRef::parse(text).unwrap()
}

fn allocated(store: &dyn ClusterStore) -> Vec<String> {
    let keys = [CLUSTER_IPS, NODE_PORTS].map(|prefix| store.list(prefix).unwrap().entries);
    keys.into_iter().flatten().map(|entry| entry.key.rsplit_once('/').unwrap().1.to_owned()).collect()
}

fn a_service_keeps_what_it_was_given(bed: &dyn Bed) {
    let store = bed.store();
    let wanted = service("web", &json!({ "type": "NodePort" }));
    let (written, first) = apply(&*store, &wanted, 1).unwrap();
    assert_eq!(written, Written::Created);
    let given = Spec::check(&first).unwrap();
    assert!(given.cluster_ip.is_some() && given.ports[0].node_port.is_some());
    assert_eq!(allocated(&*store).len(), 2);
    assert_eq!(apply(&*store, &wanted, 2).unwrap(), (Written::Unchanged, first.clone()));
    assert_eq!(apply(&*store, &first, 2).unwrap().0, Written::Unchanged, "as it was read");
    let more = service("web", &json!({ "type": "NodePort", "sessionAffinity": "ClientIP" }));
    let (written, second) = apply(&*store, &more, 3).unwrap();
    assert_eq!(written, Written::Configured);
    let kept = Spec::check(&second).unwrap();
    assert_eq!((kept.cluster_ip, kept.ports), (given.cluster_ip, given.ports));
    assert_eq!(second.metadata.uid.as_deref(), Some("uid-1"));
    delete_service(&*store, &name("default/web"), Run::Real).unwrap();
    assert_eq!(allocated(&*store), [""; 0]);
    assert!(matches!(
        delete_service(&*store, &name("default/web"), Run::Real),
        Err(WriteError::NotFound { .. })
    ));
}

fn what_is_asked_for_is_given_or_refused_by_name(bed: &dyn Bed) {
    let store = bed.store();
    let both = json!({ "type": "NodePort", "clusterIP": "10.96.0.7", "ports": [
        { "name": "t", "port": 53, "nodePort": 30053 },
        { "name": "u", "port": 53, "nodePort": 30053, "protocol": "UDP" },
    ] });
    apply(&*store, &service("first", &both), 1).unwrap();
    assert_eq!(allocated(&*store), ["10.96.0.7", "tcp-30053", "udp-30053"]);
    for (spec, expected) in [
        (
            json!({ "clusterIP": "10.96.0.7" }),
            "spec.clusterIP: Invalid value: \"10.96.0.7\": provided value is already allocated to service default/first",
        ),
        (json!({ "clusterIP": "10.97.0.7" }), "outside of 10.96.0.0/24"),
        (json!({ "clusterIP": "10.96.0.10" }), "name server"),
        (json!({ "clusterIP": "10.96.0.0" }), "first or the last"),
        (
            json!({ "type": "NodePort", "ports": [{ "port": 1, "nodePort": 30053 }] }),
            "spec.ports[0].nodePort: Invalid value: \"30053\": provided value is already allocated to service default/first",
        ),
        (json!({ "type": "NodePort", "ports": [{ "port": 1, "nodePort": 29999 }] }), "30000-32767"),
    ] {
        let error = apply(&*store, &service("second", &spec), 2).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(allocated(&*store).len(), 3, "nothing is left behind");
    }
    let moved = service("first", &json!({ "type": "NodePort", "clusterIP": "10.96.0.8" }));
    let error = apply(&*store, &moved, 3).unwrap_err().to_string();
    assert!(error.contains("may not change once set"), "{error}");
}

fn types_change_and_give_back_what_they_do_not_need(bed: &dyn Bed) {
    let store = bed.store();
    let named = service("web", &json!({ "type": "ExternalName", "externalName": "db.example.com" }));
    let step = |object: &Service, taken: usize| {
        let (_, written) = apply(&*store, object, 5).unwrap();
        assert_eq!(allocated(&*store).len(), taken, "{written:?}");
        written
    };
    step(&named, 0);
    step(&service("web", &json!({ "type": "ClusterIP" })), 1);
    let with_port = step(&service("web", &json!({ "type": "NodePort" })), 2);
    // As somebody edits what was read.
    let mut edited = with_port.clone();
    edited.spec.as_mut().unwrap().type_ = Some("ClusterIP".to_owned());
    step(&edited, 1);
    let balanced = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" });
    step(&service("web", &balanced), 3);
    let without = json!({ "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false });
    step(&service("web", &without), 1);
    step(&named, 0);
    let mut back = step(&service("web", &json!({ "type": "NodePort" })), 2);
    back.spec.as_mut().unwrap().type_ = Some("ExternalName".to_owned());
    back.spec.as_mut().unwrap().external_name = Some("x.y".to_owned());
    step(&back, 0);
    step(&service("none", &json!({ "clusterIP": "None" })), 0);
}

/// INVARIANT of the whole: an allocation's key names the one service that has it.
fn assert_consistent(store: &dyn ClusterStore) -> usize {
    let mut expected = BTreeSet::new();
    for entry in store.list("/vpod/v1/services/").unwrap().entries {
        let spec = Spec::check(&serde_json::from_slice(&entry.value).unwrap()).unwrap();
        assert!(expected.insert((spec.cluster_ip.unwrap().to_string(), spec.object.to_string())));
        for port in spec.ports {
            let key = format!("tcp-{}", port.node_port.unwrap());
            assert!(expected.insert((key, spec.object.to_string())));
        }
    }
    let mut found = BTreeSet::new();
    for prefix in [CLUSTER_IPS, NODE_PORTS] {
        for entry in store.list(prefix).unwrap().entries {
            let owner: String = serde_json::from_slice(&entry.value).unwrap();
            found.insert((entry.key[prefix.len()..].to_owned(), owner));
        }
    }
    assert_eq!(found, expected);
    found.len()
}

fn concurrent_writers_never_share_an_address(bed: &dyn Bed) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 25;
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = bed.another();
            scope.spawn(move || {
                for n in 0..EACH {
                    // The same seeds for all, so that they want the same addresses.
                    let object = service(&format!("s{writer}-{n}"), &json!({ "type": "NodePort" }));
                    apply(&*store, &object, n % 3).unwrap();
                    if n % 5 == 4 {
                        delete_service(&*store, &name(&format!("default/s{writer}-{}", n - 1)), Run::Real)
                            .unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(assert_consistent(&*bed.store()), 2 * 4 * 20);
}

fn a_full_range_says_so_and_the_last_address_is_found(bed: &dyn Bed) {
    let store = bed.store();
    let taken = (1..=254).filter(|n| *n != 77 && *n != 10);
    for chunk in taken.collect::<Vec<_>>().chunks(100) {
        let put = |txn: Txn, n: &i32| txn.put(&format!("{CLUSTER_IPS}10.96.0.{n}"), b"\"x/y\"");
        store.commit(&chunk.iter().fold(Txn::new(), put)).unwrap();
    }
    let (_, last) = apply(&*store, &service("last", &json!({})), 1).unwrap();
    assert_eq!(last.spec.unwrap().cluster_ip.as_deref(), Some("10.96.0.77"));
    let error = apply(&*store, &service("late", &json!({})), 1).unwrap_err();
    assert!(matches!(error, WriteError::Exhausted { size: 254, .. }), "{error}");
}

fn a_dry_run_changes_nothing(bed: &dyn Bed) {
    let store = bed.store();
    let try_out = |object: &Service| put_service(&*store, &pools(), object, &stamp(1), &(), Run::Dry);
    let fixed = service("web", &json!({ "clusterIP": "10.96.0.9" }));
    assert_eq!(try_out(&fixed).unwrap().0, Written::Created);
    assert_eq!(store.list("/vpod/").unwrap().entries, []);
    apply(&*store, &fixed, 1).unwrap();
    assert_eq!(try_out(&fixed).unwrap().0, Written::Unchanged);
    assert!(try_out(&service("other", &json!({ "clusterIP": "10.96.0.9" }))).is_err());
    delete_service(&*store, &name("default/web"), Run::Dry).unwrap();
    assert_eq!(allocated(&*store), ["10.96.0.9"]);
}

fn an_outdated_manifest_is_refused(bed: &dyn Bed) {
    let store = bed.store();
    apply(&*store, &service("web", &json!({})), 1).unwrap();
    let revision = store.get("/vpod/v1/services/default/web").unwrap().unwrap().revision;
    let mut object = service("web", &json!({ "sessionAffinity": "ClientIP" }));
    object.metadata.resource_version = Some(revision.to_string());
    assert_eq!(apply(&*store, &object, 1).unwrap().0, Written::Configured);
    object.spec.as_mut().unwrap().session_affinity = None;
    let error = apply(&*store, &object, 1).unwrap_err();
    assert!(error.to_string().contains("the object has been modified"), "{error}");
}
