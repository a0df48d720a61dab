//! `sessionAffinity: ClientIP`.

use std::net::IpAddr;

use integration::{TestNode, wait};

use super::{At, Backend, MANY, apply, ask, cluster_ip, names, tcp, udp, until_answered_by};
use crate::stream::Place;

const BACKENDS: [&str; 3] = ["a", "b", "c"];

fn service(kind: &str, affinity: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  type: {kind}\n  selector: {{app: web}}\n  \
         sessionAffinity: {affinity}\n  \
         ports: [{{name: t, port: 80}}, {{name: u, port: 80, protocol: UDP}}]\n"
    )
}

#[track_caller]
fn until_one_answers(from: Place<'_>, at: At) -> String {
    wait::until("one backend answers all", || {
        let answers = ask(from, at, MANY);
        let names = names(&answers);
        (names.len() == 1 && !names.contains("error")).then(|| names.iter().copied().collect())
    })
}

/// sig-network 39, and 44: None spreads, `ClientIP` sticks, and that can be changed while it is in use.
#[test]
fn sig_network_39_44_affinity_of_a_cluster_ip_is_switched_on_and_off_in_use() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let _backends = BACKENDS.map(|name| Backend::start(&node, name, "web", "tcp:80 udp:80"));
    apply(&node, &service("ClusterIP", "None"));
    let at = tcp(cluster_ip(&node, "web"), 80);
    until_answered_by(from, at, &BACKENDS);
    for _ in 0..2 {
        apply(&node, &service("ClusterIP", "ClientIP"));
        let chosen = until_one_answers(from, at);
        assert_eq!(until_one_answers(from, at), chosen, "it stays with the one");
        apply(&node, &service("ClusterIP", "None"));
        until_answered_by(from, at, &BACKENDS);
    }
}

/// sig-network 38, and 43: the same from pods at the NodePort.
#[test]
fn sig_network_38_43_affinity_of_a_node_port_is_switched_on_and_off_in_use() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let _backends = BACKENDS.map(|name| Backend::start(&node, name, "web", "tcp:80 udp:80"));
    apply(&node, &service("NodePort", "ClientIP"));
    let address: IpAddr = node.address().parse().expect("the node's address is one");
    let at = tcp(address, super::node_port(&node, "web"));
    let chosen = until_one_answers(from, at);
    assert_eq!(until_one_answers(from, at), chosen, "it stays with the one");
    apply(&node, &service("NodePort", "None"));
    until_answered_by(from, at, &BACKENDS);
}

#[test]
fn each_client_has_a_backend_of_its_own_and_gets_another_when_that_goes() {
    let node = TestNode::start();
    let backends = BACKENDS.map(|name| Backend::start(&node, name, "web", "tcp:80 udp:80"));
    apply(&node, &service("ClusterIP", "ClientIP"));
    let at = udp(cluster_ip(&node, "web"), 80);
    let clients: Vec<_> = (0..12).map(|n| node.create_pod(&format!("client{n}"))).collect();
    let chosen: Vec<String> = clients.iter().map(|pod| until_one_answers(Place::Pod(pod), at)).collect();
    // All at one with probability 3⁻¹¹.
    assert!(chosen.iter().any(|name| name != &chosen[0]), "clients are spread: {chosen:?}");
    let gone = backends.iter().find(|backend| backend.pod.name == chosen[0]).expect("a backend answered");
    node.delete_pod(&gone.pod);
    for (pod, before) in clients.iter().zip(&chosen) {
        let now = until_one_answers(Place::Pod(pod), at);
        if before == &chosen[0] {
            assert_ne!(&now, before);
        } else {
            assert_eq!(&now, before, "who has a backend keeps it");
        }
    }
}
