//! Broadcast and multicast of a pod reach the pods of all nodes, each once, and never come back.

use integration::{Background, Cluster, TestPod, wait};

const GROUP: &str = "239.1.2.3";

const RECEIVE: &str = r#"
import socket, sys
group, own = sys.argv[1:]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((group, 7005))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(own))
s.settimeout(20)
print("ready", flush=True)
got = []
while not got or got[-1] != "end":
    got.append(s.recv(2000).decode())
print(" ".join(got))
"#;

const SEND: &str = r#"
import socket, sys, time
group, own, *messages = sys.argv[1:]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
for message in messages:
    s.sendto(message.encode(), (group, 7005))
    time.sleep(0.05)
"#;

fn listen(pod: &TestPod) -> Background {
    let mut listener = pod.spawn(&format!("exec /usr/bin/python3 -c '{RECEIVE}' {GROUP} {}", pod.ip));
    listener.wait_for_output("ready\n");
    listener
}

#[test]
fn a_multicast_of_a_pod_arrives_once_at_listeners_of_every_node() {
    let cluster = Cluster::start(3);
    let pods = cluster.create_pods("a");
    let beside = cluster.node(0).create_pod("b");
    // Peers that have pods are told apart from peers that have none; that takes a moment to be known.
    cluster.until_reached(&pods[0], pods[1].ip, wait::PATIENCE);
    cluster.until_reached(&pods[0], pods[2].ip, wait::PATIENCE);
    let listeners: Vec<_> = [&pods[0], &beside, &pods[1], &pods[2]].map(listen).into();
    pods[0].sh(&format!("/usr/bin/python3 -c '{SEND}' {GROUP} {} one two three end", pods[0].ip)).ok();
    let mut heard = listeners.into_iter();
    // The sender's own node gives nothing back to it: let its listener end.
    let own = heard.next().expect("there are four");
    beside.sh(&format!("/usr/bin/python3 -c '{SEND}' {GROUP} {} end", beside.ip)).ok();
    assert_eq!(own.wait().ok().trim(), "end");
    for listener in heard {
        assert_eq!(listener.wait().ok().trim(), "one two three end");
    }
}
