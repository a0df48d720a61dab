//! A node that loses its power takes nothing with it but its pods' processes, and is the same node again
//! when it is back; the others neither restart nor keep anything stale.

use std::time::Duration;

use integration::{Cluster, ClusterOptions, TestPod};

use super::{peer, peers};
use crate::stream::{Place, Stream};

/// After the daemon serves again.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[track_caller]
fn a_rebooted_node_is_the_same_again(cluster: &mut Cluster) {
    let pods = cluster.create_pods("a");
    assert!(pods[0].pings(pods[1].ip));
    let undisturbed =
        Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[2]), pods[2].ip, 32 << 20, Some(4 << 20));
    cluster.crash(1);
    assert!(!pods[0].pings(pods[1].ip));
    std::thread::sleep(Duration::from_secs(2));
    cluster.boot(1);
    let after = TestPod::of(&cluster.node(1).pod("a"));
    assert_eq!((after.ip, after.mac), (pods[1].ip, pods[1].mac));
    for pod in [&pods[0], &pods[2]] {
        cluster.until_reached(pod, after.ip, BACK_WITHIN);
        assert!(after.pings(pod.ip));
    }
    for number in [0, 2] {
        assert_eq!(peers(cluster.node(number)).len(), 2, "nothing is there twice");
        let back = peer(cluster.node(number), cluster.node(1));
        assert!(back.pod_cidrs.iter().any(|cidr| cidr.contains(&after.ip)), "{back:?}");
    }
    undisturbed.complete();
}

#[test]
fn a_rebooted_node_with_static_peers_is_the_same_again() {
    a_rebooted_node_is_the_same_again(&mut Cluster::start(3));
}

#[test]
fn a_rebooted_node_on_etcd_is_the_same_again() {
    a_rebooted_node_is_the_same_again(&mut ClusterOptions::new(3).on_etcd().start());
}
