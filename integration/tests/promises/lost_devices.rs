//! A namespace or TAP deleted underneath, with traffic: the others do not notice, nothing spins,
//! and the pod can still be deleted.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use integration::{TestNode, TestPod, wait};
use nix::unistd::Pid;
use protocol::object::{PodPhase, Port, PortState};

use crate::stream::{Place, Stream};

/// Ticks of `/proc/<pid>/stat` in a second (USER_HZ, fixed on every Linux we run on).
const TICKS_PER_SECOND: u64 = 100;

/// Processor time that `pid` uses during `period`.
pub(crate) fn processor_time(pid: Pid, period: Duration) -> Duration {
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .expect("the name is in parentheses")
            .1
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        // utime and stime, fields 14 and 15 of proc_pid_stat(5); `state` is field 3.
        fields[11] + fields[12]
    };
    let before = ticks();
    sleep(period);
    Duration::from_millis((ticks() - before) * 1000 / TICKS_PER_SECOND)
}

#[track_caller]
fn survives(destroy: impl Fn(&TestNode, &TestPod)) {
    let mut node = TestNode::start();
    node.allow_log("pod=default/doomed");
    node.allow_log("port detached");
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    let doomed = node.create_pod("doomed");
    let others = Stream::start(Place::Pod(&a), Place::Pod(&b), b.ip, 16 << 20, Some(8 << 20));
    // Traffic from and to the one that goes; whether it ends well is not asked.
    let flood = a.spawn(&format!("ping -n -i 0.002 {}", doomed.ip));
    destroy(&node, &doomed);
    wait::until("the pod is reported as failed", || {
        (node.pod("doomed").status.phase == PodPhase::Failed).then_some(())
    });
    wait::until("its port is given up", || {
        let is_active = |port: &Port| port.id == doomed.port && port.state == PortState::Active;
        (!node.ports().iter().any(is_active)).then_some(())
    });
    others.complete();
    drop(flood);
    let used = processor_time(node.datapath_pid(), Duration::from_secs(1));
    assert!(used < Duration::from_millis(150), "the datapath used {used:?} of one idle second");
    assert_eq!(node.status().datapath_restarts, 0, "{}", node.log());
    node.delete_pod(&doomed);
    let again = node.create_pod("doomed");
    assert!(a.pings(again.ip));
}

#[test]
fn a_deleted_namespace_harms_nobody_else() {
    survives(|node, pod| {
        node.sh(&format!("ip netns delete {}", pod.netns)).ok();
    });
}

#[test]
fn a_deleted_tap_harms_nobody_else() {
    survives(|_, pod| {
        pod.sh("ip link delete eth0").ok();
    });
}

#[test]
fn a_tap_that_is_down_for_a_while_works_again() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    b.sh("ip link set eth0 down").ok();
    assert!(!a.pings(b.ip));
    let used = processor_time(node.datapath_pid(), Duration::from_secs(1));
    assert!(used < Duration::from_millis(150), "the datapath used {used:?} of one idle second");
    b.sh("ip link set eth0 up").ok();
    let gateway = node.status().node.gateway;
    // Linux forgets a link's routes when it goes down.
    b.sh(&format!("ip route replace default via {gateway} dev eth0 || ip route replace default via {gateway} dev eth0 onlink")).ok();
    wait::until("it answers again", || a.pings(b.ip).then_some(()));
}

#[test]
fn namespaces_that_vanish_while_the_daemon_is_down_are_made_again() {
    let mut node = TestNode::start();
    node.allow_log("making it again pod=default/lost");
    node.allow_log("supervisor is gone; starting it again pod=default/lost");
    let (a, lost) = (node.create_pod("a"), node.create_pod_running("lost", &["sleep", "600"]));
    node.stop_daemon();
    // As after a reboot, which takes all of them.
    node.sh(&format!("ip netns delete {}", lost.netns)).ok();
    node.start_daemon();
    let again = TestPod::of(&node.pod("lost"));
    assert_eq!((again.ip, again.mac), (lost.ip, lost.mac));
    assert!(a.pings(again.ip) && again.pings(a.ip));
    wait::until("its container runs", || (node.pod("lost").status.phase == PodPhase::Running).then_some(()));
}
