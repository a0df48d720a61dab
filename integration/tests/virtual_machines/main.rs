//! The promises that need more than one kernel: nodes that are virtual machines on one wire. Built and run
//! by `make vm-test`, which first makes what they boot.

mod outside;

use std::time::{Duration, Instant};

use integration::vm::{Vm, VmCluster};
use integration::wait;

/// What a datagram over several fragments has.
const LARGE_DATAGRAM: usize = 9000;
/// Of each TCP stream; an emulated machine moves about a megabyte a second.
const STREAM_BYTES: u64 = 2_000_000;

#[test]
fn pods_of_three_machines_reach_each_other() {
    let mut cluster = VmCluster::boot(3);
    let since = Instant::now();
    for number in 0..3 {
        start_node(cluster.vm(number), number, 3);
    }
    println!("the nodes were ready after {:.1?}", since.elapsed());
    machines_reach_each_other(&mut cluster);
    for vm in cluster.each() {
        pods_of_the_machine_talk(vm);
    }
    println!("pods of each machine had talked after {:.1?}", since.elapsed());
    for from in 0..3 {
        for to in (0..3).filter(|&to| to != from) {
            pods_of_two_machines_talk(&mut cluster, from, to);
        }
    }
    println!("pods of different machines had talked after {:.1?}", since.elapsed());
    a_killed_datapath_heals_for_other_machines(&mut cluster);
    a_killed_datapath_heals(cluster.vm(0));
    for vm in cluster.each() {
        all_peers_answer(vm);
        nothing_is_lost_from_the_counters(vm);
    }
}

/// The daemon, with a peer for each other machine, and two pods with servers in the first.
fn start_node(vm: &mut Vm, number: usize, count: usize) {
    let peers: String = (0..count).filter(|&other| other != number).map(peer).collect();
    vm.sh(&format!(
        "cat >/root/vswitchd.toml <<'CONFIG'\nnode = \"{}\"\npod_cidr = \"10.244.{number}.0/24\"\n[tunnel]\ndevice = \"eth0\"\n{peers}CONFIG\n\
         setsid vswitchd --config /root/vswitchd.toml >/root/vswitchd.log 2>&1 &\n\
         for _ in $(seq 100); do vpodctl status >/dev/null 2>&1 && exit 0; sleep 0.2; done\n\
         cat /root/vswitchd.log; exit 1",
        vm.name
    ))
    .ok();
    vm.sh(&format!(
        "vpodctl create-pod server --ip {server} -- stream echo {server}:7001 && vpodctl create-pod client --ip {client}\n\
         for _ in $(seq 50); do vpodctl exec server -- netstat -uln | grep -q :7001 && exit 0; sleep 0.2; done; exit 1",
        server = server(number),
        client = client(number),
    ))
    .ok();
}

fn peer(number: usize) -> String {
    format!(
        "[[peer]]\nname = \"vm{number}\"\naddress = \"192.0.2.{}\"\npod_cidrs = [\"10.244.{number}.0/24\"]\n",
        number + 1
    )
}

fn server(number: usize) -> String {
    format!("10.244.{number}.10")
}

fn client(number: usize) -> String {
    format!("10.244.{number}.11")
}

fn machines_reach_each_other(cluster: &mut VmCluster) {
    for from in 0..3 {
        for to in (0..3).filter(|&to| to != from) {
            let target = cluster.vm(to).address.clone();
            cluster.vm(from).sh(&format!("ping -c 1 -W 5 {target}")).ok();
        }
    }
}

fn pods_of_the_machine_talk(vm: &mut Vm) {
    let number: usize = vm.name.trim_start_matches("vm").parse().expect("machines are numbered");
    vm.sh(&format!("vpodctl exec client -- ping -c 2 -W 5 {}", server(number))).ok();
    datagrams(vm, number);
    vm.sh(&format!("ping -c 1 -W 5 {}", server(number))).ok();
}

