//! Every pod of every node reaches every pod of every other node, and every other node, without NAT.

use std::time::Duration;

use integration::{Cluster, ClusterOptions, TestPod, wait};
use nix::sys::signal::{Signal, kill};

use super::address;
use crate::stream::{Place, Stream, datagrams};

const MIB: u64 = 1 << 20;
/// More than a packet, so that the sender's kernel fragments it.
const LARGE_DATAGRAM: usize = 9000;

/// ICMP, TCP, and datagrams of every sort from one pod to another.
#[track_caller]
fn all_protocols_pass(from: &TestPod, to: &TestPod) {
    from.sh(&format!("ping -n -c 2 -i 0.2 -W 2 {}", to.ip)).ok();
    Stream::start(Place::Pod(from), Place::Pod(to), to.ip, 4 * MIB, None).complete();
    datagrams(Place::Pod(from), Place::Pod(to), to.ip, 1, 10);
    datagrams(Place::Pod(from), Place::Pod(to), to.ip, 1200, 50);
    datagrams(Place::Pod(from), Place::Pod(to), to.ip, LARGE_DATAGRAM, 10);
}

#[track_caller]
fn all_pairs_pass(cluster: &Cluster) {
    let pods = cluster.create_pods("a");
    for (from, to) in pairs(pods.len()) {
        all_protocols_pass(&pods[from], &pods[to]);
    }
}

fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |from| (0..count).filter(move |&to| to != from).map(move |to| (from, to)))
}

#[test]
fn all_pod_pairs_of_three_nodes_reach_each_other() {
    all_pairs_pass(&Cluster::start(3));
}

#[test]
fn all_pod_pairs_reach_each_other_where_the_nic_segments_nothing() {
    let cluster = Cluster::start(2);
    cluster.turn_offloads_off();
    all_pairs_pass(&cluster);
}

#[test]
fn all_pod_pairs_of_nodes_with_several_workers_reach_each_other() {
    let cluster = ClusterOptions::new(2).config("workers = 2").start();
    all_pairs_pass(&cluster);
}

#[test]
fn all_pod_pairs_reach_each_other_on_the_port_that_flannel_uses() {
    let mut options = ClusterOptions::new(2).tunnel("udp_port = 8472");
    options = options.peer_line("udp_port = 8472");
    all_pairs_pass(&options.start());
}

#[test]
fn streams_in_all_directions_at_once_arrive_intact() {
    let cluster = Cluster::start(3);
    let pods = cluster.create_pods("a");
    // One receiver per pod: each listens at the same port.
    for turn in 1..pods.len() {
        let streams: Vec<_> = (0..pods.len())
            .map(|from| (from, (from + turn) % pods.len()))
            .map(|(from, to)| {
                Stream::start(Place::Pod(&pods[from]), Place::Pod(&pods[to]), pods[to].ip, 16 * MIB, None)
            })
            .collect();
        streams.into_iter().for_each(Stream::complete);
    }
}

#[test]
fn nodes_reach_pods_of_other_nodes_and_those_reach_the_nodes() {
    let cluster = Cluster::start(3);
    let pods = cluster.create_pods("a");
    for (from, to) in pairs(pods.len()) {
        let (node, pod) = (cluster.node(from), &pods[to]);
        node.sh(&format!("ping -n -c 2 -i 0.2 -W 2 {}", pod.ip)).ok();
        Stream::start(Place::Node(node), Place::Pod(pod), pod.ip, 2 * MIB, None).complete();
        datagrams(Place::Node(node), Place::Pod(pod), pod.ip, LARGE_DATAGRAM, 5);
        assert!(pod.pings(address(node)), "{} pings {}", pod.key(), node.address());
        Stream::start(Place::Pod(pod), Place::Node(node), address(node), 2 * MIB, None).complete();
    }
}

#[test]
fn a_pods_address_is_seen_unchanged_by_pods_and_nodes_elsewhere() {
    let cluster = Cluster::start(2);
    let pods = cluster.create_pods("a");
    let script = "import socket; s = socket.socket(); s.bind(('0.0.0.0', 7002)); s.listen(); \
                  print('ready', flush=True); print(s.accept()[1][0])";
    let script = format!("exec /usr/bin/python3 -c \"{script}\"");
    let far = cluster.node(1);
    for (target, mut server) in [(pods[1].ip, pods[1].spawn(&script)), (address(far), far.spawn(&script))] {
        server.wait_for_output("ready\n");
        let connect = "import socket, sys; socket.create_connection((sys.argv[1], 7002), 5)";
        pods[0].sh(&format!("/usr/bin/python3 -c '{connect}' {target}")).ok();
        assert_eq!(server.wait().ok().trim(), pods[0].ip.to_string());
    }
}

#[test]
fn both_routers_on_the_way_count_a_hop() {
    let cluster = Cluster::start(2);
    let pods = cluster.create_pods("a");
    for (ttl, router) in [(1, "10.244.0.1"), (2, "10.244.1.1")] {
        let ran = pods[0].sh(&format!("ping -n -c 1 -W 2 -t {ttl} {}", pods[1].ip));
        assert!(!ran.succeeded() && ran.stdout.contains(&format!("From {router} ")), "{ran}");
        assert!(ran.stdout.contains("Time to live exceeded"), "{ran}");
    }
    pods[0].sh(&format!("ping -n -c 1 -W 2 -t 3 {}", pods[1].ip)).ok();
}

#[test]
fn a_stream_between_nodes_survives_killed_datapaths_of_both() {
    let mut cluster = ClusterOptions::new(2).allow_log("datapath").start();
    let pods = cluster.create_pods("a");
    let stream =
        Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[1]), pods[1].ip, 24 * MIB, Some(8 * MIB));
    for number in [0, 1] {
        std::thread::sleep(Duration::from_millis(400));
        let node = cluster.node_mut(number);
        kill(node.datapath_pid(), Signal::SIGKILL).expect("the datapath can be killed");
        wait::until("another datapath runs", || (node.status().datapath_restarts == 1).then_some(()));
    }
    stream.complete();
}

#[test]
fn a_stream_between_nodes_survives_killed_control_processes_of_both() {
    let mut cluster = Cluster::start(2);
    let pods = cluster.create_pods("a");
    let stream =
        Stream::start(Place::Pod(&pods[0]), Place::Pod(&pods[1]), pods[1].ip, 24 * MIB, Some(8 * MIB));
    for number in [0, 1] {
        let node = cluster.node_mut(number);
        let datapath = node.datapath_pid();
        node.signal(Signal::SIGKILL);
        let _ = node.wait_for_end();
        assert!(pods[0].pings(pods[1].ip), "the datapath forwards without its control process");
        node.start_daemon();
        assert_eq!(node.datapath_pid(), datapath, "the running datapath is taken over");
    }
    stream.complete();
}
