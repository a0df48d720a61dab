//! What clients outside notice of updates and of a store that is started again: nothing.

use std::time::Duration;

use integration::{Cluster, TestNode, TestPod, wait};
use protocol::object::{Check, Probe, Serving};

use super::outside::{BALANCER, ask_from_outside, balanced, cluster, ip, until_answered_outside};
use super::watch::Watch;
use super::{Backend, Talk, apply, endpoints, labelled, node_port, tcp};
use crate::nodes::address;
use crate::stream::Place;

/// Between two steps, for what was wrong to show.
const MEANWHILE: Duration = Duration::from_millis(500);

/// Longer than the lease of a load balancer's address.
const AWAY: Duration = Duration::from_secs(3);

/// A pod whose program is ready when it listens, and serves on for a while when it is told to end, as it should.
#[track_caller]
fn version(node: &TestNode, name: &str) -> TestPod {
    let mut request = labelled(name, "web");
    let probe = Probe { period_seconds: 1, ..Probe::new(Check::Tcp { port: 80 }) };
    request.serving = Serving { readiness: Some(probe), ..Serving::default() };
    let program = format!("{} drain {name} tcp:80 udp:80", super::PEER);
    request.command = ["sh", "-c", &program].map(str::to_owned).to_vec();
    node.create(&request)
}

/// Waits until all nodes know these endpoints and no others.
#[track_caller]
fn until_endpoints(cluster: &Cluster, pods: &[&TestPod]) {
    for node in cluster.nodes() {
        wait::until("the endpoints are known", || {
            let known = endpoints(node, "web");
            let are_there = pods.iter().all(|pod| known.contains(&format!("{}:80", pod.ip)));
            (are_there && known.len() == pods.len()).then_some(())
        });
    }
}

/// "[sig-network] LoadBalancers should not have disruption during rolling update with externalTrafficPolicy=…": each pod is replaced by a
/// new one twice, one after the other, first the new one and then without the old.
fn rolls(policy: &str) {
    let cluster = cluster();
    let mut pods = [0, 1].map(|number| version(cluster.node(number), &format!("v1-{number}")));
    apply(cluster.node(0), &balanced(policy));
    until_endpoints(&cluster, &pods.each_ref());
    let at = tcp(ip(BALANCER), 80);
    wait::until("it is answered outside", || {
        ask_from_outside(&cluster, at, 3).iter().all(|answer| answer.starts_with("v1")).then_some(())
    });
    let watch = Watch::patient(&cluster, BALANCER, 80);
    for round in 2..4 {
        for number in [0, 1] {
            let node = cluster.node(number);
            let new = version(node, &format!("v{round}-{number}"));
            until_endpoints(&cluster, &[&pods[0], &pods[1], &new]);
            std::thread::sleep(MEANWHILE);
            let old = std::mem::replace(&mut pods[number], new);
            node.delete_pod(&old);
            until_endpoints(&cluster, &pods.each_ref());
            std::thread::sleep(MEANWHILE);
        }
    }
    let seen = watch.end();
    println!(
        "{} of {} connects failed, {:.2} s between two at most",
        seen.failed(),
        seen.connects(),
        seen.longest_gap()
    );
    assert!(seen.failed() == 0 && seen.ends_well(), "{seen:?}");
    for version in ["v1", "v2", "v3"] {
        assert!(seen.names().iter().any(|name| name.starts_with(version)), "{version}: {:?}", seen.names());
    }
}

#[test]
fn a_rolling_update_costs_no_connection_with_policy_cluster() {
    rolls("Cluster");
}

#[test]
fn a_rolling_update_costs_no_connection_with_policy_local() {
    rolls("Local");
}

/// Kubernetes' test restarts the API server. NodePorts are as useful meanwhile, and what is changed afterwards counts.
#[test]
fn node_ports_in_use_outlive_a_restart_of_the_store() {
    let mut cluster = cluster();
    for number in [0, 1] {
        cluster.node_mut(number).allow_log("store is away");
    }
    let backends = [(0, "a"), (1, "b")]
        .map(|(number, name)| Backend::start(cluster.node(number), name, "web", "tcp:80 udp:80"));
    apply(cluster.node(0), &balanced("Cluster"));
    let port = node_port(cluster.node(0), "web");
    let addresses = [0, 1].map(|number| address(cluster.node(number)));
    for address in addresses {
        until_answered_outside(&cluster, tcp(address, port), &["a", "b"]);
    }
    let client = cluster.node(0).create_pod("client");
    let mut talk = Talk::start(Place::Pod(&client), tcp(addresses[1], port), 0);
    let name = talk.name();
    let watches = addresses.map(|address| Watch::patient(&cluster, &address.to_string(), port));
    for _ in 0..2 {
        cluster.etcd().kill();
        std::thread::sleep(AWAY);
        cluster.etcd().start_again();
        std::thread::sleep(MEANWHILE);
    }
    let c = Backend::start(cluster.node(1), "c", "web", "tcp:80 udp:80");
    for address in addresses {
        until_answered_outside(&cluster, tcp(address, port), &["a", "b", "c"]);
    }
    for seen in watches.map(Watch::end) {
        assert!(seen.failed() == 0 && seen.ends_well(), "{seen:?}");
        assert!(["a", "b"].iter().all(|name| seen.names().contains(name)), "{:?}", seen.names());
    }
    assert_eq!(talk.name(), name);
    drop((backends, c));
}
