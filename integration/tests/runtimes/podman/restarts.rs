//! The daemon is stopped, killed and away under running containers.

use std::thread::sleep;
use std::time::Duration;

use integration::{TestNode, TestPod, wait};
use nix::sys::signal::{Signal, kill};

use super::Podman;
use crate::bed::{Stream, node_with_outside, pod_of, until_gone};
use crate::image::web;

/// A container, a client, and a stream between them, under way.
fn under_traffic(node: &TestNode, podman: &Podman) -> (TestPod, TestPod, Stream) {
    let client = node.create_pod("client");
    podman.start("web", "-p 8080:80", &web("still here"));
    let pod = pod_of(node, "web");
    let stream = Stream::start(&client, &pod, 6);
    sleep(Duration::from_millis(300));
    (client, pod, stream)
}

/// Everything of the container is as it was.
#[track_caller]
fn as_before(node: &TestNode, podman: &Podman, client: &TestPod, before: &TestPod) {
    let after = pod_of(node, "web");
    assert_eq!((after.ip, after.mac, &after.netns), (before.ip, before.mac, &before.netns));
    assert_eq!(client.sh(&format!("curl -sS -m 3 http://{}/", before.ip)).ok(), "still here\n");
    assert_eq!(node.sh("curl -sS -m 3 http://127.0.0.1:8080/").ok(), "still here\n");
    podman.exec("web", &format!("ping -c 1 -W 2 {}", client.ip)).ok();
    podman.start("later", "", "exec sleep 600");
    assert!(client.pings(pod_of(node, "later").ip));
    podman.remove("web");
    until_gone(node, "web");
}

#[test]
fn an_orderly_restart_costs_a_container_nothing() {
    let mut cluster = node_with_outside();
    let node = cluster.node_mut(0);
    let podman = Podman::on(node);
    let (client, pod, stream) = under_traffic(node, &podman);
    node.stop_daemon();
    node.start_daemon();
    stream.complete();
    as_before(node, &podman, &client, &pod);
}

#[test]
fn a_killed_control_process_costs_a_container_nothing() {
    let mut cluster = node_with_outside();
    let node = cluster.node_mut(0);
    let podman = Podman::on(node);
    let (client, pod, stream) = under_traffic(node, &podman);
    node.signal(Signal::SIGKILL);
    let _ = node.wait_for_end();
    node.start_daemon();
    stream.complete();
    as_before(node, &podman, &client, &pod);
}

#[test]
fn a_killed_datapath_costs_a_container_nothing() {
    let mut cluster = node_with_outside();
    let node = cluster.node_mut(0);
    node.allow_log("datapath");
    let podman = Podman::on(node);
    let (client, pod, stream) = under_traffic(node, &podman);
    let before = node.datapath_pid();
    kill(before, Signal::SIGKILL).expect("the datapath can be killed");
    wait::until("another datapath runs", || {
        let now = node.status().datapath?;
        (i64::from(now.pid) != i64::from(before.as_raw()) && now.ports >= 3).then_some(())
    });
    stream.complete();
    as_before(node, &podman, &client, &pod);
}

#[test]
fn both_processes_killed_cost_a_container_nothing() {
    let mut cluster = node_with_outside();
    let node = cluster.node_mut(0);
    node.allow_log("datapath");
    let podman = Podman::on(node);
    let (client, pod, stream) = under_traffic(node, &podman);
    let datapath = node.datapath_pid();
    node.signal(Signal::SIGKILL);
    kill(datapath, Signal::SIGKILL).expect("the datapath can be killed");
    let _ = node.wait_for_end();
    node.start_daemon();
    stream.complete();
    as_before(node, &podman, &client, &pod);
}

#[test]
fn containers_removed_while_the_daemon_is_away_are_forgotten_at_its_start() {
    let mut node = TestNode::start();
    let podman = Podman::on(&node);
    for name in ["removed", "stays", "ends"] {
        podman.start(name, "", if name == "ends" { "sleep 3" } else { "exec sleep 600" });
    }
    let stays = pod_of(&node, "stays");
    node.stop_daemon();
    podman.remove("removed");
    podman.podman("wait ends").ok();
    let refused = podman.podman(&podman.line("new", "", "exec sleep 600"));
    assert!(!refused.succeeded() && refused.stderr.contains("vswitchd"), "{refused}");
    podman.remove("new");
    // As slowly as may be: podman tidies up in the background.
    sleep(Duration::from_secs(1));
    node.start_daemon();
    for name in ["removed", "ends", "new"] {
        until_gone(&node, name);
    }
    let notes = node.sh(&format!("ls {}/run/detach", node.dir().display())).stdout;
    wait::until("the notes are taken up", || notes.is_empty().then_some(()));
    let client = node.create_pod("client");
    assert!(client.pings(stays.ip));
    podman.start("removed", "", "exec sleep 600");
    assert!(client.pings(pod_of(&node, "removed").ip));
}
