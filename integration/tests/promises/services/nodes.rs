//! Services of several nodes that share a store.

use integration::{Cluster, ClusterOptions, wait};

use super::{
    Backend, Talk, cluster_ip, create_service, endpoints, tcp, udp, until_answer, until_answered_by,
};
use crate::stream::Place;

fn cluster() -> Cluster {
    // A short lease, so that a node that is gone is gone soon.
    ClusterOptions::new(2).on_etcd().etcd_line("lease_seconds = 5").allow_log("etcd").start()
}

/// Pod `a` on node 0 and `b` on node 1.
fn backends(cluster: &Cluster, ports: &str) -> [Backend; 2] {
    [(0, "a"), (1, "b")].map(|(number, name)| Backend::start(cluster.node(number), name, "web", ports))
}

/// Also sig-network 24 and 26 by way of a service: both backends from the pods of both nodes, and from the nodes themselves.
#[test]
fn a_service_created_on_one_node_is_reached_from_everywhere() {
    let cluster = cluster();
    let _backends = backends(&cluster, "tcp:80 udp:80");
    let clients = cluster.create_pods("client");
    let service = create_service(cluster.node(0), "web", "--tcp 80 --udp 80");
    for (number, client) in clients.iter().enumerate() {
        for at in [tcp(service, 80), udp(service, 80)] {
            until_answered_by(Place::Pod(client), at, &["a", "b"]);
            until_answered_by(Place::Node(cluster.node(number)), at, &["a", "b"]);
            let answers = super::ask(Place::Pod(client), at, super::MANY);
            let seen = format!(" {}", client.ip);
            assert!(answers.iter().all(|line| line.ends_with(&seen)), "pods see the client: {answers:?}");
        }
        assert_eq!(cluster_ip(cluster.node(number), "web"), service, "it is the same everywhere");
        assert_eq!(endpoints(cluster.node(number), "web").len(), 2);
    }
    // It goes everywhere as well.
    cluster.node(1).vpodctl("delete-service web").ok();
    for client in &clients {
        until_answer(Place::Pod(client), tcp(service, 80), "error ECONNREFUSED");
    }
}

#[test]
fn no_two_services_of_different_nodes_get_one_address() {
    let cluster = cluster();
    let made = |number: usize| {
        let node = cluster.node(number);
        (0..10).map(|n| create_service(node, &format!("web{number}-{n}"), "--tcp 80")).collect::<Vec<_>>()
    };
    let (mut all, others) = std::thread::scope(|scope| {
        let other = scope.spawn(|| made(1));
        (made(0), other.join().expect("services can be created"))
    });
    all.extend(others);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20, "{all:?}");
    // One name is one service.
    cluster.node(0).vpodctl("create-service clusterip same --tcp 80").ok();
    wait::until("the other node knows", || {
        super::document(cluster.node(1), protocol::message::Kind::Services, "same")
    });
    assert!(cluster.node(1).vpodctl("create-service clusterip same --tcp 80").fails(1).contains("same"));
}

/// Its lease has to end first, so that a node that was only cut off for a moment keeps its endpoints.
#[test]
fn a_dead_nodes_pods_leave_the_endpoints_and_nobody_else_is_touched() {
    let mut cluster = cluster();
    let _backends = backends(&cluster, "tcp:80 udp:80");
    let client = cluster.node(0).create_pod("client");
    let from = Place::Pod(&client);
    let service = create_service(cluster.node(0), "web", "--tcp 80 --udp 80");
    until_answered_by(from, tcp(service, 80), &["a", "b"]);
    let mut talks = Vec::new();
    while talks.len() < 3 {
        let mut talk = Talk::start(from, tcp(service, 80), 0);
        if talk.name() == "a" {
            talks.push(talk);
        }
    }
    cluster.crash(1);
    assert_eq!(endpoints(cluster.node(0), "web").len(), 2, "not before its lease has ended");
    wait::until_within(3 * wait::PATIENCE, "its pods are no endpoints", || {
        (endpoints(cluster.node(0), "web").len() == 1).then_some(())
    });
    for at in [tcp(service, 80), udp(service, 80)] {
        until_answered_by(from, at, &["a"]);
    }
    for talk in &mut talks {
        assert_eq!(talk.name(), "a");
    }
    cluster.boot(1);
}

#[test]
fn services_go_on_while_the_store_is_away() {
    let mut cluster = cluster();
    let backends = backends(&cluster, "tcp:80");
    let clients = cluster.create_pods("client");
    let at = tcp(create_service(cluster.node(0), "web", "--tcp 80"), 80);
    for client in &clients {
        until_answered_by(Place::Pod(client), at, &["a", "b"]);
    }
    cluster.etcd().kill();
    for client in &clients {
        until_answered_by(Place::Pod(client), at, &["a", "b"]);
    }
    // A node's own pods are known to it without the store.
    cluster.node(0).delete_pod(&backends[0].pod);
    until_answered_by(Place::Pod(&clients[0]), at, &["b"]);
    cluster.etcd().start_again();
    until_answered_by(Place::Pod(&clients[1]), at, &["b"]);
}
