//! Policies hold on every way to a pod, and see who really asks.

use integration::{Cluster, TestNode};

use super::{enforce, isolate, labelled};
use crate::nodes::address;
use crate::services::outside::{
    BALANCER, OUTSIDER, ask_from_outside, balanced, cluster, ip, until_answered_outside,
};
use crate::services::{At, Backend, apply, ask, cluster_ip, node_port, tcp, udp};
use crate::stream::Place;

/// Of pods with the label `app: web`: only from these blocks, as in `192.0.2.0/24`.
fn only_from(blocks: &[&str]) -> String {
    let from: Vec<String> = blocks.iter().map(|block| format!("{{ipBlock: {{cidr: {block}}}}}")).collect();
    isolate("guard", "web", "Ingress") + &format!("  ingress: [{{from: [{}]}}]\n", from.join(", "))
}

fn is_answered(answers: &[String]) -> bool {
    !answers.is_empty() && answers.iter().all(|line| !line.starts_with("error"))
}

fn all_ways(cluster: &Cluster) -> Vec<At> {
    let port = node_port(cluster.node(0), "web");
    let mut ways = vec![tcp(ip(BALANCER), 80), udp(ip(BALANCER), 80)];
    ways.extend(cluster.nodes().iter().map(|node| tcp(address(node), port)));
    ways
}

#[test]
fn clients_outside_are_judged_by_their_own_address_on_every_way() {
    for policy in ["Cluster", "Local"] {
        let cluster = cluster();
        let _backends = [(0, "a"), (1, "b")]
            .map(|(number, name)| Backend::start(cluster.node(number), name, "web", "tcp:80 udp:80"));
        apply(cluster.node(0), &balanced(policy));
        for at in all_ways(&cluster) {
            until_any_answers_outside(&cluster, at);
        }
        // Nobody who asks from there is meant, and the nodes neither.
        enforce(cluster.node(0), &only_from(&["198.51.100.0/24"]));
        std::thread::scope(|scope| {
            for at in all_ways(&cluster) {
                let cluster = &cluster;
                scope.spawn(move || {
                    let answers = ask_from_outside(cluster, at, 3);
                    let refused = answers.iter().all(|line| line.starts_with("error"));
                    assert!(refused, "{policy} {at:?}: {answers:?}");
                });
            }
        });
        enforce(cluster.node(0), &only_from(&[&format!("{OUTSIDER}/32")]));
        for at in all_ways(&cluster) {
            assert!(is_answered(&ask_from_outside(&cluster, at, 4)), "{policy} {at:?}");
        }
    }
}

#[track_caller]
fn until_any_answers_outside(cluster: &Cluster, at: At) {
    integration::wait::until(&format!("{at:?} is answered"), || {
        is_answered(&ask_from_outside(cluster, at, 4)).then_some(())
    });
}

#[test]
fn pods_are_judged_as_themselves_behind_services() {
    let cluster = cluster();
    let _backends = [(0, "a"), (1, "b")]
        .map(|(number, name)| Backend::start(cluster.node(number), name, "web", "tcp:80 udp:80"));
    apply(cluster.node(0), &balanced("Cluster"));
    until_answered_outside(&cluster, tcp(ip(BALANCER), 80), &["a", "b"]);
    let policy = isolate("guard", "web", "Ingress")
        + "  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]\n";
    enforce(cluster.node(0), &policy);
    let service = cluster_ip(cluster.node(0), "web");
    for node in cluster.nodes() {
        let (friend, stranger) = (labelled(node, "friend", "friend"), labelled(node, "stranger", "stranger"));
        let mut ways = all_ways(&cluster);
        ways.extend([tcp(service, 80), udp(service, 80)]);
        // At a time: who is refused waits.
        std::thread::scope(|scope| {
            for at in ways {
                let (friend, stranger) = (&friend, &stranger);
                scope.spawn(move || {
                    let answers = ask(Place::Pod(friend), at, 6);
                    assert!(is_answered(&answers), "friend of {} by {at:?}: {answers:?}", node.name());
                    let answers = ask(Place::Pod(stranger), at, 2);
                    let refused = answers.iter().all(|line| line.starts_with("error"));
                    assert!(refused, "stranger of {} by {at:?}: {answers:?}", node.name());
                });
            }
        });
        node.delete_pod(&friend);
        node.delete_pod(&stranger);
    }
}

#[test]
fn a_pod_reaches_itself_and_its_node_reaches_it_whatever_a_policy_says() {
    let node = TestNode::start();
    let backend = Backend::start(&node, "a", "web", "tcp:80 udp:80");
    let address = crate::services::create_service(&node, "web", "--selector app=web --tcp 80:80");
    enforce(&node, &isolate("closed", "web", "Ingress, Egress"));
    let pod = backend.pod();
    assert!(is_answered(&ask(Place::Pod(pod), tcp(address, 80), 3)), "itself by its service");
    assert!(is_answered(&ask(Place::Node(&node), tcp(pod.ip, 80), 3)), "its node");
    assert!(is_answered(&ask(Place::Node(&node), tcp(address, 80), 3)), "its node by its service");
    let stranger = labelled(&node, "stranger", "x");
    let answers = ask(Place::Pod(&stranger), tcp(pod.ip, 80), 1);
    assert!(answers[0].starts_with("error"), "{answers:?}");
}

#[test]
fn the_way_out_is_judged_by_where_it_leads() {
    let cluster = cluster();
    let _server = crate::services::outside::serve_outside(&cluster);
    let node = cluster.node(0);
    let pod = labelled(node, "client", "web");
    let (allowed, other) = (ip("203.0.113.10"), ip(OUTSIDER));
    for to in [allowed, other] {
        crate::services::until_answer(Place::Pod(&pod), tcp(to, 80), &format!("internet {}", address(node)));
    }
    let policy = isolate("guard", "web", "Egress")
        + "  egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}], ports: [{port: 80}]}]\n";
    enforce(node, &policy);
    assert!(is_answered(&ask(Place::Pod(&pod), tcp(allowed, 80), 3)));
    for (at, why) in [(tcp(other, 80), "another address"), (udp(allowed, 80), "another protocol")] {
        let answers = ask(Place::Pod(&pod), at, 1);
        assert!(answers[0].starts_with("error"), "{why}: {answers:?}");
    }
}
