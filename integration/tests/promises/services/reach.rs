//! A service leads to its pods, whatever the protocol, and wherever on the node the client is.

use integration::{TestNode, wait};

use super::{
    Backend, MANY, apply, ask, cluster_ip, create_service, endpoints, names, tcp, udp, until_answer,
    until_answered_by,
};
use crate::stream::Place;

#[test]
fn sig_network_46_tcp_and_udp_share_a_number_and_one_goes_without_the_other() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let _backend = Backend::start(&node, "a", "web", "tcp:80 udp:80");
    let service = |ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\n\
             spec:\n  selector: {{app: web}}\n  ports: [{ports}]\n"
        )
    };
    let only_tcp = "{name: t, protocol: TCP, port: 80}";
    let only_udp = "{name: u, protocol: UDP, port: 80}";
    apply(&node, &service(&[only_tcp, only_udp].join(", ")));
    let address = cluster_ip(&node, "web");
    let (tcp, udp) = (tcp(address, 80), udp(address, 80));
    let answer = format!("a {}", client.ip);
    until_answer(from, tcp, &answer);
    until_answer(from, udp, &answer);
    apply(&node, &service(only_udp));
    until_answer(from, tcp, "error ECONNREFUSED");
    until_answer(from, udp, &answer);
    apply(&node, &service(only_tcp));
    until_answer(from, udp, "error ECONNREFUSED");
    until_answer(from, tcp, &answer);
    assert_eq!(cluster_ip(&node, "web"), address, "the address stays");
}

#[test]
fn sig_network_47_ports_of_one_service_lead_to_their_own_ports_of_the_pods() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let _a = Backend::start(&node, "a", "web", "tcp:8080 tcp:9090 udp:5353");
    let address = create_service(&node, "web", "--tcp 80:8080 --tcp 9090 --udp 53:5353");
    let answer = format!("a {}", client.ip);
    for at in [tcp(address, 80), tcp(address, 9090), udp(address, 53)] {
        until_answer(from, at, &answer);
    }
    for at in [tcp(address, 8080), udp(address, 80), tcp(address, 53)] {
        assert_eq!(ask(from, at, 1), ["error ECONNREFUSED"], "{at:?} is no port of the service");
    }
}

#[test]
fn sig_network_45_endpoints_and_traffic_follow_pods_that_come_and_go() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let address = create_service(&node, "web", "--tcp 80 --udp 80");
    assert!(endpoints(&node, "web").is_empty());
    let a = Backend::start(&node, "a", "web", "tcp:80 udp:80");
    until_answered_by(from, tcp(address, 80), &["a"]);
    let b = Backend::start(&node, "b", "web", "tcp:80 udp:80");
    let _other = Backend::start(&node, "other", "shop", "tcp:80 udp:80");
    for at in [tcp(address, 80), udp(address, 80)] {
        until_answered_by(from, at, &["a", "b"]);
    }
    let expected = [&a, &b].map(|backend| format!("{}:80", backend.pod.ip));
    assert_eq!(endpoints(&node, "web").into_iter().collect::<Vec<_>>(), expected);
    node.delete_pod(&a.pod);
    assert_eq!(names(&ask(from, tcp(address, 80), MANY)).into_iter().collect::<Vec<_>>(), ["b"], "at once");
    assert_eq!(names(&ask(from, udp(address, 80), MANY)).into_iter().collect::<Vec<_>>(), ["b"], "at once");
    node.delete_pod(&b.pod);
    until_answer(from, tcp(address, 80), "error ECONNREFUSED");
    wait::until("the endpoints are gone", || endpoints(&node, "web").is_empty().then_some(()));
}

#[test]
fn all_backends_are_used_and_see_the_clients_address() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let _backends = ["a", "b", "c"].map(|name| Backend::start(&node, name, "web", "tcp:80 udp:80"));
    let address = create_service(&node, "web", "--tcp 80 --udp 80");
    for at in [tcp(address, 80), udp(address, 80)] {
        until_answered_by(Place::Pod(&client), at, &["a", "b", "c"]);
        let seen = client.ip.to_string();
        let answers = ask(Place::Pod(&client), at, MANY);
        assert!(answers.iter().all(|line| line.split(' ').nth(1) == Some(&seen)), "{answers:?}");
    }
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let node = TestNode::start();
    let alone = Backend::start(&node, "a", "web", "tcp:80 udp:80");
    let address = create_service(&node, "web", "--tcp 80 --udp 80");
    let gateway = node.status().node.gateway;
    for at in [tcp(address, 80), udp(address, 80)] {
        until_answer(Place::Pod(&alone.pod), at, &format!("a {gateway}"));
    }
    // To others it goes as itself.
    let _other = Backend::start(&node, "b", "web", "tcp:80 udp:80");
    until_answered_by(Place::Pod(&alone.pod), tcp(address, 80), &["a", "b"]);
    let answers = ask(Place::Pod(&alone.pod), tcp(address, 80), MANY);
    let expected = [format!("a {gateway}"), format!("b {}", alone.pod.ip)];
    assert!(answers.iter().all(|answer| expected.contains(answer)), "{answers:?}");
}

#[test]
fn the_node_reaches_services() {
    let node = TestNode::start();
    let _backends = ["a", "b"].map(|name| Backend::start(&node, name, "web", "tcp:80 udp:80"));
    let address = create_service(&node, "web", "--tcp 80 --udp 80");
    for at in [tcp(address, 80), udp(address, 80)] {
        until_answered_by(Place::Node(&node), at, &["a", "b"]);
    }
}

#[test]
fn node_ports_are_reached_from_pods_and_forgotten_with_their_service() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let _backends = ["a", "b"].map(|name| Backend::start(&node, name, "web", "tcp:80"));
    node.vpodctl("create-service nodeport web --tcp 80").ok();
    let address = node.address().parse().expect("the node's address is one");
    let at = tcp(address, super::node_port(&node, "web"));
    until_answered_by(from, at, &["a", "b"]);
    until_answered_by(from, tcp(cluster_ip(&node, "web"), 80), &["a", "b"]);
    node.vpodctl("delete-service web").ok();
    until_answer(from, at, "error ECONNREFUSED");
}
