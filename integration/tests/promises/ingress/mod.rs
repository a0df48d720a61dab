//! Promises about what the ingress reads: objects are applied, shown, described and deleted as with kubectl, and told to the ingress.

mod feed;
mod objects;
mod path;

use std::io::Write as _;

use integration::{ClusterOptions, NodeOptions, Ran, TestNode};
use serde_json::Value;

/// The address that the ingress's service gets.
const ADDRESS: &str = "192.0.2.200";
const POOL: &str = "[[load_balancer.pool]]\nname = \"test\"\naddresses = [\"192.0.2.200-192.0.2.203\"]\n";

/// A node with a store of its own, and one whose store is etcd, each in turn.
fn on_both_stores(test: fn(&TestNode)) {
    test(&NodeOptions::default().sections(POOL).start());
    let cluster = ClusterOptions::new(1).on_etcd().section(POOL).start();
    test(cluster.node(0));
}

#[track_caller]
fn manifest(node: &TestNode, command: &str, text: &str) -> Ran {
    let mut program = node.vpodctl_spawn(&format!("{command} -f -"));
    program.stdin().write_all(text.as_bytes()).expect("the program reads its input");
    program.wait()
}

#[track_caller]
fn apply(node: &TestNode, text: &str) -> String {
    manifest(node, "apply", text).ok()
}

#[track_caller]
fn json(node: &TestNode, arguments: &str) -> Value {
    let text = node.vpodctl(&format!("{arguments} -o json")).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{arguments}` is not JSON: {error}\n{text}"))
}

/// The cells of a table's rows, without the last one, which is the age.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let mut cells: Vec<String> =
            line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
        cells.pop();
        cells
    };
    text.lines().map(cells).collect()
}

/// A Secret with a certificate for a host, made by openssl.
fn tls_secret(node: &TestNode, name: &str, host: &str) -> String {
    let dir = node.dir().display();
    let made = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={host} \
         -addext subjectAltName=DNS:{host} -keyout {dir}/{name}.key -out {dir}/{name}.crt"
    );
    node.sh(&made).ok();
    let encoded = |part: &str| node.sh(&format!("base64 -w0 {dir}/{name}.{part}")).ok();
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\ndata:\n  \
         tls.crt: {}\n  tls.key: {}\n",
        encoded("crt"),
        encoded("key")
    )
}

const INGRESS_SERVICE: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {name: vpod-ingress, namespace: kube-system}\n\
                               spec: {type: LoadBalancer, ports: [{name: http, port: 80}, {name: https, port: 443}]}\n";

/// One rule for a host that leads to port 80 of a service.
fn ingress(name: &str, host: &str, service: &str, more: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}}}\nspec:\n  rules:\n  - host: {host}\n    \
         http:\n      paths:\n      - path: /\n        pathType: Prefix\n        \
         backend: {{service: {{name: {service}, port: {{number: 80}}}}}}\n{more}"
    )
}
