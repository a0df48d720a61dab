//! What is missing when a runtime takes a container's network back, and what stays when the daemon does not.

use std::fs;
use std::time::Duration;

use integration::{NodeOptions, TestNode, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Call, Container, add, address, del, pods};

fn notes(node: &TestNode) -> usize {
    fs::read_dir(node.dir().join("run/detach")).map(Iterator::count).unwrap_or_default()
}

fn kill_control(node: &mut TestNode) {
    node.signal(Signal::SIGKILL);
    let _ = node.wait_for_end();
}

#[test]
fn del_succeeds_whatever_is_missing() {
    let mut node = NodeOptions::default().allow_log("device eth0 is gone").start();
    let (deleted, never) = (Container::start(&node), Container::start(&node));
    del(&node, &never);
    // The interface.
    let [without_interface, without_netns, without_all] = [(); 3].map(|()| Container::start(&node));
    for container in [&deleted, &without_interface, &without_netns, &without_all] {
        add(&node, container);
    }
    without_interface.sh("ip link delete eth0").ok();
    del(&node, &without_interface);
    // The namespace, and what says where it was.
    without_netns.vanish();
    Call::new(&node, "DEL", &without_netns).without("CNI_NETNS").run(&node).ok();
    // What ADD answered, or whether that can be read.
    let corrupt = json!({"cniVersion": "1.1.0", "ips": "none", "interfaces": [7]});
    Call::new(&node, "DEL", &deleted)
        .set("prevResult", corrupt)
        .set("runtimeConfig", json!(1))
        .run(&node)
        .ok();
    // All of it.
    without_all.vanish();
    node.stop_daemon();
    Call::new(&node, "DEL", &without_all).without("CNI_NETNS").run(&node).ok();
    node.start_daemon();
    assert_eq!(pods(&node).len(), 0);
    assert_eq!(notes(&node), 0);
}

#[test]
fn del_without_a_daemon_is_done_when_it_comes() {
    let mut node = TestNode::start();
    let [gone, stays, again] = [(); 3].map(|()| Container::start(&node));
    let before = [&gone, &stays, &again].map(|container| address(&add(&node, container)));
    kill_control(&mut node);
    let said = Call::new(&node, "DEL", &gone).run(&node);
    assert!(said.stderr.contains("leaving a note"), "{said}");
    Call::new(&node, "DEL", &gone).run(&node).ok();
    assert_eq!(notes(&node), 1, "one for each attachment");
    let (code, text) = Call::new(&node, "ADD", &again).fails(&node);
    assert!(code == 11 && text.contains("is the daemon running?"), "{text}");
    node.start_daemon();
    assert!(!gone.sh("ip link show eth0").succeeded(), "its interface is gone");
    assert_eq!(notes(&node), 0);
    assert!(stays.pings(before[2]), "the others talk");
    // A runtime that was told so may start the same container at once.
    assert_ne!(address(&add(&node, &gone)), before[0]);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(gone.pings(before[1]), "and it stays");
}

#[test]
fn notes_that_are_none_are_removed_and_lead_nowhere() {
    let mut node = NodeOptions::default().allow_log("cannot be read and is removed").start();
    let container = Container::start(&node);
    let ip = address(&add(&node, &container));
    let detach = node.dir().join("run/detach");
    fs::create_dir_all(&detach).unwrap();
    fs::write(detach.join("1"), "{}").unwrap();
    fs::write(detach.join("2"), [0xff; 100_000]).unwrap();
    let outside = json!({"network": "../x", "container": "a/b", "interface": "eth0"});
    fs::write(detach.join("3"), outside.to_string()).unwrap();
    let precious = node.dir().join("precious");
    fs::write(&precious, "kept").unwrap();
    std::os::unix::fs::symlink(&precious, detach.join("4")).unwrap();
    node.stop_daemon();
    node.start_daemon();
    assert_eq!(notes(&node), 0);
    assert_eq!(fs::read_to_string(precious).unwrap(), "kept");
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {ip}")).succeeded());
}

