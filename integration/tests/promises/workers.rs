//! With several workers everything is as with one: pods' ports are spread over them, and the two
//! directions of a flow meet on different ones.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use integration::frames::{self, Between, CANARY, EVIL, v4};
use integration::raw::{self, Sniffer};
use integration::{NodeOptions, TestNode, TestPod, wait};
use nix::sys::signal::{Signal, kill};
use protocol::Mac;
use protocol::message::{Items, Kind};
use protocol::object::FdbEntry;

use crate::stream::{Place, Stream, datagrams};

const WORKERS: u32 = 2;

fn node() -> TestNode {
    let node = NodeOptions::default().config(&format!("workers = {WORKERS}")).start();
    assert_eq!(workers(&node), Some(WORKERS));
    node
}

fn workers(node: &TestNode) -> Option<u32> {
    node.status().datapath.map(|datapath| datapath.workers)
}

/// Pods whose ports different workers read.
fn two_pods(node: &TestNode) -> (TestPod, TestPod) {
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    assert_ne!(a.port.0 % WORKERS, b.port.0 % WORKERS, "ports go round the workers");
    (a, b)
}

#[test]
fn payload_between_pods_of_different_workers_arrives_intact() {
    let node = node();
    let (a, b) = two_pods(&node);
    assert!(a.pings(b.ip) && b.pings(a.ip));
    let there = Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 64 << 20, None);
    let back = Stream::start(Place::Pod(&b), Place::Pod(&a), a.ip, 64 << 20, None);
    there.complete();
    back.complete();
    datagrams(Place::Pod(&a), Place::Pod(&b), b.ip, 60_000, 30);
    datagrams(Place::Pod(&b), Place::Pod(&a), a.ip, 1, 200);
    node.assert_conservation();
    let listed = node.list(Kind::Flows);
    let flows: Vec<_> = listed
        .into_iter()
        .flat_map(|items| if let Items::Flows(rows) = items { rows } else { Vec::new() })
        .collect();
    for pod in [&a, &b] {
        assert!(flows.iter().any(|flow| flow.ingress == pod.port), "flows of every worker: {flows:?}");
    }
}

#[test]
fn the_node_and_pods_of_every_worker_reach_each_other() {
    let node = node();
    let (a, b) = two_pods(&node);
    let address: IpAddr = node.address().parse().expect("the node's address is one");
    for pod in [&a, &b] {
        node.sh(&format!("ping -n -c 1 -W 2 {}", pod.ip)).ok();
        assert!(pod.pings(address) && pod.pings(node.status().node.gateway));
        Stream::start(Place::Node(&node), Place::Pod(pod), pod.ip, 16 << 20, None).complete();
        Stream::start(Place::Pod(pod), Place::Node(&node), address, 16 << 20, None).complete();
    }
}

const STATION: Mac = Mac([0x02, 0, 0, 0, 0, 0x77]);

fn learned(node: &TestNode) -> Vec<FdbEntry> {
    let rows = node.list(Kind::Fdb);
    let rows =
        rows.into_iter().flat_map(|items| if let Items::Fdb(rows) = items { rows } else { Vec::new() });
    rows.filter(|row| !row.is_static).collect()
}

#[test]
fn a_station_heard_by_one_worker_is_reached_alone_from_every_other() {
    let node = node();
    let unsecured = |name| {
        let mut request = integration::node::pod_request(name, &[]);
        request.port_security = false;
        node.create(&request)
    };
    let (bridge, sender, witness) = (unsecured("bridge"), node.create_pod("sender"), unsecured("witness"));
    assert_ne!(bridge.port.0 % WORKERS, sender.port.0 % WORKERS);
    let path =
        Between { from_mac: STATION, from_ip: v4(bridge.ip), to_mac: sender.mac, to_ip: v4(sender.ip) };
    raw::send(&bridge, &[frames::udp(path, (1, 2), b"here I am")]);
    wait::until("every worker knows the station", || {
        learned(&node).iter().any(|row| row.mac == STATION && row.port == bridge.port).then_some(())
    });
    let (at_station, elsewhere) = (Sniffer::start(&bridge), Sniffer::start(&witness));
    let to = |mac, ip, payload: &[u8]| {
        let path = Between { from_mac: sender.mac, from_ip: v4(sender.ip), to_mac: mac, to_ip: ip };
        frames::udp(path, (3, 4), payload)
    };
    let mut sent = vec![to(STATION, v4(bridge.ip), EVIL); 50];
    sent.push(to(STATION, v4(bridge.ip), CANARY));
    sent.push(to(witness.mac, v4(witness.ip), CANARY));
    raw::send(&sender, &sent);
    let count = |frames: Vec<Vec<u8>>| frames.iter().filter(|frame| raw::contains(frame, EVIL)).count();
    assert_eq!(count(at_station.frames()), 50);
    assert_eq!(count(elsewhere.frames()), 0, "flooded, although the station is known");
}

