//! Tests of the whole: table by table, and against a slow reference.

mod gateway_api;
mod ingress_conformance;
mod model;
mod objects;

use std::net::IpAddr;

use protocol::message::Kind;
use protocol::object::{Document, Timestamp};
use serde_json::{Value, json};

use crate::{Decision, Matched, Objects, Report, RequestView, Router, ServiceState, Target};

/// Puts an object that was created at a time.
#[track_caller]
fn put(objects: &mut Objects, kind: Kind, created: u64, value: &Value) {
    let document = document(created, value);
    objects.put(kind, &document).unwrap_or_else(|error| panic!("{error}: {value}"));
}

fn document(created: u64, value: &Value) -> Document {
    let text = |key: &str| value["metadata"][key].as_str();
    Document {
        namespace: text("namespace").map(|namespace| namespace.parse().unwrap()),
        name: text("name").unwrap().parse().unwrap(),
        created: Timestamp(created),
        json: value.to_string(),
        ready: 0,
        endpoints: 0,
    }
}

fn built(objects: &Objects) -> (Router, Report) {
    objects.build(&|_| ServiceState::Known(1))
}

/// `networking.k8s.io/v1`.
fn ingress(name: &str, annotations: &Value, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "namespace": "default", "annotations": annotations }, "spec": spec,
    })
}

/// One path of a rule.
fn path(path: &str, kind: &str, service: &str) -> Value {
    json!({ "path": path, "pathType": kind, "backend": backend(service) })
}

fn backend(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 8080 } } })
}

fn rule(host: &str, paths: &[Value]) -> Value {
    json!({ "host": host, "http": { "paths": paths } })
}

/// A GET by plain HTTP.
struct Ask<'a> {
    view: RequestView<'a>,
}

static NO_FIELDS: Vec<(String, String)> = Vec::new();

fn ask<'a>(host: &'a str, path: &'a str) -> Ask<'a> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    Ask {
        view: RequestView {
            https: false,
            port: 80,
            server_name: None,
            host,
            path,
            query,
            method: "GET",
            fields: &NO_FIELDS,
            client: IpAddr::from([192, 0, 2, 1]),
        },
    }
}

impl<'a> Ask<'a> {
    fn tls(mut self, name: &'a str) -> Self {
        (self.view.https, self.view.port, self.view.server_name) = (true, 443, Some(name));
        self
    }

    fn port(mut self, port: u16) -> Self {
        self.view.port = port;
        self
    }

    fn method(mut self, method: &'a str) -> Self {
        self.view.method = method;
        self
    }

    fn fields(mut self, fields: &'a Vec<(String, String)>) -> Self {
        self.view.fields = fields;
        self
    }
}

fn fields(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The rule for a request.
#[track_caller]
fn matched<'r>(router: &'r Router, ask: &Ask<'_>) -> Matched<'r> {
    match router.route(&ask.view) {
        Decision::Rule(matched) => matched,
        other => panic!("{other:?} for {:?}", ask.view),
    }
}

/// The service that serves a request, `404`, `421`, or `500`.
fn served(router: &Router, ask: &Ask<'_>) -> String {
    match router.route(&ask.view) {
        Decision::NotFound => "404".to_owned(),
        Decision::Misdirected => "421".to_owned(),
        Decision::Rule(matched) => match matched.backend(&ask.view, 0).map(|backend| &backend.target) {
            Some(Target::Service(port)) => port.service.name.to_string(),
            Some(Target::Invalid(_)) | None => "500".to_owned(),
        },
    }
}

/// A certificate for hosts with its key, as PEM.
fn pem(hosts: &[&str]) -> (String, String) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(hosts).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// `v1`, of type `kubernetes.io/tls`.
fn secret(name: &str, chain: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": name, "namespace": "default" },
        "stringData": { "tls.crt": chain, "tls.key": key },
    })
}
