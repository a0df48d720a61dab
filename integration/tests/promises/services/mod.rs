//! Promises about services. Backends and clients are real programs (`peer.py`) with the kernel's sockets.
//!
//! Where Kubernetes has a conformance test for a promise, the test says which: `sig-network N` is the Nth of the 47 of
//! `[sig-network]` in `test/conformance/testdata/conformance.yaml` of Kubernetes 1.34.

mod affinity;
mod away;
mod conformance;
mod fail_over;
mod first_packet;
mod fragments;
mod host_ports;
mod manifests;
mod many;
mod nodes;
mod operations;
pub(crate) mod outside;
mod own_node;
mod races;
mod reach;
mod readiness;
mod refused;
mod restarts;
mod rolling;
mod source_addresses;
mod stale_udp;
mod watch;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::ChildStdin;

use integration::node::pod_request;
use integration::{Background, Ran, TestNode, TestPod, wait};
use protocol::message::{CreatePod, Items, Kind};
use protocol::object::Document;
use serde_json::Value;

use crate::stream::Place;

const PEER: &str =
    concat!("exec /usr/bin/python3 ", env!("CARGO_MANIFEST_DIR"), "/tests/promises/services/peer.py");

/// Enough to see a choice among a few backends that is not made: one of three is missed with 3·(2/3)⁴⁰ < 10⁻⁶.
const MANY: usize = 40;

/// A pod with a program that says its name to whoever asks.
pub(crate) struct Backend {
    pod: TestPod,
    _server: Background,
}

impl Backend {
    /// Pod `name`, labelled `app=APP`, that serves `ports`, as in `tcp:80 udp:80`.
    #[track_caller]
    pub(crate) fn start(node: &TestNode, name: &str, app: &str, ports: &str) -> Self {
        Self::serving(node.create(&labelled(name, app)), ports)
    }

    #[track_caller]
    fn serving(pod: TestPod, ports: &str) -> Self {
        let server = serve(&pod, ports);
        Self { pod, _server: server }
    }
}

#[track_caller]
fn serve(pod: &TestPod, ports: &str) -> Background {
    let mut server = pod.spawn(&format!("{PEER} serve {} {ports}", pod.name));
    server.wait_for_output("ready\n");
    server
}

/// Pod `name` with label `app=APP`.
pub(crate) fn labelled(name: &str, app: &str) -> CreatePod {
    let mut request = pod_request(name, &[]);
    request.labels.insert("app".to_owned(), app.to_owned());
    request
}

/// Where a service is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    protocol: &'static str,
    address: IpAddr,
    port: u16,
}

pub(crate) const fn tcp(address: IpAddr, port: u16) -> At {
    At { protocol: "tcp", address, port }
}

pub(crate) const fn udp(address: IpAddr, port: u16) -> At {
    At { protocol: "udp", address, port }
}

/// The answers to `count` questions, each by a socket of its own: `NAME CLIENT` or `error NAME`.
#[track_caller]
pub(crate) fn ask(from: Place<'_>, at: At, count: usize) -> Vec<String> {
    let At { protocol, address, port } = at;
    let ran = from.spawn(&format!("{PEER} ask {protocol} {address} {port} {count}")).wait();
    ran.ok().lines().map(str::to_owned).collect()
}

/// Who answered; an error is nobody.
fn names(answers: &[String]) -> BTreeSet<&str> {
    answers.iter().filter_map(|line| line.split(' ').next()).collect()
}

/// Waits until exactly the backends `expected` answer.
#[track_caller]
fn until_answered_by(from: Place<'_>, at: At, expected: &[&str]) {
    let expected: BTreeSet<&str> = expected.iter().copied().collect();
    let what = format!("{at:?} is answered by {expected:?} only");
    wait::until(&what, || (names(&ask(from, at, MANY)) == expected).then_some(()));
}

/// Waits until every question is answered so.
#[track_caller]
fn until_answer(from: Place<'_>, at: At, expected: &str) {
    let what = format!("{at:?} is answered by {expected}");
    wait::until(&what, || ask(from, at, 3).iter().all(|line| line == expected).then_some(()));
}

/// One socket that goes on asking.
struct Talk {
    program: Background,
    input: ChildStdin,
}