#[test]
fn a_capture_shows_what_every_worker_reads_and_writes() {
    let node = node();
    let (a, b) = two_pods(&node);
    let file = node.dir().join("a.pcapng");
    let capture = node.vpodctl_spawn(&format!("capture a -w {} --snaplen 128 --duration 5s", file.display()));
    wait::until("the file's header is written", || {
        fs::metadata(&file).is_ok_and(|m| m.len() > 0).then_some(())
    });
    a.sh(&format!("ping -n -c 20 -i 0.02 -W 1 {}", b.ip)).ok();
    // Both workers write to the stream at the same time.
    let there = Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 8 << 20, Some(8 << 20));
    let back = Stream::start(Place::Pod(&b), Place::Pod(&a), a.ip, 8 << 20, Some(8 << 20));
    there.complete();
    back.complete();
    capture.wait().ok();
    let read = |filter: &str| {
        let fields = "-T fields -e ip.src -e icmp.type";
        node.sh(&format!("tshark -r {} -Y '{filter}' {fields} 2>&1 | grep -v 'Running as'", file.display()))
            .ok()
    };
    let rows = read("icmp");
    let count = |ip: IpAddr, kind: u8| rows.lines().filter(|row| *row == format!("{ip}\t{kind}")).count();
    assert_eq!((count(a.ip, 8), count(b.ip, 0)), (20, 20), "{rows}");
    let streams = read("tcp.port == 7000");
    for ip in [a.ip, b.ip] {
        assert!(streams.lines().filter(|row| row.starts_with(&ip.to_string())).count() > 20, "{streams}");
    }
    assert!(!streams.contains("damaged") && !streams.contains("cut short"), "{streams}");
}

#[test]
fn a_killed_datapath_of_several_workers_breaks_no_stream() {
    let mut node = node();
    node.allow_log("datapath");
    let (a, b) = two_pods(&node);
    let there = Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 24 << 20, Some(8 << 20));
    let back = Stream::start(Place::Pod(&b), Place::Pod(&a), a.ip, 24 << 20, Some(8 << 20));
    std::thread::sleep(Duration::from_millis(400));
    let killed = node.datapath_pid();
    kill(killed, Signal::SIGKILL).expect("the datapath can be killed");
    wait::until("another datapath runs", || {
        let now = node.status().datapath?;
        (i64::from(now.pid) != i64::from(killed.as_raw()) && now.ports >= 3).then_some(())
    });
    there.complete();
    back.complete();
    assert_eq!((workers(&node), node.status().datapath_restarts), (Some(WORKERS), 1));
}

#[test]
fn pods_come_and_go_under_traffic_of_every_worker() {
    let node = node();
    let (a, b) = two_pods(&node);
    let there = Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 32 << 20, Some(8 << 20));
    let back = Stream::start(Place::Pod(&b), Place::Pod(&a), a.ip, 32 << 20, Some(8 << 20));
    for round in 0..6 {
        let (c, d) = (node.create_pod("c"), node.create_pod("d"));
        assert!(c.pings(a.ip) && d.pings(c.ip) && b.pings(d.ip), "round {round}");
        node.assert_conservation();
        node.delete_pod(&c);
        assert!(!d.pings(c.ip));
        node.delete_pod(&d);
    }
    there.complete();
    back.complete();
    node.assert_conservation();
}

#[test]
fn a_new_control_process_adopts_the_workers_there_are() {
    let mut node = node();
    let (a, b) = two_pods(&node);
    let datapath = node.datapath_pid();
    node.signal(Signal::SIGKILL);
    let _ = node.wait_for_end();
    let path = node.dir().join("vswitchd.toml");
    let configured = fs::read_to_string(&path).expect("the configuration is there");
    fs::write(&path, configured.replace("workers = 2", "workers = 3")).expect("it can be changed");
    node.start_daemon();
    assert_eq!((node.datapath_pid(), workers(&node)), (datapath, Some(2)));
    assert!(a.pings(b.ip) && a.pings(node.create_pod("c").ip));
    // An orderly stop ends the datapath too; the next one is as configured.
    node.stop_daemon();
    node.start_daemon();
    assert_eq!(workers(&node), Some(3));
    assert!(a.pings(b.ip) && b.pings(a.ip));
}
