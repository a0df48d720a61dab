//! Nodes that know each other through etcd: joining is quick, and whatever becomes of etcd, packets flow.
//!
//! Leases are as short as they may be, so that in an outage every one of them, and every deadline of a
//! daemon, runs out several times over.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use integration::{Background, Cluster, ClusterOptions, TestPod};

use super::peers;

/// Of a new node, after it serves.
const JOINED_WITHIN: Duration = Duration::from_secs(1);
/// Of the daemons here.
const LEASE_SECONDS: u64 = 5;
const OUTAGE: Duration = Duration::from_mins(1);
const SILENCE: Duration = Duration::from_secs(4 * LEASE_SECONDS);

fn cluster(nodes: usize) -> ClusterOptions {
    // Losing etcd is worth a warning.
    ClusterOptions::new(nodes)
        .on_etcd()
        .etcd_line(&format!("lease_seconds = {LEASE_SECONDS}"))
        .allow_log("etcd")
}

/// Pings between pods of all nodes until it is dropped or asked.
struct Watch(Vec<Background>);

impl Watch {
    fn start(pods: &[TestPod]) -> Self {
        let count = (OUTAGE + Duration::from_secs(6)).as_millis() / 50;
        let next = pods.iter().cycle().skip(1);
        let pings = pods.iter().zip(next);
        Self(
            pings
                .map(|(from, to)| from.spawn(&format!("exec ping -n -q -i 0.05 -c {count} -W 1 {}", to.ip)))
                .collect(),
        )
    }

    #[track_caller]
    fn lost_nothing(self) {
        for ping in self.0 {
            let said = ping.wait().ok();
            assert!(said.contains(" 0% packet loss"), "{said}");
        }
    }
}

#[test]
fn three_nodes_register_with_ranges_of_their_own() {
    let mut cluster = cluster(3).start();
    let pods = cluster.create_pods("a");
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        cluster.until_reached(&pods[from], pods[to].ip, JOINED_WITHIN);
    }
    let cidrs: BTreeSet<_> = cluster.nodes().iter().map(|node| node.status().node.pod_cidr).collect();
    assert_eq!(cidrs.len(), 3, "{cidrs:?}");
    // Values are JSON.
    let names: BTreeSet<_> = cluster.nodes().iter().map(|node| format!("{:?}", node.name())).collect();
    let owners: BTreeSet<_> =
        cluster.etcd().entries("/vpod/v1/cidrs/").into_iter().map(|(_, name)| name).collect();
    assert_eq!(owners, names);
    assert_eq!(cluster.etcd().entries("/vpod/v1/nodes/").len(), 3);
}

#[test]
fn a_new_nodes_pods_are_reachable_from_all_nodes_within_a_second() {
    let mut cluster = cluster(3).prepare();
    cluster.node_mut(0).start_daemon();
    cluster.node_mut(1).start_daemon();
    let old = [cluster.node(0).create_pod("a"), cluster.node(1).create_pod("a")];
    cluster.node_mut(2).start_daemon();
    let since = Instant::now();
    let new = cluster.node(2).create_pod("a");
    for pod in &old {
        cluster.until_reached(pod, new.ip, JOINED_WITHIN.saturating_sub(since.elapsed()));
    }
    println!("reachable from all nodes {:.2?} after it served", since.elapsed());
    assert!(new.pings(old[0].ip) && new.pings(old[1].ip));
}

#[test]
fn a_dead_etcd_costs_no_packet() {
    let mut cluster = cluster(3).start();
    let pods = settled_pods(&cluster);
    let watch = Watch::start(&pods);
    cluster.etcd().kill();
    std::thread::sleep(OUTAGE);
    // Everything that needs no other node goes on.
    let late = cluster.node(0).create_pod("late");
    assert!(late.pings(pods[1].ip) && late.pings(pods[2].ip));
    cluster.etcd().start_again();
    watch.lost_nothing();
    cluster_is_whole(&mut cluster);
}

#[test]
fn an_etcd_that_says_nothing_any_more_costs_no_packet() {
    let mut cluster = cluster(3).start();
    let pods = settled_pods(&cluster);
    let watch = Watch::start(&pods);
    cluster.etcd().freeze();
    std::thread::sleep(SILENCE);
    cluster.etcd().thaw();
    watch.lost_nothing();
    cluster_is_whole(&mut cluster);
}

#[test]
fn an_etcd_restored_empty_costs_no_packet() {
    let mut cluster = cluster(5).start();
    let pods = settled_pods(&cluster);
    let watch = Watch::start(&pods);
    cluster.etcd().kill();
    cluster.etcd().forget_everything();
    cluster.etcd().start_again();
    watch.lost_nothing();
    for node in cluster.nodes() {
        assert_eq!(peers(node).len(), 4, "{}", node.name());
    }
}

#[test]
fn a_daemon_that_starts_while_etcd_is_down_knows_its_peers() {
    let mut cluster = cluster(2).start();
    let pods = settled_pods(&cluster);
    cluster.etcd().kill();
    let node = cluster.node_mut(0);
    node.stop_daemon();
    node.start_daemon();
    assert!(pods[0].pings(pods[1].ip) && pods[1].pings(pods[0].ip));
}

#[test]
fn a_deleted_node_is_forgotten_everywhere() {
    let mut cluster = cluster(3).start();
    let pods = settled_pods(&cluster);
    cluster.crash(2);
    let name = cluster.node(2).name().to_owned();
    assert_eq!(peers(cluster.node(0)).len(), 2, "a node that is away keeps its range");
    integration::wait::until("the lease of the dead node has run out", || {
        cluster.node(0).vpodctl(&format!("delete node {name}")).succeeded().then_some(())
    });
    for number in [0, 1] {
        integration::wait::until("the node is forgotten", || {
            (peers(cluster.node(number)).len() == 1).then_some(())
        });
    }
    assert_eq!(cluster.etcd().entries("/vpod/v1/cidrs/").len(), 2);
    assert!(pods[0].pings(pods[1].ip));
    // For the checks at the end.
    cluster.boot(2);
}

/// A pod on each node, all of which reach each other.
fn settled_pods(cluster: &Cluster) -> Vec<TestPod> {
    let pods = cluster.create_pods("a");
    for from in &pods {
        for to in &pods {
            cluster.until_reached(from, to.ip, integration::wait::PATIENCE);
        }
    }
    pods
}

/// etcd is used again: a node that restarts is still itself, and all are there once.
#[track_caller]
fn cluster_is_whole(cluster: &mut Cluster) {
    let before = cluster.node(0).status().node.pod_cidr;
    cluster.node_mut(0).stop_daemon();
    cluster.node_mut(0).start_daemon();
    assert_eq!(cluster.node(0).status().node.pod_cidr, before);
    assert_eq!(cluster.etcd().entries("/vpod/v1/cidrs/").len(), cluster.nodes().len());
    integration::wait::until("every lease is alive again", || {
        (cluster.etcd().entries("/vpod/v1/alive/").len() == cluster.nodes().len()).then_some(())
    });
}
