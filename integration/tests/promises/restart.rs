//! Either process of the daemon may die at any moment: streams survive, and what was created stays.

use std::thread::sleep;
use std::time::Duration;

use integration::{TestNode, TestPod, wait};
use nix::sys::signal::{Signal, kill};
use protocol::object::ContainerState;

use crate::stream::{Place, Stream};

/// Paced, so that it lasts longer than what is done to the daemon meanwhile.
const BYTES: u64 = 24 << 20;
const BYTES_PER_SECOND: u64 = 8 << 20;

fn pods_under_traffic(node: &TestNode) -> (TestPod, TestPod, Stream) {
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    let stream = Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, BYTES, Some(BYTES_PER_SECOND));
    sleep(Duration::from_millis(400));
    (a, b, stream)
}

fn kill_datapath(node: &TestNode) {
    let before = node.datapath_pid();
    kill(before, Signal::SIGKILL).expect("the datapath can be killed");
    wait::until("another datapath runs", || {
        let now = node.status().datapath?;
        (i64::from(now.pid) != i64::from(before.as_raw()) && now.ports >= 3).then_some(())
    });
}

#[test]
fn a_stream_survives_a_killed_datapath() {
    let mut node = TestNode::start();
    node.allow_log("datapath");
    let (_a, _b, mut stream) = pods_under_traffic(&node);
    kill_datapath(&node);
    sleep(Duration::from_millis(300));
    assert!(stream.is_running(), "the stream must outlast the kills");
    kill_datapath(&node);
    stream.complete();
    assert_eq!(node.status().datapath_restarts, 2);
}

#[test]
fn a_stream_survives_a_killed_control_process() {
    let mut node = TestNode::start();
    let (a, b, mut stream) = pods_under_traffic(&node);
    let datapath = node.datapath_pid();
    node.signal(Signal::SIGKILL);
    let _ = node.wait_for_end();
    sleep(Duration::from_millis(300));
    assert!(a.pings(b.ip), "the datapath forwards without its control process");
    node.start_daemon();
    assert!(stream.is_running(), "the stream must outlast the restart");
    stream.complete();
    assert_eq!(node.datapath_pid(), datapath, "the running datapath is taken over");
    assert_eq!(node.pods().len(), 2);
    assert!(a.pings(b.ip));
    // What is configured after the takeover works with what was there before.
    let c = node.create_pod("c");
    assert!(a.pings(c.ip) && c.pings(b.ip));
    node.delete_pod(&a);
    assert!(!c.pings(a.ip));
}

#[test]
fn a_stream_survives_both_processes_killed() {
    let mut node = TestNode::start();
    node.allow_log("datapath");
    let (a, b, stream) = pods_under_traffic(&node);
    let datapath = node.datapath_pid();
    node.signal(Signal::SIGKILL);
    kill(datapath, Signal::SIGKILL).expect("the datapath can be killed");
    let _ = node.wait_for_end();
    node.start_daemon();
    stream.complete();
    assert!(a.pings(b.ip));
}

#[test]
fn a_stream_survives_an_orderly_restart() {
    let mut node = TestNode::start();
    let (_a, _b, stream) = pods_under_traffic(&node);
    node.stop_daemon();
    node.start_daemon();
    stream.complete();
}

#[test]
fn pods_containers_and_addresses_survive_a_restart() {
    let mut node = TestNode::start();
    let a = node.create_pod_running("a", &["sleep", "600"]);
    let b = node.create_pod("b");
    let running = |node: &TestNode| {
        let status = node.pod("a").status.container_statuses.remove(0);
        match status.state {
            ContainerState::Running { pid, .. } => Some((pid, status.restart_count)),
            ContainerState::Waiting { .. } | ContainerState::Terminated { .. } => None,
        }
    };
    let before = wait::until("the container runs", || running(&node));
    node.stop_daemon();
    node.start_daemon();
    assert_eq!(running(&node), Some(before), "the container went on running");
    let after = TestPod::of(&node.pod("a"));
    assert_eq!((after.ip, after.mac), (a.ip, a.mac));
    assert!(a.pings(b.ip) && b.pings(a.ip));
    let c = node.create_pod("c");
    assert!(c.ip != a.ip && c.ip != b.ip, "an address in use is not given out again");
}

#[test]
fn a_container_that_ends_without_the_daemon_is_accounted_for() {
    let mut node = TestNode::start();
    let _ = node.create_pod_running("a", &["sh", "-c", "sleep 0.5; exit 4"]);
    node.signal(Signal::SIGKILL);
    let _ = node.wait_for_end();
    sleep(Duration::from_secs(1));
    node.start_daemon();
    let status = wait::until("its restart is known", || {
        node.pod("a").status.container_statuses.into_iter().next().filter(|s| s.restart_count >= 1)
    });
    assert_eq!(status.last_exit.expect("it ended").code, 4);
}

#[test]
fn a_pod_half_created_by_a_killed_daemon_is_whole_or_gone() {
    let mut node = TestNode::start();
    // Killed between a request to the datapath and its answer.
    node.allow_log("an answer did not reach the control process");
    // The same request again after each kill, killed at another moment of it each time.
    for round in 0..8_u64 {
        let create = node.vpodctl_spawn(&format!("create-pod p{round} -- sleep 600"));
        sleep(Duration::from_millis(3 + round * 4));
        node.signal(Signal::SIGKILL);
        let _ = node.wait_for_end();
        drop(create);
        node.start_daemon();
    }
    let pods = node.pods();
    let prefix = format!("{}-", node.name());
    let namespaces = node.sh("ls /run/netns").ok().lines().filter(|name| name.starts_with(&prefix)).count();
    assert_eq!(namespaces, pods.len(), "{pods:#?}\n{}", node.log());
    let mut addresses: Vec<_> = pods.iter().map(|pod| pod.spec.pod_ips.clone()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), pods.len(), "{pods:#?}");
    for pod in &pods {
        let pod = TestPod::of(pod);
        assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", pod.ip)).succeeded(), "{} is whole", pod.key());
    }
}

#[test]
fn the_log_level_changes_while_it_runs() {
    let node = TestNode::start();
    assert!(!node.log().contains("DEBUG"), "{}", node.log());
    node.vpodctl("log-level debug").ok();
    let _ = node.create_pod("a");
    assert!(node.log().contains("DEBUG"), "{}", node.log());
    assert_eq!(node.status().log_filter, "debug");
}

#[test]
fn the_log_level_reaches_the_datapath_and_its_successor() {
    let mut node = TestNode::start();
    node.allow_log("datapath");
    let _ = (node.create_pod("a"), node.create_pod("b"));
    let lines = || node.log().lines().filter(|line| line.contains("logging by a new filter")).count();
    node.vpodctl("log-level vswitchd=debug").ok();
    assert_eq!(lines(), 1, "{}", node.log());
    kill_datapath(&node);
    assert_eq!(lines(), 2, "{}", node.log());
}
