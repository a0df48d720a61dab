//! Pods get traffic while they are ready.

use integration::{TestNode, wait};
use protocol::object::{Check, Probe, Serving};

use super::{
    Backend, apply, cluster_ip, create_service, endpoints, labelled, serve, tcp, until_answer,
    until_answered_by,
};
use crate::stream::Place;

/// A pod of `web` that is ready while something listens at port 80.
#[track_caller]
fn probed(node: &TestNode, name: &str) -> integration::TestPod {
    let mut request = labelled(name, "web");
    let probe = Probe { period_seconds: 1, failure_threshold: 1, ..Probe::new(Check::Tcp { port: 80 }) };
    request.serving = Serving { readiness: Some(probe), ..Serving::default() };
    node.create(&request)
}

#[test]
fn a_pod_gets_no_traffic_before_it_listens_nor_after() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let _always = Backend::start(&node, "always", "web", "tcp:80");
    let at = tcp(create_service(&node, "web", "--tcp 80"), 80);
    let pod = probed(&node, "late");
    until_answered_by(from, at, &["always"]);
    for _ in 0..2 {
        let server = serve(&pod, "tcp:80");
        until_answered_by(from, at, &["always", "late"]);
        drop(server);
        until_answered_by(from, at, &["always"]);
    }
}

#[test]
fn a_service_whose_only_pod_is_not_ready_refuses_and_one_that_publishes_it_does_not() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let service = |publish: bool| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  selector: {{app: web}}\n  \
             publishNotReadyAddresses: {publish}\n  ports: [{{port: 8080}}]\n"
        )
    };
    // It never listens where it is probed.
    let _pod = Backend::serving(probed(&node, "a"), "tcp:8080");
    apply(&node, &service(false));
    let at = tcp(cluster_ip(&node, "web"), 8080);
    until_answer(from, at, "error ECONNREFUSED");
    assert!(endpoints(&node, "web").is_empty());
    apply(&node, &service(true));
    until_answer(from, at, &format!("a {}", client.ip));
    apply(&node, &service(false));
    until_answer(from, at, "error ECONNREFUSED");
}

#[test]
fn a_pod_whose_program_ended_gets_no_traffic() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let _always = Backend::start(&node, "always", "web", "tcp:80");
    let at = tcp(create_service(&node, "web", "--tcp 80"), 80);
    let mut request = labelled("ends", "web");
    request.restart_policy = protocol::object::RestartPolicy::Never;
    let script = format!("{} serve ends tcp:80", super::PEER);
    request.command = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let pod = node.create(&request);
    until_answered_by(Place::Pod(&client), at, &["always", "ends"]);
    node.sh(&format!("kill -KILL $(ip netns pids {})", pod.netns)).ok();
    wait::until("its endpoint is gone", || (endpoints(&node, "web").len() == 1).then_some(()));
    until_answered_by(Place::Pod(&client), at, &["always"]);
}
