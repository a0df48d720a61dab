//! Objects in, services out: by example, against a naive reference, and cut into messages.

mod check;
mod derive;
mod host_ports;
mod messages;
mod model;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use protocol::link::Scheduler;
use serde_json::{Value, json};

use super::*;

fn name(text: &str) -> ObjectRef {
    ObjectRef::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A Service `default/web` of one TCP port 80 with what `spec` says instead.
fn service(spec: &Value) -> Service {
    let mut whole =
        json!({ "selector": { "app": "web" }, "ports": [{ "port": 80 }], "clusterIP": "10.96.7.7" });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    whole.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let object = json!({ "metadata": { "name": "web", "namespace": "default" }, "spec": whole });
    serde_json::from_value(object).unwrap()
}

fn spec(of: &Value) -> Spec {
    Spec::check(&service(of)).unwrap()
}

fn slice(object: &Value) -> EndpointSlice {
    let mut whole = json!({
        "metadata": { "name": "by-hand", "namespace": "default", "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "ports": [{ "name": "", "port": 8080 }],
        "endpoints": [{ "addresses": ["192.0.2.80"] }],
    });
    for (key, value) in object.as_object().unwrap() {
        whole[key] = value.clone();
    }
    serde_json::from_value(whole).unwrap()
}

fn pod(text: &str, address: &str) -> PodFacts {
    PodFacts {
        host_ports: Vec::new(),
        object: name(text),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        addresses: vec![ip(address)],
        node: "a".to_owned(),
        zone: None,
        ready: true,
        terminating: false,
        ended: false,
        ports: Vec::new(),
        weight: 1,
        hostname: None,
        subdomain: None,
    }
}

fn settings() -> Settings {
    Settings {
        place: Place { node: "a".to_owned(), zone: Some("z1".to_owned()) },
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        external_ips: vec!["203.0.113.0/24".parse().unwrap()],
        scheduler: Scheduler::Random,
    }
}
