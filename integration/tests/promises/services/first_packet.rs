//! A backend that has just died costs its clients nothing: the first packet of their connections goes to another one.

use std::time::{Duration, Instant};

use integration::{ClusterOptions, NodeOptions, TestNode};

use super::{At, Backend, ask, create_service, labelled, node_port, tcp, until_answer, until_answered_by};
use crate::stream::Place;

/// Each would be refused with one chance in two.
const CONNECTIONS: usize = 500;

/// Every connection is answered by the one that is there.
#[track_caller]
fn all_served(from: Place<'_>, at: At, name: &str) {
    let answers = ask(from, at, CONNECTIONS);
    let wrong: Vec<_> = answers.iter().filter(|line| !line.starts_with(name)).collect();
    assert!(
        answers.len() == CONNECTIONS && wrong.is_empty(),
        "{at:?}: {} of {}: {wrong:?}",
        wrong.len(),
        answers.len()
    );
}

#[test]
fn a_backend_without_a_server_costs_no_connection() {
    let node = NodeOptions::default().config("workers = 2").start();
    let client = node.create_pod("client");
    let _serves = Backend::start(&node, "serves", "web", "tcp:80");
    // A pod without a readiness probe is an endpoint while it runs, whatever listens in it.
    let _silent = node.create(&labelled("silent", "web"));
    let at = tcp(create_service(&node, "web", "--tcp 80"), 80);
    until_answered_by(Place::Pod(&client), at, &["serves"]);
    all_served(Place::Pod(&client), at, "serves");
    all_served(Place::Node(&node), at, "serves");
    let metrics = crate::metrics::scrape(&node);
    let count = |cause: &str| {
        let line = format!("vswitch_fail_overs_total{{cause=\"{cause}\"}} ");
        let count = metrics.lines().find_map(|text| text.strip_prefix(&line));
        count.and_then(|count| count.parse::<u64>().ok()).unwrap_or_else(|| panic!("no {line}"))
    };
    assert!(count("refused") > 100, "{}", count("refused"));
    assert_eq!(count("unanswered"), 0);
}

#[test]
fn a_server_that_is_killed_costs_no_connection() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let _stays = Backend::start(&node, "stays", "web", "tcp:80");
    let dies = Backend::start(&node, "dies", "web", "tcp:80");
    let at = tcp(create_service(&node, "web", "--tcp 80"), 80);
    until_answered_by(Place::Pod(&client), at, &["stays", "dies"]);
    let Backend { pod: _pod, _server: server } = dies;
    drop(server);
    all_served(Place::Pod(&client), at, "stays");
}

#[test]
fn the_only_backend_is_heard_when_it_refuses() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let _silent = node.create(&labelled("silent", "web"));
    let at = tcp(create_service(&node, "web", "--tcp 80"), 80);
    until_answer(Place::Pod(&client), at, "error ECONNREFUSED");
    let since = Instant::now();
    assert_eq!(ask(Place::Pod(&client), at, 5), ["error ECONNREFUSED"; 5]);
    assert!(since.elapsed() < Duration::from_millis(900), "refused after {:?}", since.elapsed());
}

#[test]
fn a_pod_that_is_deleted_costs_no_connection() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let _stays = Backend::start(&node, "stays", "web", "tcp:80");
    let at = tcp(create_service(&node, "web", "--tcp 80"), 80);
    for round in 0..3 {
        let goes = Backend::start(&node, &format!("goes{round}"), "web", "tcp:80");
        until_answered_by(Place::Pod(&client), at, &["stays", &goes.pod.name]);
        let asking = client.spawn(&format!("{} ask tcp {} {} 300", super::PEER, at.address, at.port));
        node.delete_pod(&goes.pod);
        let answers = asking.wait().ok();
        let failed: Vec<_> = answers.lines().filter(|line| line.starts_with("error")).collect();
        // A connection that was accepted ends with its server; none is refused, nor goes unanswered.
        assert!(failed.iter().all(|line| *line == "error EOF" || *line == "error ECONNRESET"), "{failed:?}");
        assert!(failed.len() <= 1, "one at a time was open: {failed:?}");
    }
}

#[test]
fn a_backend_of_another_node_without_a_server_costs_no_connection() {
    let cluster = ClusterOptions::new(2).on_etcd().start();
    let client = cluster.node(0).create_pod("client");
    let _serves = Backend::start(cluster.node(0), "serves", "web", "tcp:80");
    let _silent = cluster.node(1).create(&labelled("silent", "web"));
    let at = tcp(create_service(cluster.node(0), "web", "--tcp 80"), 80);
    let are_known = || super::endpoints(cluster.node(0), "web").len() == 2;
    integration::wait::until("both are endpoints", || are_known().then_some(()));
    until_answered_by(Place::Pod(&client), at, &["serves"]);
    all_served(Place::Pod(&client), at, "serves");
}

#[test]
fn a_node_port_is_served_although_a_backend_refuses() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let _serves = Backend::start(&node, "serves", "web", "tcp:80");
    let _silent = node.create(&labelled("silent", "web"));
    node.vpodctl("create-service nodeport web --tcp 80").ok();
    let address = node.address().parse().expect("the node's address is one");
    let at = tcp(address, node_port(&node, "web"));
    until_answered_by(Place::Pod(&client), at, &["serves"]);
    all_served(Place::Pod(&client), at, "serves");
}
