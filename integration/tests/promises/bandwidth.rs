//! A pod's rates: what it gets, what it sends, and what is seen of them.

use std::net::IpAddr;
use std::time::Instant;

use integration::cluster::Cluster;
use integration::node::{TestNode, pod_request};
use integration::{NodeOptions, TestPod, binary};
use nix::sys::signal::{Signal, kill};
use protocol::message::CreatePod;
use protocol::object::{Bandwidth, PortCounters};

use crate::stream::{Place, Stream};

const MEGABIT: u64 = 1_000_000;

fn limited(node: &TestNode, name: &str, ingress: Option<u64>, egress: Option<u64>) -> TestPod {
    let bandwidth = Bandwidth { ingress_rate: ingress, egress_rate: egress, ..Bandwidth::default() };
    node.create(&CreatePod { bandwidth, ..pod_request(name, &[]) })
}

/// What share of `rate` a stream of two seconds' bytes gets. Its bounds leave room for a machine that is busy with other tests.
#[track_caller]
fn share(from: &TestPod, to: &TestPod, rate: u64) -> f64 {
    let bytes = rate / 8 * 2;
    let began = Instant::now();
    Stream::start(Place::Pod(from), Place::Pod(to), to.ip, bytes, None).complete();
    (bytes * 8) as f64 / rate as f64 / began.elapsed().as_secs_f64()
}

#[track_caller]
fn assert_share(from: &TestPod, to: &TestPod, rate: u64) {
    let share = share(from, to, rate);
    assert!((0.7..1.1).contains(&share), "{share:.2} of {rate} bit/s from {} to {}", from.key(), to.key());
}

fn counters(node: &TestNode, pod: &TestPod) -> PortCounters {
    node.ports().into_iter().find(|port| port.id == pod.port).expect("the pod has a port").counters
}

#[test]
fn tcp_to_and_from_a_limited_pod_gets_its_rate() {
    let node = NodeOptions::default().config("workers = 2").start();
    let free = node.create_pod("free");
    for (name, rate) in [("slow", 10 * MEGABIT), ("fast", 100 * MEGABIT)] {
        let pod = limited(&node, name, Some(rate), Some(rate));
        assert_share(&free, &pod, rate);
        assert_share(&pod, &free, rate);
        let counters = counters(&node, &pod);
        assert!(counters.delayed_frames > 0 && counters.pauses > 0, "{counters:?}");
    }
    node.assert_conservation();
}

#[test]
fn tcp_from_another_node_gets_the_rate() {
    let cluster = Cluster::start(2);
    let [here, there] = cluster.nodes() else { panic!("two nodes") };
    let free = here.create_pod("free");
    let pod = limited(there, "slow", Some(10 * MEGABIT), Some(10 * MEGABIT));
    assert_share(&free, &pod, 10 * MEGABIT);
    assert_share(&pod, &free, 10 * MEGABIT);
}

/// Sends datagrams for two seconds, as fast as it goes.
fn flood(from: &TestPod, to: IpAddr) {
    let program = binary("load");
    let script = format!("timeout 2 {} flood {to}:9", program.display());
    let _ = from.sh(&script);
}

#[test]
fn a_flood_to_a_limited_pod_gets_the_rate_and_the_rest_is_named() {
    let node = TestNode::start();
    let (greedy, other) = (node.create_pod("greedy"), node.create_pod("other"));
    let pod = limited(&node, "slow", Some(10 * MEGABIT), None);
    let began = Instant::now();
    flood(&greedy, pod.ip);
    let seconds = began.elapsed().as_secs_f64();
    let written = counters(&node, &pod);
    // Ethernet headers do not count against the rate, and small datagrams have more of them, unless they were merged.
    let most = (10 * MEGABIT) as f64 / 8.0 * seconds * 1.3 + 400_000.0;
    assert!(written.tx_bytes as f64 <= most, "{} bytes in {seconds} s", written.tx_bytes);
    assert!(written.tx_bytes > 10 * MEGABIT / 16, "{} bytes in {seconds} s", written.tx_bytes);
    assert!(node.drops(&greedy, "rate_limited") > 1_000);
    // Bursts that were merged are one here.
    assert!((1..=node.drops(&greedy, "rate_limited")).contains(&written.limited_frames), "{written:?}");
    assert!(greedy.pings(other.ip) && other.pings(greedy.ip));
    node.assert_conservation();
}

#[test]
fn limits_stay_when_processes_are_killed_and_restarted() {
    let mut node = TestNode::start();
    let free = node.create_pod("free");
    let pod = limited(&node, "slow", Some(10 * MEGABIT), Some(10 * MEGABIT));
    node.allow_log("datapath");
    let killed = node.datapath_pid();
    kill(killed, Signal::SIGKILL).expect("the datapath can be killed");
    integration::wait::until("another datapath", || {
        (node.status().datapath?.pid != killed.as_raw().unsigned_abs()).then_some(())
    });
    assert_share(&free, &pod, 10 * MEGABIT);
    node.stop_daemon();
    node.start_daemon();
    assert_share(&pod, &free, 10 * MEGABIT);
    assert_eq!(node.pod("slow").spec.bandwidth.egress_rate, Some(10 * MEGABIT));
}

#[test]
fn bandwidth_and_host_ports_are_described() {
    let node = TestNode::start();
    node.vpodctl(
        "create-pod web --ingress-rate 10M --egress-rate 1.5G --egress-burst 8Mi --publish 127.0.0.1:8080:80",
    )
    .ok();
    node.vpodctl("create-pod free").ok();
    let described = node.vpodctl("describe pod web").ok();
    for line in [
        "Bandwidth:   ingress 10 Mbit/s (burst 64Ki bytes), egress 1500 Mbit/s (burst 1Mi bytes)",
        "Host ports:  127.0.0.1:8080 -> 80/TCP",
    ] {
        assert!(described.contains(line), "no {line:?} in: {described}");
    }
    assert!(!node.vpodctl("describe pod free").ok().contains("Bandwidth"));
    let json: serde_json::Value =
        serde_json::from_str(&node.vpodctl("get pod web -o json").ok()).expect("JSON");
    let spec = &json["spec"];
    assert_eq!(spec["bandwidth"]["ingressRate"], 10_000_000);
    assert_eq!(spec["bandwidth"]["egressBurst"], 8 << 20);
    assert_eq!(
        (&spec["ports"][0]["hostIP"], &spec["ports"][0]["hostPort"]),
        (&"127.0.0.1".into(), &8080.into())
    );
}

#[test]
fn limits_that_cannot_be_kept_are_refused() {
    let node = TestNode::start();
    for (words, part) in [
        ("--ingress-rate 0", "ingress rate 0 would stop everything"),
        ("--egress-rate 10", "egress rate 10 bit/s is below the least"),
        ("--egress-rate 2P", "is above the most"),
        ("--ingress-burst 1M", "ingress burst without ingress rate"),
        ("--ingress-rate 10M --ingress-burst 1000", "is less than one full packet"),
        ("--egress-rate 10M --egress-burst 40G", "(4 GB)"),
    ] {
        let message = node.vpodctl(&format!("create-pod web {words}")).fails(1);
        assert!(message.contains("pod default/web") && message.contains(part), "{message}");
    }
    node.vpodctl("create-pod web --ingress-rate fast").fails(2);
    assert_eq!(node.pods().len(), 0);
}