/// ICMP, large datagrams and a TCP stream from the client of one machine to the server's pod of another.
fn pods_of_two_machines_talk(cluster: &mut VmCluster, from: usize, to: usize) {
    let target = server(to);
    cluster.vm(from).sh(&format!("vpodctl exec client -- ping -c 2 -W 5 {target}")).ok();
    datagrams(cluster.vm(from), to);
    let serve =
        format!("setsid vpodctl exec server -- stream serve {target}:7000 >/tmp/received 2>&1 &\nsleep 1");
    cluster.vm(to).sh(&serve).ok();
    let send = format!("vpodctl exec client -- stream send {target}:7000 {STREAM_BYTES}");
    let sent = cluster.vm(from).sh_within(60, &send).ok();
    let received = cluster.vm(to).sh("cat /tmp/received").ok();
    assert_eq!(received, format!("ready\n{sent}"), "what vm{to} received is not what vm{from} sent");
}

fn datagrams(vm: &mut Vm, to: usize) {
    let target = server(to);
    vm.sh(&format!("vpodctl exec client -- stream datagrams {target}:7001 {LARGE_DATAGRAM} 10")).ok();
}

fn kill_datapath(vm: &mut Vm) {
    vm.sh("kill -9 $(pidof vswitchd | tr ' ' '\\n' | while read -r pid; do \
           grep -qz datapath /proc/$pid/cmdline && echo $pid; done)")
        .ok();
}

fn a_killed_datapath_heals(vm: &mut Vm) {
    kill_datapath(vm);
    let ping = format!("vpodctl exec client -- ping -c 1 -W 1 {}", server(0));
    wait::until("pods talk again after a killed datapath", || vm.sh(&ping).succeeded().then_some(()));
    vm.sh("vpodctl status -o json | grep -q '\"datapathRestarts\": 1'").ok();
    pods_of_the_machine_talk(vm);
}

fn a_killed_datapath_heals_for_other_machines(cluster: &mut VmCluster) {
    kill_datapath(cluster.vm(1));
    let since = Instant::now();
    let ping = format!("vpodctl exec client -- ping -c 1 -W 1 {}", server(1));
    wait::until_within(Duration::from_secs(30), "vm1's pods answer again", || {
        cluster.vm(0).sh(&ping).succeeded().then_some(())
    });
    println!("vm1's pods answered again after {:.1?}", since.elapsed());
}

/// Keep-alives come back from every other machine, also after datapaths died.
fn all_peers_answer(vm: &mut Vm) {
    wait::until("every peer answers", || {
        let peers: serde_json::Value =
            serde_json::from_str(&vm.sh("vpodctl get peers -o json").ok()).expect("vpodctl prints JSON");
        let peers = peers["items"].as_array().expect("a list of peers");
        assert_eq!(peers.len(), 2, "{peers:?}");
        peers.iter().all(|peer| peer["health"]["reachable"] == true).then_some(())
    });
}

/// What a port received is what left and what was dropped by name; and the daemon had nothing to complain.
fn nothing_is_lost_from_the_counters(vm: &mut Vm) {
    let ports: serde_json::Value =
        serde_json::from_str(&vm.sh("vpodctl get ports -o json").ok()).expect("vpodctl prints JSON");
    let ports = ports["items"].as_array().expect("a list of ports");
    assert!(ports.len() >= 3, "two pods and the gateway: {ports:?}");
    for port in ports {
        let counters = &port["counters"];
        let dropped = counters["drops"].as_array().into_iter().flatten();
        let dropped: u64 = dropped.filter_map(|drop| drop["frames"].as_u64()).sum();
        let received = counters["rxFrames"].as_u64().expect("a counter");
        let forwarded = counters["forwarded"].as_u64().expect("a counter");
        assert_eq!(received, forwarded + dropped, "{}: {port:#}", vm.name);
    }
    let log = vm.sh("cat /root/vswitchd.log").ok();
    assert!(!log.contains("panicked"), "{log}");
}