impl Talk {
    #[track_caller]
    fn start(from: Place<'_>, at: At, source_port: u16) -> Self {
        let At { protocol, address, port } = at;
        Self::of(from.spawn(&format!("{PEER} talk {protocol} {address} {port} {source_port}")))
    }

    /// A program that was started to talk.
    #[track_caller]
    fn of(mut program: Background) -> Self {
        program.wait_for_output("ready\n");
        let input = program.stdin();
        Self { program, input }
    }

    /// One more question by the same socket.
    #[track_caller]
    fn ask(&mut self) -> String {
        self.input.write_all(b"\n").expect("the program reads its input");
        self.program.wait_for_output("\n").trim().to_owned()
    }

    /// Who answers one more question.
    #[track_caller]
    fn name(&mut self) -> String {
        let answer = self.ask();
        answer.split(' ').next().unwrap_or_default().to_owned()
    }
}

#[track_caller]
pub(crate) fn documents(node: &TestNode, kind: Kind) -> Vec<Document> {
    let only_documents = |items| match items {
        Items::Services(rows) | Items::Endpoints(rows) | Items::EndpointSlices(rows) => rows,
        _ => Vec::new(),
    };
    node.list(kind).into_iter().flat_map(only_documents).collect()
}

/// The object as the daemon has it.
#[track_caller]
pub(crate) fn document(node: &TestNode, kind: Kind, name: &str) -> Option<Value> {
    let found = documents(node, kind).into_iter().find(|document| document.name.as_str() == name)?;
    Some(serde_json::from_str(&found.json).expect("the daemon's JSON is valid"))
}

/// The address of a service of namespace `default`.
#[track_caller]
pub(crate) fn cluster_ip(node: &TestNode, name: &str) -> IpAddr {
    let service =
        document(node, Kind::Services, name).unwrap_or_else(|| panic!("there is no service {name}"));
    let address = service.pointer("/spec/clusterIP").and_then(Value::as_str);
    address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address: {service}"))
}

/// Creates a service with the words of `arguments` after its type, and returns its address.
#[track_caller]
pub(crate) fn create_service(node: &TestNode, name: &str, arguments: &str) -> IpAddr {
    node.vpodctl(&format!("create-service clusterip {name} {arguments}")).ok();
    cluster_ip(node, name)
}

/// The number that the first port of service `name` has on all nodes.
#[track_caller]
fn node_port(node: &TestNode, name: &str) -> u16 {
    let service =
        document(node, Kind::Services, name).unwrap_or_else(|| panic!("there is no service {name}"));
    let number = service.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64);
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or_else(|| panic!("no NodePort: {service}"))
}

/// Ready addresses of a service, with its ports, as in `10.244.0.2:80`.
#[track_caller]
fn endpoints(node: &TestNode, name: &str) -> BTreeSet<String> {
    let object = document(node, Kind::Endpoints, name).unwrap_or_default();
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut all = BTreeSet::new();
    for subset in list(&object, "subsets") {
        for port in list(&subset, "ports") {
            let text =
                |address: &Value| format!("{}:{}", address["ip"].as_str().unwrap_or_default(), port["port"]);
            all.extend(list(&subset, "addresses").iter().map(text));
        }
    }
    all
}

/// Waits until the switch would give a connection of `pod` to a backend: `get endpoints` shows what it is about to.
#[track_caller]
fn until_led_to_a_backend(node: &TestNode, pod: &str, service: &str) {
    wait::until("the service leads to a backend", || {
        let trace = node.vpodctl(&format!("trace {pod} --to service/{service} -o json"));
        let trace: Value = serde_json::from_str(&trace.stdout).ok()?;
        trace["becomes"]["destination"].is_string().then_some(())
    });
}

/// `vpodctl COMMAND -f` with a manifest.
#[track_caller]
pub(crate) fn manifest(node: &TestNode, command: &str, text: &str) -> Ran {
    let mut program = node.vpodctl_spawn(&format!("{command} -f -"));
    program.stdin().write_all(text.as_bytes()).expect("the program reads its input");
    program.wait()
}

#[track_caller]
pub(crate) fn apply(node: &TestNode, text: &str) {
    manifest(node, "apply", text).ok();
}
