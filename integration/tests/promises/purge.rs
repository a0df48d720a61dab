//! `vswitchd --purge` removes what the daemon created, and only that.

use std::path::Path;

use integration::TestNode;

#[test]
fn purge_removes_pods_containers_and_state() {
    let mut node = TestNode::start();
    let pod = node.create_pod_running("a", &["sleep", "600"]);
    let other = format!("{}x-not-ours", node.name());
    node.sh(&format!("ip netns add {other}")).ok();
    node.stop_daemon();
    assert!(Path::new("/run/netns").join(&pod.netns).exists(), "pods outlive the daemon");
    let output = node.vswitchd().arg("--purge").output().expect("the program can be started");
    let foreign_lives = Path::new("/run/netns").join(&other).exists();
    node.sh(&format!("ip netns delete {other}")).ok();
    assert!(output.status.success(), "{output:?}");
    assert!(foreign_lives, "purge removed a namespace that is not its own");
    assert!(!Path::new("/run/netns").join(&pod.netns).exists());
    assert!(!node.sh("ip link show vpod0").succeeded());
    node.start_daemon();
    assert!(node.pods().is_empty());
    assert_eq!(node.create_pod("b").ip, pod.ip, "all addresses are free again");
}

#[test]
fn purge_beside_a_running_daemon_is_refused() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    let output = node.vswitchd().arg("--purge").output().expect("the program can be started");
    assert!(!output.status.success(), "{output:?}");
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", pod.ip)).succeeded());
}

#[test]
fn purge_of_nothing_succeeds() {
    let node = integration::NodeOptions::default().prepare();
    let output = node.vswitchd().arg("--purge").output().expect("the program can be started");
    assert!(output.status.success(), "{output:?}");
}
