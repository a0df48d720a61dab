//! The whole path: a client outside or in a pod, the ingress's load balancer, the ingress in its system pod, and real endpoints on two
//! nodes (`web`, of this crate). Clients are curl, h2load, Debian's python3-websockets and tonic.

mod away;
mod changes;
mod conformance;
mod gateway;
mod reach;
mod refused;
mod rolling;

use std::path::Path;
use std::process::ChildStdin;

use integration::node::pod_request;
use integration::programs::assert_fresh;
use integration::{Background, Cluster, ClusterOptions, Ran, TestNode, binary, wait};
use serde_json::Value;

use super::{ADDRESS, POOL, apply};
use crate::names::ready_system_pod;
use crate::stream::Place;

/// Where the network between the nodes asks from.
const OUTSIDER: &str = "192.0.2.254";
/// Where endpoints serve.
const PORT: u16 = 8080;
const WEBSOCKET: &str = concat!(
    "exec /usr/bin/python3 ",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/promises/ingress/path/websocket.py"
);

/// Two nodes with an ingress each that are reached from the network between them. `more` is of the section `ingress`.
fn cluster(more: &str) -> Cluster {
    reached(options(2, &binary("vpod-ingress"), more))
}

/// One node, for what has nothing to do with others.
fn single() -> Cluster {
    reached(options(1, &binary("vpod-ingress"), ""))
}

fn options(nodes: usize, program: &Path, more: &str) -> ClusterOptions {
    assert_fresh("vpod-ingress");
    let ingress = format!("[ingress]\nenabled = true\nprogram = {program:?}\n{more}");
    ClusterOptions::new(nodes).on_etcd().section(&format!("{POOL}{ingress}")).allow_log("etcd")
}

fn reached(options: ClusterOptions) -> Cluster {
    let cluster = options.start();
    until_reached(&cluster);
    cluster
}

/// Waits until both serve, and the address is answered for.
fn until_reached(cluster: &Cluster) {
    for node in cluster.nodes() {
        node.sh(&format!("ip route replace default via {OUTSIDER}")).ok();
        ready_system_pod(node, "vpod-ingress");
    }
    wait::until("the ingress is reached from outside", || {
        (status(cluster, "http://nobody.example/") == "404").then_some(())
    });
}

/// What curl is told, so that every name leads to the ingress.
fn curl(words: &str, url: &str) -> String {
    curl_at(ADDRESS, words, url)
}

fn curl_at(address: &str, words: &str, url: &str) -> String {
    format!("curl -sS --max-time 20 --connect-to ::{address}: {words} '{url}'")
}

/// Asks from outside.
#[track_caller]
fn ask(cluster: &Cluster, words: &str, url: &str) -> Ran {
    cluster.underlay().sh(&curl(words, url))
}

/// What an endpoint says it was asked, by somebody outside.
#[track_caller]
fn asked(cluster: &Cluster, words: &str, url: &str) -> Value {
    let said = ask(cluster, words, url).ok();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{url} {words}: {error}\n{said}"))
}

/// The status that somebody outside is answered with.
#[track_caller]
fn status(cluster: &Cluster, url: &str) -> String {
    ask(cluster, "-k -o /dev/null -w '%{http_code}'", url).stdout
}

/// Who answers, or else the status.
#[track_caller]
fn answered_by(cluster: &Cluster, words: &str, url: &str) -> String {
    answer_of(&ask(cluster, &format!("-k -w '\\n%{{http_code}}' {words}"), url).stdout)
}

/// Of an answer with its status in the last line.
fn answer_of(said: &str) -> String {
    let (body, status) = said.trim_end().rsplit_once('\n').unwrap_or(("", said));
    let name = || Some(serde_json::from_str::<Value>(body).ok()?["name"].as_str()?.to_owned());
    if status == "200" { name().unwrap_or_else(|| "200 of nobody".to_owned()) } else { status.to_owned() }
}

