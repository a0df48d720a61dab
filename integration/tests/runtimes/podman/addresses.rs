//! Addresses: which a container gets, and that they come back however it ends.

use std::time::Duration;

use integration::{NodeOptions, TestNode, wait};

use super::Podman;
use crate::bed::{pod_of, until_gone};

/// A released address rests for 30 s.
const REST: Duration = Duration::from_secs(60);

#[test]
fn a_fixed_address_and_mac_are_given() {
    let node = TestNode::start();
    let podman = Podman::on(&node);
    podman.start("fixed", "--ip 10.244.0.77 --mac-address 0a:58:0a:f4:aa:bb", "exec sleep 600");
    let pod = pod_of(&node, "fixed");
    assert_eq!((pod.ip.to_string(), pod.mac.to_string()), ("10.244.0.77".into(), "0a:58:0a:f4:aa:bb".into()));
    let link = podman.exec("fixed", "ip link show eth0").ok();
    assert!(link.contains("0a:58:0a:f4:aa:bb"), "{link}");
    let client = node.create_pod("client");
    assert!(client.pings(pod.ip));
    // Nobody else gets either.
    for (option, what) in
        [("--ip 10.244.0.77", "10.244.0.77 is in use"), ("--mac-address 0a:58:0a:f4:aa:bb", "is in use by")]
    {
        let refused = podman.podman(&podman.line("other", option, "exec sleep 600"));
        assert!(!refused.succeeded() && refused.stderr.contains(what), "{refused}");
        podman.remove("other");
    }
    assert!(client.pings(pod.ip));
}

#[test]
fn rm_gives_the_address_back_and_it_is_given_again() {
    // Room for five pods.
    let node = NodeOptions::default().pod_cidr("10.244.0.0/29").start();
    let podman = Podman::on(&node);
    for number in 0..5 {
        podman.start(&format!("c{number}"), "", "exec sleep 600");
    }
    let refused = podman.podman(&podman.line("one-more", "", "exec sleep 600"));
    assert!(!refused.succeeded() && refused.stderr.contains("no free address in 10.244.0.0/29"), "{refused}");
    podman.remove("one-more");
    let given = pod_of(&node, "c2").ip;
    podman.remove("c2");
    until_gone(&node, "c2");
    wait::until_within(REST, "the address has rested", || {
        let ran = podman.podman(&podman.line("next", "", "exec sleep 600"));
        if !ran.succeeded() {
            assert!(ran.stderr.contains("cooling down"), "{ran}");
            podman.remove("next");
            std::thread::sleep(Duration::from_secs(2));
        }
        ran.succeeded().then_some(())
    });
    assert_eq!(pod_of(&node, "next").ip, given);
}

#[test]
fn a_stopped_container_has_no_pod_and_a_started_one_has() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let podman = Podman::on(&node);
    podman.start("web", "", "exec sleep 600");
    let first = pod_of(&node, "web");
    podman.podman("stop --time 0 web").ok();
    until_gone(&node, "web");
    assert!(!client.pings(first.ip));
    podman.podman("start web").ok();
    assert!(client.pings(pod_of(&node, "web").ip));
    podman.podman("restart --time 0 web").ok();
    assert!(client.pings(pod_of(&node, "web").ip));
    assert_eq!(node.pods().len(), 2);
}

#[test]
fn a_container_with_a_fixed_address_may_be_restarted_at_once() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let podman = Podman::on(&node);
    podman.start("web", "--ip 10.244.0.77", "exec sleep 600");
    for _ in 0..2 {
        podman.podman("restart --time 0 web").ok();
        assert!(client.pings(pod_of(&node, "web").ip));
    }
}

#[test]
fn a_container_that_ends_by_itself_or_is_killed_gives_its_address_back() {
    let node = TestNode::start();
    let podman = Podman::on(&node);
    podman.start("short", "", "sleep 1; exit 3");
    podman.start("gone", "--rm", "sleep 1");
    podman.start("shot", "", "exec sleep 600");
    pod_of(&node, "shot");
    podman.podman("kill --signal KILL shot").ok();
    for name in ["short", "gone", "shot"] {
        until_gone(&node, name);
    }
    assert_eq!(podman.podman("wait short").ok().trim(), "3");
}

#[test]
fn a_runtime_that_dies_without_a_word_gives_its_addresses_back() {
    let node = TestNode::start();
    let podman = Podman::on(&node);
    podman.start("web", "", "exec sleep 600");
    let pod = pod_of(&node, "web");
    // As after a crash of everything that could have called DEL: no process, no mount.
    let pid = podman.podman("inspect --format \"{{.State.Pid}} {{.State.ConmonPid}}\" web").ok();
    node.sh(&format!(
        "kill -KILL {} ; umount -l /run/netns/{1} && rm /run/netns/{1}",
        last_first(&pid),
        pod.netns
    ))
    .ok();
    until_gone(&node, "web");
    assert!(node.log().contains("its network namespace is gone"), "{}", node.log());
    // podman finds its container in two steps: that it ended, and that it can be removed.
    drop(podman.podman("rm --force --time 0 web"));
}

/// conmon first, or it tidies up.
fn last_first(words: &str) -> String {
    words.split_whitespace().rev().collect::<Vec<_>>().join(" ")
}
