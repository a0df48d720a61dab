//! An ingress in the test's own process, endpoints to stand behind it, and clients that say exactly what a test wants.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub mod backend;
pub mod client;
pub mod daemon;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::feed::{BackendPort, Changes, FeedChange, RouteChange, ServiceBackends};
use protocol::message::Kind;
use protocol::object::{Document, Timestamp};
use serde_json::{Value, json};
use vpod_ingress::{Ingress, Options, Scheme, Settings};

/// Longer than anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An ingress that ends with the test.
pub struct Bed {
    pub ingress: Arc<Ingress>,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub admin: SocketAddr,
}

pub fn settings() -> Settings {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let options = Options { drain_timeout: Duration::from_secs(20), ..Options::default() };
    Settings {
        http: vec![any],
        https: vec![any],
        metrics: Some(any),
        workers: 2,
        options,
        ..Settings::default()
    }
}

impl Bed {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let ingress = Ingress::start(settings).unwrap();
        let first = |scheme| ingress.addresses(scheme).first().copied().unwrap();
        let (http, https) = (first(Scheme::Http), first(Scheme::Https));
        let admin = ingress.admin_addresses()[0];
        Self { ingress, http, https, admin }
    }

    pub fn apply(&self, changes: Vec<RouteChange>) {
        let changes = changes.into_iter().map(FeedChange::Route).collect();
        self.ingress.apply(Changes { from_scratch: false, changes }, true);
    }

    /// An Ingress `name`, and nothing may be wrong with it.
    pub fn route(&self, name: &str, annotations: Value, spec: Value) {
        self.apply(vec![ingress_object(name, annotations, spec)]);
        assert_eq!(self.ingress.problems(), Vec::<String>::new());
    }

    /// A service with these endpoints at its port 80.
    pub fn service(&self, name: &str, endpoints: &[SocketAddr]) {
        self.apply(vec![backends(name, None, endpoints)]);
    }

    pub fn metric(&self, line: &str) -> f64 {
        let text = client::Raw::connect(self.admin).get("admin", "/metrics").text();
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("{line} is not in {text}"))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.ingress.drain();
    }
}

pub fn backends(name: &str, app_protocol: Option<&str>, endpoints: &[SocketAddr]) -> RouteChange {
    RouteChange::Backends(ServiceBackends {
        namespace: "default".parse().unwrap(),
        name: name.parse().unwrap(),
        ports: vec![BackendPort {
            name: "web".to_owned(),
            number: 80,
            app_protocol: app_protocol.map(str::to_owned),
            endpoints: endpoints.iter().map(|e| (e.ip(), e.port())).collect(),
        }],
    })
}

pub fn object(kind: Kind, name: &str, object: &Value) -> RouteChange {
    RouteChange::Object {
        kind,
        document: Document {
            namespace: Some("default".parse().unwrap()),
            name: name.parse().unwrap(),
            created: Timestamp(1),
            json: object.to_string(),
            ready: 0,
            endpoints: 0,
        },
    }
}

pub fn ingress_object(name: &str, annotations: Value, spec: Value) -> RouteChange {
    ingress_of_class("vpod", name, annotations, spec)
}

pub fn ingress_of_class(class: &str, name: &str, annotations: Value, spec: Value) -> RouteChange {
    let mut spec = spec;
    spec["ingressClassName"] = json!(class);
    object(
        Kind::Ingresses,
        name,
        &json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": spec,
        }),
    )
}

pub fn secret(name: &str, certificate: &str, key: &str) -> RouteChange {
    let data = json!({"tls.crt": certificate, "tls.key": key});
    object(
        Kind::Secrets,
        name,
        &json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": "default"},
            "stringData": data,
        }),
    )
}

/// A rule of an Ingress: a host, and a prefix that leads to a service.
pub fn rule(host: &str, path: &str, service: &str) -> Value {
    json!({"host": host, "http": {"paths": [
        {"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}
    ]}})
}

pub fn rules(rules: &[Value]) -> Value {
    json!({"rules": rules})
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Annotations by their names without prefix.
pub fn annotations(all: &[(&str, &str)]) -> Value {
    all.iter()
        .map(|(name, value)| (format!("{ANNOTATION}/{name}"), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub const ANNOTATION: &str = "nginx.ingress.kubernetes.io";

pub fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
