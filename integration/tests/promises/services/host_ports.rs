//! Ports of a node that lead to one of its pods: `hostPort` of a manifest, `create-pod --publish`.

use integration::{Cluster, TestNode, TestPod, wait};
use protocol::message::Kind;

use super::outside::{ask_from_outside, cluster, ip};
use super::{At, Backend, MANY, PEER, apply, ask, manifest, names, tcp, udp, until_answer};
use crate::nodes::address;
use crate::stream::Place;

/// The pod of namespace `default` that a manifest or a command made.
fn pod(node: &TestNode, name: &str) -> TestPod {
    TestPod::of(&node.pod(name))
}

fn pod_with_port(name: &str, host: &str, protocol: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: main\n    \
         command: [sleep, '600']\n    ports: [{{containerPort: 80, hostPort: 54323, hostIP: {host}, protocol: {protocol}}}]\n"
    )
}

#[track_caller]
fn until_answered_from_outside(cluster: &Cluster, at: At, expected: &str) {
    wait::until(&format!("{at:?} is answered by {expected} outside"), || {
        ask_from_outside(cluster, at, 2).iter().all(|answer| answer == expected).then_some(())
    });
}

/// "[sig-network] HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol"
#[test]
fn sig_network_20_same_host_port_but_different_host_ip_and_protocol() {
    let cluster = cluster();
    let node = cluster.node(0);
    let own = address(node);
    let host = own.to_string();
    for (name, host, protocol) in
        [("pod1", "127.0.0.1", "TCP"), ("pod2", host.as_str(), "TCP"), ("pod3", host.as_str(), "UDP")]
    {
        apply(node, &pod_with_port(name, host, protocol));
    }
    let _servers = ["pod1", "pod2", "pod3"].map(|name| Backend::serving(pod(node, name), "tcp:80 udp:80"));
    let local = ip("127.0.0.1");
    // As the test does, from the node's own address, and as programs of the node do.
    let from_own = format!("{PEER} ask tcp 127.0.0.1 54323 1 {own}");
    wait::until("pod1 answers at 127.0.0.1", || {
        (node.sh(&from_own).ok().trim() == format!("pod1 {own}")).then_some(())
    });
    let answer = ask(Place::Node(node), tcp(local, 54_323), 1);
    assert_eq!(names(&answer), ["pod1"].into(), "{answer:?}");
    until_answer(Place::Node(node), tcp(own, 54_323), &format!("pod2 {own}"));
    until_answer(Place::Node(node), udp(own, 54_323), &format!("pod3 {own}"));
    until_answered_from_outside(&cluster, tcp(own, 54_323), "pod2 192.0.2.254");
    until_answered_from_outside(&cluster, udp(own, 54_323), "pod3 192.0.2.254");
}

#[test]
fn published_port_is_reached_from_everywhere() {
    let cluster = cluster();
    let clients = cluster.create_pods("client");
    let node = cluster.node(0);
    let own = address(node);
    node.vpodctl("create-pod web -p 8080:80 --publish 8080:80/udp").ok();
    let _web = Backend::serving(pod(node, "web"), "tcp:80 udp:80");
    for at in [tcp(own, 8080), udp(own, 8080)] {
        // Each sees who asked.
        for client in &clients {
            until_answer(Place::Pod(client), at, &format!("web {}", client.ip));
        }
        until_answer(Place::Node(node), at, &format!("web {own}"));
        until_answered_from_outside(&cluster, at, "web 192.0.2.254");
        let other = cluster.node(1);
        until_answer(Place::Node(other), at, &format!("web {}", address(other)));
        // The pod itself, too: it sees its gateway.
        let itself = ask(Place::Pod(&pod(node, "web")), at, 3);
        assert!(itself.iter().all(|answer| answer.ends_with(".1")), "{itself:?}");
    }
    for local in [tcp(ip("127.0.0.1"), 8080), udp(ip("127.0.0.1"), 8080)] {
        assert_eq!(names(&ask(Place::Node(node), local, MANY)), ["web"].into());
    }
    // Not at the other node, and not what is for the node alone.
    until_answer(Place::Pod(&clients[0]), tcp(address(cluster.node(1)), 8080), "error ECONNREFUSED");
    let stand_in = ip("10.96.0.0");
    until_answer(Place::Pod(&clients[0]), tcp(stand_in, 8080), "error ECONNREFUSED");
    let text = node.vpodctl("describe pod web").ok();
    assert!(text.contains("8080 -> 80/TCP, 8080 -> 80/UDP"), "{text}");
}

#[test]
fn host_port_is_one_pods_until_that_is_gone() {
    let cluster = cluster();
    let node = cluster.node(0);
    let own = address(node);
    node.vpodctl("create-pod web -p 8080:80").ok();
    let web = Backend::serving(pod(node, "web"), "tcp:80");
    until_answer(Place::Node(node), tcp(own, 8080), &format!("web {own}"));
    for (arguments, why) in [
        ("-p 8080:81", "pod default/other: host port 8080/TCP is that of pod default/web"),
        (&format!("-p {own}:8080:81"), "is that of pod default/web"),
        ("-p 9090:1 -p 9090:2", "host port 9090/TCP is asked for twice"),
        ("-p 30080:80", "host port 30080/TCP is in services.node_ports 30000-32767"),
        ("-p 61000:80/udp", "host port 61000/UDP is in uplink.source_ports 61000-65535"),
        ("-p 192.0.2.99:8081:80", "is at no address of this node"),
    ] {
        let refused = node.vpodctl(&format!("create-pod other {arguments}"));
        assert!(!refused.succeeded() && refused.stderr.contains(why), "{arguments}: {refused:?}");
    }
    let refused = manifest(node, "apply", &pod_with_port("other", "::1", "TCP"));
    assert!(!refused.succeeded(), "{refused:?}");
    // A program of the node has the port.
    let mut program = node.spawn(&format!("{PEER} serve node tcp:7070"));
    program.wait_for_output("ready\n");
    let refused = node.vpodctl("create-pod other -p 7070:80");
    assert!(refused.stderr.contains("host port 7070/TCP is used by a program of the node"), "{refused:?}");
    // And the other way round.
    let taken = node.sh(&format!("{PEER} serve node tcp:8080"));
    assert!(taken.stderr.contains("Address already in use"), "{taken:?}");
    drop(web);
    node.vpodctl("delete-pod web").ok();
    node.vpodctl("create-pod other -p 8080:80").ok();
    let _other = Backend::serving(pod(node, "other"), "tcp:80");
    until_answer(Place::Node(node), tcp(own, 8080), &format!("other {own}"));
    assert_eq!(node.list(Kind::Services).len(), 0, "host ports are no objects");
}

#[test]
fn host_ports_survive_a_restart() {
    let mut cluster = cluster();
    let own = address(cluster.node(0));
    cluster.node(0).vpodctl("create-pod web -p 8080:80").ok();
    let _web = Backend::serving(pod(cluster.node(0), "web"), "tcp:80");
    cluster.node_mut(0).stop_daemon();
    cluster.node_mut(0).start_daemon();
    until_answer(Place::Node(cluster.node(0)), tcp(own, 8080), &format!("web {own}"));
    until_answered_from_outside(&cluster, tcp(own, 8080), "web 192.0.2.254");
    let taken = cluster.node(0).sh(&format!("{PEER} serve node tcp:8080"));
    assert!(taken.stderr.contains("Address already in use"), "{taken:?}");
}
