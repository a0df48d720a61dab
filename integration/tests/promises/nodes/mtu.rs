//! The MTU of pods follows the underlay's, what does not fit is said to be, and an underlay that says
//! nothing itself is found out.

use std::time::Duration;

use integration::{Cluster, TestPod, wait};

use super::{peer, peers};
use crate::stream::{Place, Stream, datagrams};

/// Outer Ethernet is not counted: IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14.
const OVERHEAD: u32 = 50;
/// Headers of an echo request.
const IP_AND_ICMP: u32 = 28;

fn mtu_of(pod: &TestPod) -> u32 {
    let line = pod.sh("ip -o link show dev eth0").ok();
    let mut words = line.split_whitespace().skip_while(|&word| word != "mtu");
    words.nth(1).and_then(|mtu| mtu.parse().ok()).unwrap_or_else(|| panic!("no MTU in {line}"))
}

/// The largest packet passes unfragmented, and one that is larger does not leave the pod.
#[track_caller]
fn the_largest_packet_passes(from: &TestPod, to: &TestPod, mtu: u32) {
    from.sh(&format!("ping -n -c 1 -W 2 -M do -s {} {}", mtu - IP_AND_ICMP, to.ip)).ok();
    let ran = from.sh(&format!("ping -n -c 1 -W 2 -M do -s {} {}", mtu - IP_AND_ICMP + 1, to.ip));
    assert!(!ran.succeeded() && ran.to_string().contains(&format!("mtu={mtu}")), "{ran}");
}

#[test]
fn pods_get_the_underlays_mtu_less_the_overhead() {
    let cluster = Cluster::start(2);
    let pods = cluster.create_pods("a");
    assert_eq!(mtu_of(&pods[0]), 1500 - OVERHEAD);
    the_largest_packet_passes(&pods[0], &pods[1], 1500 - OVERHEAD);
}

#[test]
fn a_change_of_the_underlays_mtu_is_followed() {
    let mut cluster = Cluster::start(2);
    let pods = cluster.create_pods("a");
    for underlay in [1400, 9000, 1500] {
        let stream =
            Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[1]), pods[1].ip, 16 << 20, Some(16 << 20));
        cluster.set_underlay_mtu(underlay);
        for pod in &pods {
            let reached = || (mtu_of(pod) == underlay - OVERHEAD).then_some(());
            wait::until(&format!("the pod's MTU is {underlay} less the overhead"), reached);
        }
        stream.complete();
        the_largest_packet_passes(&pods[0], &pods[1], underlay - OVERHEAD);
        datagrams(Place::Pod(&pods[0]), Place::Pod(&pods[1]), pods[1].ip, 20_000, 5);
    }
}

#[test]
fn a_packet_over_the_tunnels_mtu_is_answered_with_that_mtu() {
    let cluster = Cluster::start(2);
    let pods = cluster.create_pods("a");
    // The pod's administrator raises its own MTU; the tunnel's stays.
    pods[0].sh("ip link set eth0 mtu 9000").ok();
    let ran = pods[0].sh(&format!("ping -n -c 1 -W 2 -M do -s 4000 {}", pods[1].ip));
    assert!(!ran.succeeded() && ran.stdout.contains("From 10.244.0.1 "), "{ran}");
    assert!(ran.stdout.contains("mtu = 1450"), "{ran}");
    assert_eq!(cluster.node(0).drops(&pods[0], "packet_too_big"), 1);
    // The learned path MTU makes TCP work at once.
    Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[1]), pods[1].ip, 4 << 20, None).complete();
}

#[test]
fn an_underlay_that_swallows_large_packets_silently_is_found_out() {
    const NARROW: u32 = 1400;
    let mut cluster = Cluster::start(2);
    cluster.turn_offloads_off();
    cluster.underlay_mut().filter_icmp();
    cluster.underlay_mut().swallow_packets_over(NARROW);
    let pods = cluster.create_pods("a");
    let (here, there) = (cluster.node(0), cluster.node(1));
    let found = wait::until_within(Duration::from_secs(30), "the path MTU is probed", || {
        let found = peer(here, there);
        found.health.path_mtu.filter(|&mtu| u32::from(mtu) <= NARROW).map(|_| found)
    });
    let mtu = u32::from(found.pod_mtu);
    assert!((1200 - OVERHEAD..=NARROW - OVERHEAD).contains(&mtu), "{found:?}");
    let ran = pods[0].sh(&format!("ping -n -c 1 -W 2 -M do -s {} {}", 1450 - IP_AND_ICMP, pods[1].ip));
    assert!(!ran.succeeded() && ran.stdout.contains(&format!("mtu = {mtu}")), "{ran}");
    pods[0].sh(&format!("ping -n -c 1 -W 2 -M do -s {} {}", mtu - IP_AND_ICMP, pods[1].ip)).ok();
    Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[1]), pods[1].ip, 4 << 20, None).complete();
    let shown = cluster.node(0).vpodctl("get peers").ok();
    assert!(shown.contains(&mtu.to_string()), "{shown}");
}

#[test]
fn filtered_icmp_alone_costs_nothing() {
    let mut cluster = Cluster::start(2);
    cluster.underlay_mut().filter_icmp();
    let pods = cluster.create_pods("a");
    assert!(pods[0].pings(pods[1].ip));
    the_largest_packet_passes(&pods[0], &pods[1], 1500 - OVERHEAD);
    assert!(peers(cluster.node(0)).iter().all(|peer| u32::from(peer.pod_mtu) == 1500 - OVERHEAD));
}