#[track_caller]
fn until_answered_by(cluster: &Cluster, words: &str, url: &str, expected: &str) {
    let mut last = String::new();
    let since = std::time::Instant::now();
    while since.elapsed() < wait::PATIENCE {
        last = answered_by(cluster, words, url);
        if last == expected {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{url} {words} is answered by {last}, not {expected}");
}

/// A pod with endpoints.
struct Web {
    _server: Background,
}

impl Web {
    /// Pod `name`, labelled `app=APP`, that serves at [`PORT`].
    #[track_caller]
    fn start(node: &TestNode, name: &str, app: &str) -> Self {
        Self::serving(node, name, app, &[name])
    }

    /// Several endpoints in one pod, each with a name of its own, at [`PORT`] and the ports behind it.
    #[track_caller]
    fn serving(node: &TestNode, name: &str, app: &str, names: &[&str]) -> Self {
        let mut request = pod_request(name, &[]);
        request.labels.insert("app".to_owned(), app.to_owned());
        let pod = node.create(&request);
        let pairs: Vec<String> =
            names.iter().zip(PORT..).map(|(name, port)| format!("{name} {port}")).collect();
        let mut server = pod.spawn(&format!("exec {} serve {}", binary("web").display(), pairs.join(" ")));
        server.wait_for_output("ready\n");
        Self { _server: server }
    }
}

/// A service over the pods with label `app=APP`.
fn service(name: &str, app: &str) -> String {
    service_at(name, app, PORT, "")
}

fn service_at(name: &str, app: &str, target: u16, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: {app}}}, ports: [{{name: http, port: 80, targetPort: {target}{more}}}]}}\n"
    )
}

/// Services of these names, each led to an endpoint of its own that has the same name, all in one pod.
#[track_caller]
fn services(node: &TestNode, names: &[&str]) -> Web {
    let web = Web::serving(node, "endpoints", "endpoints", names);
    let all = names.iter().zip(PORT..).map(|(name, port)| service_at(name, "endpoints", port, ""));
    apply(node, &all.collect::<String>());
    web
}

/// One more rule's path.
fn path(path: &str, kind: &str, service: &str) -> String {
    format!(
        "      - path: {path}\n        pathType: {kind}\n        \
         backend: {{service: {{name: {service}, port: {{name: http}}}}}}\n"
    )
}

/// An Ingress with rules of `(host, paths)`; the rest of its spec follows.
fn rules(name: &str, annotations: &str, rules: &[(&str, &[String])], more: &str) -> String {
    let all: String = rules
        .iter()
        .map(|(host, paths)| format!("  - host: {host:?}\n    http:\n      paths:\n{}", paths.concat()))
        .collect();
    let all = if all.is_empty() { all } else { format!("  rules:\n{all}") };
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n{all}{more}"
    )
}

/// Starts a pod of the service `socket` that accepts WebSockets until this is dropped.
#[track_caller]
fn socket_server(node: &TestNode) -> Background {
    let mut request = pod_request("socket", &[]);
    request.labels.insert("app".to_owned(), "socket".to_owned());
    let mut server = node.create(&request).spawn(&format!("{WEBSOCKET} serve {PORT}"));
    server.wait_for_output("ready\n");
    server
}

/// A WebSocket that is held.
struct Talk {
    program: Background,
    input: ChildStdin,
}

impl Talk {
    #[track_caller]
    fn start(cluster: &Cluster, url: &str, port: u16, authority: &str) -> Self {
        let mut program =
            cluster.underlay().spawn(&format!("{WEBSOCKET} talk {url} {ADDRESS} {port} {authority}"));
        program.wait_for_output("ready\n");
        let input = program.stdin();
        Self { program, input }
    }

    #[track_caller]
    fn repeats(&mut self, text: &str) {
        use std::io::Write as _;
        writeln!(self.input, "{text}").expect("the program reads its input");
        assert_eq!(self.program.wait_for_output("\n").trim(), text);
    }
}

/// Clients outside that ask all the time.
struct Load {
    program: Background,
    input: ChildStdin,
}

impl Load {
    #[track_caller]
    fn start(cluster: &Cluster, host: &str, path: &str) -> Self {
        let web = binary("web");
        let mut program =
            cluster.underlay().spawn(&format!("exec {} load {ADDRESS}:80 {host} {path} 4", web.display()));
        program.wait_for_output("ready\n");
        let input = program.stdin();
        Self { program, input }
    }

    /// What became of the requests.
    #[track_caller]
    fn end(self) -> Value {
        drop(self.input);
        let said = self.program.wait().ok();
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Ends it, and asserts that not one request failed.
    #[track_caller]
    fn end_without_failure(self) -> Value {
        let seen = self.end();
        assert!(seen["failed"] == 0 && seen["requests"].as_u64() > Some(10), "{seen:#}");
        seen
    }
}

#[track_caller]
fn asked_by(place: Place<'_>, words: &str, url: &str) -> Value {
    let said = place.spawn(&curl(words, url)).wait().ok();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{url} {words}: {error}\n{said}"))
}
