//! Every pod of a node reaches every other one: ICMP, TCP, UDP of any size, and the ICMP errors
//! that tell why it does not.

use integration::{TestNode, TestPod, binary};
use nix::sys::signal::{Signal, kill};

use crate::stream::{Place, Stream, datagrams};

const MIB: u64 = 1 << 20;

fn two_pods(node: &TestNode) -> (TestPod, TestPod) {
    (node.create_pod("a"), node.create_pod("b"))
}

#[test]
fn pods_ping_each_other() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    a.sh(&format!("ping -n -c 3 -i 0.2 -W 2 {}", b.ip)).ok();
    b.sh(&format!("ping -n -c 3 -i 0.2 -W 2 {}", a.ip)).ok();
}

#[test]
fn pods_of_different_namespaces_ping_each_other() {
    let node = TestNode::start();
    let a = node.create_pod("a");
    let mut request = integration::node::pod_request("a", &[]);
    request.pod = integration::node::reference("other", "a");
    let b = node.create(&request);
    assert_ne!(a.ip, b.ip);
    assert!(a.pings(b.ip));
}

#[test]
fn tcp_stream_arrives_intact() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 64 * MIB, None).complete();
}

#[test]
fn both_directions_at_once_arrive_intact() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    let there = Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 16 * MIB, None);
    let back = Stream::start(Place::Pod(&b), Place::Pod(&a), a.ip, 16 * MIB, None);
    there.complete();
    back.complete();
}

#[test]
fn superframes_pass_whole_between_pods() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 16 * MIB, None).complete();
    let port = node.ports().into_iter().find(|p| p.id == a.port).expect("pod a has a port");
    let mean = port.counters.rx_bytes / port.counters.rx_frames.max(1);
    // Segments of one MTU would give a mean below it.
    assert!(mean > 3 * u64::from(port.ip_mtu), "mean frame of the sender: {mean} bytes");
}

#[test]
fn small_datagrams_come_back_unchanged() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    datagrams(Place::Pod(&a), Place::Pod(&b), b.ip, 1, 20);
    datagrams(Place::Pod(&a), Place::Pod(&b), b.ip, 1200, 100);
}

#[test]
fn datagrams_of_60_kilobytes_come_back_unchanged() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    datagrams(Place::Pod(&a), Place::Pod(&b), b.ip, 60_000, 30);
}

#[test]
fn expired_ttl_is_reported_by_the_gateway() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    let ran = pod.sh(&format!("ping -n -c 1 -W 2 -t 1 {}", node.address()));
    assert!(!ran.succeeded() && ran.stdout.contains("From 10.244.0.1 "), "{ran}");
    assert!(ran.stdout.contains("Time to live exceeded"), "{ran}");
    assert_eq!(node.drops(&pod, "ttl_expired"), 1);
}

#[test]
fn missing_pod_is_reported_unreachable() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    // Through the router, or the pod's own kernel would give up on ARP.
    pod.sh("ip route add 10.244.0.200/32 via 10.244.0.1 || ip route replace 10.244.0.200/32 via 10.244.0.1 onlink dev eth0").ok();
    let ran = pod.sh("ping -n -c 1 -W 2 10.244.0.200");
    assert!(!ran.succeeded() && ran.stdout.contains("From 10.244.0.1 "), "{ran}");
    assert!(ran.stdout.contains("Destination Host Unreachable"), "{ran}");
}

#[test]
fn closed_udp_port_is_reported_by_the_far_pod() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    let ran = a.sh(&format!("exec {} datagrams {}:9 100 1", binary("stream").display(), b.ip));
    assert!(ran.to_string().contains("Connection refused"), "{ran}");
}

#[test]
fn packet_over_the_receivers_mtu_is_answered_with_that_mtu() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    let mtu = node.status().node.pod_mtu.expect("a node knows its own");
    // The pod's administrator raises its own MTU; the other pod's stays.
    a.sh("ip link set eth0 mtu 9000").ok();
    // Through the router: on the link itself nobody could answer.
    a.sh(&format!("ip route replace {} via {} dev eth0", b.ip, node.status().node.gateway)).ok();
    let ran = a.sh(&format!("ping -n -c 1 -W 2 -M do -s {} {}", mtu, b.ip));
    assert!(!ran.succeeded() && ran.stdout.contains(&format!("mtu = {mtu}")), "{ran}");
    assert_eq!(node.drops(&a, "packet_too_big"), 1);
    // The learned path MTU makes TCP work at once.
    Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, MIB, None).complete();
}

#[test]
fn an_idle_switch_uses_no_processor() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    assert!(a.pings(b.ip));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let used = crate::lost_devices::processor_time(node.datapath_pid(), std::time::Duration::from_secs(2));
    // Two pods with nothing to say; the bound is for a spinning loop, not for a benchmark.
    assert!(used < std::time::Duration::from_millis(200), "{used:?} in 2 s");
}

/// The datapath stands still while the burst is sent, so that it finds all of it at once.
#[test]
fn a_burst_of_datagrams_is_merged_and_arrives_one_by_one_in_order() {
    let node = TestNode::start();
    let (a, b) = two_pods(&node);
    let receiver = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7003)); \
                    s.settimeout(10); print('ready', flush=True); \
                    print([s.recv(2000) == bytes([n]) * 64 for n in range(101)] == [True] * 101)";
    let mut receiver = b.spawn(&format!("/usr/bin/python3 -c \"{receiver}\""));
    receiver.wait_for_output("ready\n");
    let send = |numbers: &str| {
        let script =
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7004));";
        a.sh(&format!(
            "/usr/bin/python3 -c \"{script} [s.sendto(bytes([n]) * 64, ('{}', 7003)) for n in {numbers}]\"",
            b.ip
        ))
        .ok();
    };
    // Makes the flow known, and ARP done.
    send("[0]");
    let datapath = node.datapath_pid();
    kill(datapath, Signal::SIGSTOP).expect("the datapath can be stopped");
    send("range(1, 101)");
    kill(datapath, Signal::SIGCONT).expect("the datapath can go on");
    assert_eq!(receiver.wait().ok().trim(), "True");
    let metrics = node.vpodctl("metrics").ok();
    let merged = metrics.lines().find_map(|line| line.strip_prefix("vswitch_merged_frames_total "));
    let merged: u32 = merged.and_then(|number| number.parse().ok()).expect("a number");
    assert!((90..100).contains(&merged), "{merged} of 100 frames left as part of another");
}
