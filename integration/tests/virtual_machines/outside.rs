//! The way out of the cluster and into it by an interface with a driver of its own: virtio-net, with offloads both ways.
//!
//! The first machine is a node, the second is no node: it plays the Internet behind the first one's gateway, which it is too.

use std::time::Duration;

use integration::vm::{Vm, VmCluster};
use integration::wait;

use super::{LARGE_DATAGRAM, STREAM_BYTES};

const NODE: &str = "192.0.2.1";
/// Somebody outside, on the second machine.
const INTERNET: &str = "203.0.113.10";
const NODE_PORT: u16 = 30_700;
const BALANCER: &str = "192.0.2.200";
/// An emulated machine is slow, more so beside others.
const BEGIN_PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_pod_goes_out_and_is_reached_by_a_real_interface() {
    let mut cluster = VmCluster::boot(2);
    begin_outside(cluster.vm(1));
    begin_node(cluster.vm(0));
    a_pod_goes_out_as_its_node(&mut cluster);
    for address in [format!("{NODE}:{NODE_PORT}"), format!("{BALANCER}:7000")] {
        outsiders_reach_the_service(&mut cluster, &address);
    }
    the_nodes_own_services_go_on(&mut cluster);
    let log = cluster.vm(0).sh("cat /root/vswitchd.log").ok();
    assert!(!log.contains("panicked") && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

fn begin_outside(vm: &mut Vm) {
    vm.sh(&format!(
        "ip address add {INTERNET}/32 dev lo\n\
         setsid stream echo {INTERNET}:7001 >/tmp/echo 2>&1 &\n\
         for _ in $(seq 50); do netstat -uln | grep -q :7001 && exit 0; sleep 0.1; done; exit 1"
    ))
    .ok();
}

/// With a pod that goes out, and one behind a service that is reached from outside.
fn begin_node(vm: &mut Vm) {
    vm.sh(&format!(
        "ip route add default via 192.0.2.2\n\
         cat >/root/vswitchd.toml <<'CONFIG'\nnode = \"vm0\"\n[[load_balancer.pool]]\nname = \"wire\"\naddresses = [\"{BALANCER}/32\"]\nCONFIG\n\
         setsid vswitchd --config /root/vswitchd.toml >/root/vswitchd.log 2>&1 &"
    ))
    .ok();
    wait::until_within(BEGIN_PATIENCE, "the daemon serves", || {
        vm.sh("vpodctl status").succeeded().then_some(())
    });
    vm.sh("vpodctl create-pod client && vpodctl create-pod server -l app=server").ok();
    vm.sh(&format!("vpodctl create-service loadbalancer server --tcp 7000 --node-port {NODE_PORT}")).ok();
    wait::until("the load balancer has an address", || {
        vm.sh("vpodctl get services").ok().contains(BALANCER).then_some(())
    });
}

/// A stream, datagrams in fragments, and an echo request; outside they come from the node's address.
fn a_pod_goes_out_as_its_node(cluster: &mut VmCluster) {
    cluster.vm(0).sh(&format!("vpodctl exec client -- ping -c 2 -W 5 {INTERNET}")).ok();
    let datagrams = format!("vpodctl exec client -- stream datagrams {INTERNET}:7001 {LARGE_DATAGRAM} 10");
    cluster.vm(0).sh(&datagrams).ok();
    serve(cluster.vm(1), "", &format!("{INTERNET}:7000"));
    let send = format!("vpodctl exec client -- stream send {INTERNET}:7000 {STREAM_BYTES}");
    let seen = "netstat -tn | grep ':7000 '";
    let (sent, peers) = send_and_look(cluster, (0, &send), (1, seen));
    assert_eq!(received(cluster.vm(1)), sent, "what was received outside is not what the pod sent");
    assert!(peers.contains(&format!(" {NODE}:")), "the pod is not seen as its node: {peers}");
}

/// Whose address the pod sees.
fn outsiders_reach_the_service(cluster: &mut VmCluster, address: &str) {
    let server = cluster.vm(0).sh("vpodctl get pod server -o wide").ok();
    let server = server.split_whitespace().find(|word| word.starts_with("10.244.")).expect("an address");
    serve(cluster.vm(0), "vpodctl exec server --", &format!("{server}:7000"));
    let send = format!("stream send {address} {STREAM_BYTES}");
    let seen = "vpodctl exec server -- netstat -tn | grep ':7000 '";
    let (sent, peers) = send_and_look(cluster, (1, &send), (0, seen));
    assert_eq!(received(cluster.vm(0)), sent, "what the pod received by {address} is not what was sent");
    assert!(peers.contains(" 192.0.2.2:"), "the pod does not see its client by {address}: {peers}");
}

fn the_nodes_own_services_go_on(cluster: &mut VmCluster) {
    serve(cluster.vm(0), "", &format!("{NODE}:8022"));
    let sent = cluster.vm(1).sh_within(60, &format!("stream send {NODE}:8022 {STREAM_BYTES}")).ok();
    assert_eq!(received(cluster.vm(0)), sent, "what the node received is not what was sent");
    cluster.vm(1).sh(&format!("ping -c 1 -W 5 {NODE}")).ok();
}

/// Starts a server for one stream, by way of `prefix`.
fn serve(vm: &mut Vm, prefix: &str, address: &str) {
    vm.sh(&format!(
        "setsid {prefix} stream serve {address} >/tmp/received 2>&1 &\n\
         for _ in $(seq 50); do grep -q ready /tmp/received && exit 0; sleep 0.1; done; cat /tmp/received; exit 1"
    ))
    .ok();
}

/// What the server has received.
fn received(vm: &mut Vm) -> String {
    vm.sh("cat /tmp/received").ok().trim_start_matches("ready\n").to_owned()
}

/// Sends on one machine, slowly, and looks at another meanwhile. What was sent, and what was seen.
fn send_and_look(
    cluster: &mut VmCluster,
    (from, send): (usize, &str),
    (at, look): (usize, &str),
) -> (String, String) {
    let pace = STREAM_BYTES / 4;
    cluster.vm(from).sh(&format!("setsid {send} {pace} >/tmp/sent 2>&1 &")).ok();
    let seen = wait::until("the connection is seen", || {
        let seen = cluster.vm(at).sh(look);
        seen.succeeded().then_some(seen.stdout)
    });
    let script = "for _ in $(seq 600); do [ -s /tmp/sent ] && break; sleep 0.1; done; cat /tmp/sent";
    (cluster.vm(from).sh_within(60, script).ok(), seen)
}
