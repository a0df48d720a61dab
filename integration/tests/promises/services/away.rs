//! Nodes that start while the cluster's store is away.

use integration::{Cluster, ClusterOptions, TestNode, wait};
use nix::sys::signal::{Signal, kill};

use super::{Backend, create_service, tcp, until_answer, until_answered_by};
use crate::stream::Place;

const UNCONFIRMED: &str = "as this node last knew them";

fn cluster() -> Cluster {
    ClusterOptions::new(2).on_etcd().allow_log("etcd").allow_log("store").allow_log("datapath").start()
}

fn is_unconfirmed(node: &TestNode) -> bool {
    node.vpodctl("status").ok().contains(UNCONFIRMED)
}

/// Both processes at once, as when the node's kernel panics.
fn kill_both(node: &mut TestNode) {
    let datapath = node.datapath_pid();
    node.signal(Signal::SIGKILL);
    kill(datapath, Signal::SIGKILL).expect("the datapath can be killed");
    let _ = node.wait_for_end();
}

/// Services, endpoints here and on the other node, and the way there.
#[test]
fn a_node_that_starts_while_the_store_is_away_serves_what_it_last_knew() {
    let mut cluster = cluster();
    let backends =
        [(0, "a"), (1, "b")].map(|(n, name)| Backend::start(cluster.node(n), name, "web", "tcp:80"));
    let clients = cluster.create_pods("client");
    let from = Place::Pod(&clients[0]);
    let web = tcp(create_service(cluster.node(0), "web", "--tcp 80"), 80);
    let gone = tcp(create_service(cluster.node(0), "gone", "--tcp 80 --selector app=web"), 80);
    for at in [web, gone] {
        until_answered_by(from, at, &["a", "b"]);
    }
    assert!(!is_unconfirmed(cluster.node(0)));
    // Deleted while the node does not hear it.
    cluster.node_mut(0).stop_daemon();
    cluster.node(1).vpodctl("delete-service gone").ok();
    cluster.etcd().kill();
    for is_killed in [false, true] {
        if is_killed {
            kill_both(cluster.node_mut(0));
        }
        cluster.node_mut(0).start_daemon();
        for at in [web, gone] {
            until_answered_by(from, at, &["a", "b"]);
            until_answered_by(Place::Node(cluster.node(0)), at, &["a", "b"]);
        }
        assert!(is_unconfirmed(cluster.node(0)));
    }
    // Its own pods it knows better.
    cluster.node(0).delete_pod(&backends[0].pod);
    until_answered_by(from, web, &["b"]);
    cluster.etcd().start_again();
    until_answer(from, gone, "error ECONNREFUSED");
    wait::until("the store was read", || (!is_unconfirmed(cluster.node(0))).then_some(()));
    until_answered_by(from, web, &["b"]);
    let new = tcp(create_service(cluster.node(1), "new", "--tcp 80 --selector app=web"), 80);
    until_answered_by(from, new, &["b"]);
}

/// What was changed last is written soon; that is waited for, and then everything is killed.
#[test]
fn what_a_node_knows_survives_its_sudden_death() {
    let mut cluster = cluster();
    let _backend = Backend::start(cluster.node(1), "b", "web", "tcp:80");
    let client = cluster.node(0).create_pod("client");
    let from = Place::Pod(&client);
    let web = tcp(create_service(cluster.node(1), "web", "--tcp 80"), 80);
    until_answered_by(from, web, &["b"]);
    // Twice the time that changes wait for others.
    std::thread::sleep(std::time::Duration::from_secs(5));
    cluster.etcd().kill();
    kill_both(cluster.node_mut(0));
    cluster.node_mut(0).start_daemon();
    until_answered_by(from, web, &["b"]);
    cluster.etcd().start_again();
    until_answered_by(from, web, &["b"]);
}