#[test]
fn containers_keep_their_network_while_the_daemon_restarts() {
    let mut node = NodeOptions::default().allow_log("datapath").start();
    let container = Container::start(&node);
    let pod = node.create_pod("pod");
    let ip = address(&add(&node, &container));
    // What a plugin behind us has done with the interface stays.
    container.sh("ip address add 192.0.2.77/32 dev eth0 && ip route add 198.51.100.0/24 via 10.244.0.1").ok();
    let mut ping = container.spawn(&format!("ping -n -i 0.05 -c 60 -W 2 {}", pod.ip));
    ping.wait_for_output("bytes from");
    kill_control(&mut node);
    std::thread::sleep(Duration::from_millis(300));
    node.start_daemon();
    let ran = ping.wait();
    assert!(ran.stdout.contains(" 60 received"), "no packet is lost: {ran}");
    // Both processes, and with them all descriptors.
    let datapath = node.datapath_pid();
    node.signal(Signal::SIGKILL);
    kill(Pid::from_raw(datapath.as_raw()), Signal::SIGKILL).unwrap();
    let _ = node.wait_for_end();
    node.start_daemon();
    assert!(container.pings(pod.ip) && pod.pings(ip));
    // In order.
    node.stop_daemon();
    node.start_daemon();
    assert!(container.pings(pod.ip) && pod.pings(ip));
    let shown = container.sh("ip address show dev eth0; ip route").ok();
    assert!(shown.contains("192.0.2.77/32") && shown.contains("198.51.100.0/24"), "{shown}");
    del(&node, &container);
    assert_eq!(pods(&node).len(), 1);
}

#[test]
fn container_that_vanishes_without_a_word_gives_its_address_back() {
    let mut node = TestNode::start();
    let [early, late, same] = [(); 3].map(|()| Container::start(&node));
    for container in [&early, &late, &same] {
        add(&node, container);
    }
    early.vanish();
    wait::until("it is released", || (pods(&node).len() == 2).then_some(()));
    // While nobody looks.
    node.stop_daemon();
    late.vanish();
    node.start_daemon();
    assert_eq!(pods(&node).len(), 1);
    // The same container in a new namespace: it need not wait until somebody looks.
    same.vanish();
    node.sh(&format!("ip netns add {}", same.netns)).ok();
    add(&node, &same);
    assert!(same.pings("10.244.0.1".parse().unwrap()));
}

#[test]
fn failed_add_leaves_nothing() {
    let node = TestNode::start();
    let [holder, container] = [(); 2].map(|()| Container::start(&node));
    let held = address(&add(&node, &holder));
    let plain = Call::new(&node, "ADD", &container);
    let asked = |config| plain.clone().set("runtimeConfig", config);
    let mac = Call::new(&node, "CHECK", &holder).set("prevResult", json!({}));
    assert_eq!(mac.fails(&node).0, 102);
    for (call, code, part) in [
        (asked(json!({"ips": [held]})), 101, "is in use by pod default/cni-"),
        (asked(json!({"ips": ["10.244.0.1"]})), 7, "gateway address"),
        (asked(json!({"ips": ["192.0.2.9"]})), 7, "is not in 10.244.0.0/24, the range of this node"),
        (asked(json!({"mac": "02:00:00:00:00:01", "ips": ["10.244.0.300"]})), 7, "runtimeConfig.ips"),
        (plain.clone().set("mtu", json!(9000)), 7, "an MTU of 9000 is above"),
        (
            asked(json!({"bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 8}})),
            7,
            "is less than one full packet",
        ),
        (plain.clone().with("CNI_NETNS", "/run/netns/absent"), 3, "there is no network namespace"),
        (plain.clone().with("CNI_NETNS", "/etc/passwd"), 4, "is not a network namespace"),
        (plain.clone().with("CNI_NETNS", &format!("/run/netns/{}", node.name())), 4, "is in itself"),
    ] {
        let (found, text) = call.fails(&node);
        assert!(found == code && text.contains(part), "{code} {part}: {found} {text}");
        assert_eq!(pods(&node).len(), 1, "{part}");
        assert!(!container.sh("ip link show eth0").succeeded(), "{part}");
    }
    add(&node, &container);
}

#[test]
fn killed_plugin_leaves_nothing_that_del_does_not_take_back() {
    let node = TestNode::start();
    let containers: Vec<Container> = (0..20).map(|_| Container::start(&node)).collect();
    for (number, container) in containers.iter().enumerate() {
        let running = Call::new(&node, "ADD", container).spawn(&node);
        std::thread::sleep(Duration::from_millis(2 * number as u64));
        drop(running);
    }
    containers.iter().for_each(|container| del(&node, container));
    assert_eq!(pods(&node).len(), 0);
    assert!(containers.iter().all(|container| !container.sh("ip link show eth0").succeeded()));
}
