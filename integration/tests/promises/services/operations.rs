//! What an operator asks: is it active everywhere, why does a packet go there, what passes.

use integration::{ClusterOptions, TestNode, wait};
use protocol::message::Kind;
use serde_json::Value;

use super::{
    Backend, apply, ask, cluster_ip, create_service, document, manifest, tcp, udp, until_answered_by,
};
use crate::stream::Place;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A service without a selector, and where it leads.
fn service(name: &str, endpoint: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\n\
         endpoints: [{{addresses: [{endpoint}]}}]\nports: [{{port: 80}}]\n"
    )
}

#[test]
fn what_was_waited_for_is_active() {
    let node = TestNode::start();
    let (client, a) = (node.create_pod("client"), Backend::start(&node, "a", "web", "tcp:80"));
    let b = Backend::start(&node, "b", "web", "tcp:80");
    for round in 0..10 {
        let (target, name) = if round % 2 == 0 { (&a, "a") } else { (&b, "b") };
        let applied = manifest(&node, "apply --wait", &service("web", &target.pod.ip.to_string())).ok();
        assert!(applied.contains("is active on 1 node"), "{applied}");
        let answers = ask(Place::Pod(&client), tcp(cluster_ip(&node, "web"), 80), 3);
        assert!(answers.iter().all(|line| line.starts_with(&format!("{name} "))), "{round}: {answers:?}");
    }
    let applied = json(&manifest(&node, "apply -o json", &service("web", &a.pod.ip.to_string())).ok());
    let revision = applied["revision"].as_u64().expect("it has a revision");
    node.vpodctl(&format!("wait --revision {revision}")).ok();
    node.vpodctl("wait service/web --for=active --timeout 10s").ok();
    let late = node.vpodctl(&format!("wait --revision {} --timeout 300ms", revision + 1000));
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    assert!(
        late.stderr.contains("timed out") && late.stderr.contains("the store has come to revision"),
        "{late:?}"
    );
    node.vpodctl("delete-service web").ok();
    node.vpodctl("wait service/web --for=delete --timeout 10s").ok();
}

#[test]
fn what_was_waited_for_is_active_on_all_nodes_and_a_missing_one_is_named() {
    let cluster = ClusterOptions::new(2).on_etcd().etcd_line("lease_seconds = 5").allow_log("etcd").start();
    let a = Backend::start(cluster.node(0), "a", "web", "tcp:80");
    let clients = cluster.create_pods("client");
    cluster.node(0).vpodctl("wait pod/a --for=condition=Ready").ok();
    for round in 0..5 {
        let name = format!("s{round}");
        let applied = manifest(cluster.node(0), "apply --wait", &service(&name, &a.pod.ip.to_string())).ok();
        assert!(applied.contains("is active on 2 nodes"), "{applied}");
        for (number, client) in clients.iter().enumerate() {
            let answers = ask(Place::Pod(client), tcp(cluster_ip(cluster.node(0), &name), 80), 1);
            assert!(answers[0].starts_with("a "), "round {round}, node {number}: {answers:?}");
        }
    }
    cluster.node(1).vpodctl("wait service/s0 --for=active").ok();
}

#[test]
fn a_trace_tells_where_a_connection_will_go() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let backends = ["a", "b"].map(|name| Backend::start(&node, name, "web", "tcp:80 udp:80"));
    let address = create_service(&node, "web", "--tcp 80 --udp 80");
    until_answered_by(Place::Pod(&client), tcp(address, 80), &["a", "b"]);
    let connections = || node.vpodctl("get conntrack --no-headers --service web").ok().lines().count();
    let before = connections();
    let trace = json(&node.vpodctl("trace client --to service/web -o json").ok());
    let ips = backends.each_ref().map(|backend| backend.pod.ip.to_string());
    let becomes = trace["becomes"]["destination"].as_str().unwrap_or_default();
    assert!(ips.iter().any(|ip| ip == becomes), "{trace:#}");
    let steps = trace["steps"].as_array().expect("it has steps");
    let backend = steps.iter().find(|step| step["step"] == "backend").expect("a backend is chosen");
    assert!(backend["reason"].as_str().is_some_and(|why| why.starts_with("random among 2")), "{trace:#}");
    let table = node.vpodctl(&format!("trace client --to {address}:81 --udp")).ok();
    assert!(table.contains("service_port_unknown") && table.contains("port unreachable"), "{table}");
    let echo = node.vpodctl("trace client --to pod/a --icmp").ok();
    assert!(echo.contains("leaves by default/a"), "{echo}");
    assert!(connections() <= before, "nothing is begun by asking");
    let refused = node.vpodctl("trace nobody --to 10.0.0.1:80");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
}

#[test]
fn traffic_is_counted_and_connections_are_found_by_what_is_known_of_them() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let a = Backend::start(&node, "a", "web", "tcp:80 udp:80");
    let address = create_service(&node, "web", "--tcp 80 --udp 80");
    until_answered_by(Place::Pod(&client), udp(address, 80), &["a"]);
    let shown = |arguments: &str| node.vpodctl(&format!("get conntrack --no-headers {arguments}")).ok();
    for matching in ["--service web", "--protocol udp", "--pod client", &format!("--backend {}:80", a.pod.ip)]
    {
        assert!(!shown(matching).is_empty(), "{matching}");
    }
    for other in
        ["--protocol icmp", "--state ESTABLISHED --protocol udp", "--backend 10.0.0.1", "--node-port 1"]
    {
        assert_eq!(shown(other), "", "{other}");
    }
    wait::until("packets are counted", || {
        let rows = json(&node.vpodctl("get traffic -o json").ok());
        let rows = rows["items"].as_array().cloned().unwrap_or_default();
        let of_backend = rows.iter().find(|row| {
            row["protocol"] == 17 && row["backend"]["pod"] == "default/a" && row["counters"]["packetsIn"] != 0
        })?;
        (of_backend["counters"]["packetsOut"] != 0 && of_backend["counters"]["connections"] != 0)
            .then_some(())
    });
    let metrics = node.vpodctl("metrics").ok();
    for name in [
        "vpod_service_receive_packets_total{namespace=\"default\",service=\"web\"",
        "vpod_service_backend_connections_total",
        "kubeproxy_network_programming_duration_seconds_bucket",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    assert!(node.vpodctl("describe service web").ok().contains("Traffic on this node"));
    node.delete_pod(&a.pod);
    let refused =
        || json(&node.vpodctl("get traffic web -o json").ok()).to_string().contains("service_no_endpoints");
    wait::until("refusals are counted", || {
        let _ = ask(Place::Pod(&client), tcp(address, 80), 1);
        refused().then_some(())
    });
    apply(&node, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    assert!(document(&node, Kind::Services, "web").is_some());
}
