//! Connections and endpoints that change under them.

use integration::{TestNode, wait};

use super::outside::{BALANCER, balanced, cluster, ip, until_answered_outside};
use super::{Backend, PEER, Talk, apply, create_service, endpoints, node_port, tcp, udp, until_answered_by};
use crate::nodes::address;
use crate::stream::Place;

/// As many as one would need for the endpoint's removal to matter to several of them.
const CLIENTS: u16 = 10;

/// The complaint: a conntrack entry that outlives its pod sends a client's datagrams nowhere for as long as it goes on sending.
#[test]
fn udp_from_one_source_port_follows_at_the_very_next_datagram() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let a = Backend::start(&node, "a", "dns", "udp:53");
    let b = Backend::start(&node, "b", "dns", "udp:53");
    let at = udp(create_service(&node, "dns", "--udp 53"), 53);
    until_answered_by(Place::Pod(&client), at, &["a", "b"]);
    let mut clients: Vec<Talk> =
        (0..CLIENTS).map(|number| Talk::start(Place::Pod(&client), at, 12_345 + number)).collect();
    // A source port is a connection: it stays with its backend while there is one.
    let before: Vec<String> = clients.iter_mut().map(Talk::name).collect();
    let again: Vec<String> = clients.iter_mut().map(Talk::name).collect();
    assert_eq!(before, again, "an endpoint that stays keeps its clients");
    assert!(before.iter().all(|name| name == "a" || name == "b"), "{before:?}");
    node.delete_pod(&a.pod);
    for talk in &mut clients {
        assert_eq!(talk.name(), "b", "the first datagram after the deletion");
    }
    // And back to a pod that comes later, when there is no other.
    let _c = Backend::start(&node, "c", "dns", "udp:53");
    until_answered_by(Place::Pod(&client), at, &["b", "c"]);
    node.delete_pod(&b.pod);
    for talk in &mut clients {
        assert_eq!(talk.name(), "c", "the first datagram after the deletion");
    }
}

/// The same where no endpoint is left for a while: clients are told, and served as soon as there is one.
#[test]
fn udp_from_one_source_port_is_refused_while_there_is_no_endpoint_and_served_again() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let a = Backend::start(&node, "a", "dns", "udp:53");
    let at = udp(create_service(&node, "dns", "--udp 53"), 53);
    until_answered_by(Place::Pod(&client), at, &["a"]);
    let mut talk = Talk::start(Place::Pod(&client), at, 12_345);
    assert_eq!(talk.name(), "a");
    node.delete_pod(&a.pod);
    assert_eq!(talk.ask(), "error ECONNREFUSED");
    let _b = Backend::start(&node, "b", "dns", "udp:53");
    wait::until("the same source port is served again", || (talk.name() == "b").then_some(()));
}

/// "[sig-network] Conntrack should be able to preserve UDP traffic when server pod cycles for a …": NodePorts and load balancers, with the pod on
/// the node that is asked and on another one.
#[test]
fn udp_from_outside_follows_a_pod_that_cycles_between_nodes() {
    let cluster = cluster();
    let mut backend = Backend::start(cluster.node(0), "v0", "web", "udp:80");
    apply(cluster.node(0), &balanced("Cluster"));
    let port = node_port(cluster.node(0), "web");
    let places =
        [udp(address(cluster.node(0)), port), udp(address(cluster.node(1)), port), udp(ip(BALANCER), 80)];
    let mut talks = Vec::new();
    for (at, source) in places.into_iter().zip(12_345..) {
        until_answered_outside(&cluster, at, &["v0"]);
        let command = format!("{PEER} talk udp {} {} {source}", at.address, at.port);
        talks.push(Talk::of(cluster.underlay().spawn(&command)));
    }
    for (number, name) in [(1, "v1"), (0, "v2")] {
        let old =
            std::mem::replace(&mut backend, Backend::start(cluster.node(number), name, "web", "udp:80"));
        cluster.node(1 - number).delete_pod(&old.pod);
        for node in cluster.nodes() {
            wait::until("one endpoint is known", || (endpoints(node, "web").len() == 1).then_some(()));
        }
        for talk in &mut talks {
            wait::until("the same source port is served", || (talk.name() == name).then_some(()));
        }
    }
}

#[test]
fn tcp_connections_to_other_backends_are_untouched() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let backends = ["a", "b", "c"].map(|name| Backend::start(&node, name, "web", "tcp:80"));
    let at = tcp(create_service(&node, "web", "--tcp 80"), 80);
    until_answered_by(Place::Pod(&client), at, &["a", "b", "c"]);
    let mut talks: Vec<(String, Talk)> = (0..CLIENTS)
        .map(|_| {
            let mut talk = Talk::start(Place::Pod(&client), at, 0);
            (talk.name(), talk)
        })
        .collect();
    node.delete_pod(&backends[0].pod);
    let _d = Backend::start(&node, "d", "web", "tcp:80");
    until_answered_by(Place::Pod(&client), at, &["b", "c", "d"]);
    for (name, talk) in talks.iter_mut().filter(|(name, _)| name != "a") {
        assert_eq!(&talk.name(), name, "a connection stays where it is");
    }
}

/// Also one whose service is no more: it ends when its ends say so.
#[test]
fn a_tcp_connection_outlives_its_service() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let _a = Backend::start(&node, "a", "web", "tcp:80");
    let at = tcp(create_service(&node, "web", "--tcp 80"), 80);
    until_answered_by(Place::Pod(&client), at, &["a"]);
    let mut talk = Talk::start(Place::Pod(&client), at, 0);
    assert_eq!(talk.name(), "a");
    node.vpodctl("delete-service web").ok();
    super::until_answer(Place::Pod(&client), at, "error ECONNREFUSED");
    assert_eq!(talk.name(), "a");
}
