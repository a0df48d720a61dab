//! A network that is cut or loses frames disturbs nobody else, and works again as soon as it is whole.

use std::time::{Duration, Instant};

use integration::{Cluster, wait};

use super::{TUNNEL_PORT, peer};
use crate::stream::{Place, Stream};

/// What is promised after the network is whole again.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// Longer than a peer takes to be called unreachable.
const CUT_FOR: Duration = Duration::from_secs(5);

#[test]
fn a_cut_between_two_nodes_spares_the_third_and_heals() {
    let mut cluster = Cluster::start(3);
    let pods = cluster.create_pods("a");
    let spared =
        Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[2]), pods[2].ip, 48 << 20, Some(8 << 20));
    let cut = Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[1]), pods[1].ip, 8 << 20, Some(4 << 20));
    cluster.underlay_mut().cut(0, 1);
    let since = Instant::now();
    assert!(!pods[0].pings(pods[1].ip) && !pods[1].pings(pods[0].ip));
    assert!(pods[0].pings(pods[2].ip) && pods[2].pings(pods[1].ip));
    wait::until("the peer is called unreachable", || {
        (peer(cluster.node(0), cluster.node(1)).health.reachable == Some(false)).then_some(())
    });
    assert_eq!(peer(cluster.node(0), cluster.node(2)).health.reachable, Some(true));
    std::thread::sleep(CUT_FOR.saturating_sub(since.elapsed()));
    cluster.underlay_mut().heal();
    let took = cluster.until_reached(&pods[0], pods[1].ip, HEALED_WITHIN);
    println!("pods reached each other {took:.1?} after the network was whole again");
    wait::until_within(HEALED_WITHIN, "the peer is called reachable", || {
        (peer(cluster.node(0), cluster.node(1)).health.reachable == Some(true)).then_some(())
    });
    spared.complete();
    cut.complete();
}

#[test]
fn an_isolated_node_goes_on_alone_and_is_found_again() {
    let mut cluster = Cluster::start(3);
    let pods = cluster.create_pods("a");
    let beside = cluster.node(0).create_pod("b");
    cluster.underlay_mut().isolate(0);
    let stream = Stream::start(Place::Pod(&pods[0]), Place::Pod(&beside), beside.ip, 24 << 20, Some(8 << 20));
    std::thread::sleep(CUT_FOR);
    assert!(!pods[0].pings(pods[1].ip) && !pods[2].pings(pods[0].ip));
    assert!(pods[1].pings(pods[2].ip));
    // Pods come and go meanwhile.
    let late = cluster.node(0).create_pod("late");
    cluster.underlay_mut().heal();
    for pod in [&pods[1], &pods[2]] {
        cluster.until_reached(pod, pods[0].ip, HEALED_WITHIN);
        cluster.until_reached(pod, late.ip, HEALED_WITHIN);
    }
    stream.complete();
}

#[test]
fn a_cut_tunnel_is_seen_although_the_nodes_see_each_other() {
    let mut cluster = Cluster::start(2);
    let pods = cluster.create_pods("a");
    assert!(pods[0].pings(pods[1].ip));
    cluster.underlay_mut().drop_udp(TUNNEL_PORT);
    cluster.node(0).sh(&format!("ping -n -c 1 -W 2 {}", cluster.node(1).address())).ok();
    wait::until("the peer is called unreachable", || {
        (peer(cluster.node(0), cluster.node(1)).health.reachable == Some(false)).then_some(())
    });
    cluster.underlay_mut().heal();
    cluster.until_reached(&pods[0], pods[1].ip, HEALED_WITHIN);
}

#[test]
fn streams_arrive_intact_over_a_network_that_loses_frames() {
    let mut cluster = Cluster::start(2);
    cluster.turn_offloads_off();
    cluster.underlay_mut().lose(2);
    let pods = cluster.create_pods("a");
    Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[1]), pods[1].ip, 8 << 20, None).complete();
    Stream::start(Place::Pod(&pods[1]), Place::Pod(&pods[0]), pods[0].ip, 8 << 20, None).complete();
}
