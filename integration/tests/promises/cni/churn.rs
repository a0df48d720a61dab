//! Containers that come and go by the hundred while plugins and daemons are killed.

use std::time::Duration;

use integration::{Background, NodeOptions, TestNode};
use nix::sys::signal::Signal;

use super::{Call, Container, pods};

/// Of ADD and DEL together; `make soak-cni` asks for more.
const CALLS: usize = 400;
/// Containers that are added and deleted at the same time.
const AT_ONCE: usize = 8;
/// The daemon is killed once in so many rounds.
const ROUNDS_TO_A_KILL: usize = 10;

fn calls() -> usize {
    std::env::var("VPOD_CNI_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(CALLS)
}

/// A small generator (Knuth's MMIX constants): the same kills in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One call for each container, of which one in twenty is killed after a moment.
fn round(node: &TestNode, verb: &str, containers: &[Container], dice: &mut Dice) {
    let running: Vec<(bool, Background)> = containers
        .iter()
        .map(|container| (dice.below(20) == 0, Call::new(node, verb, container).spawn(node)))
        .collect();
    std::thread::sleep(Duration::from_millis(dice.below(30)));
    // What is dropped is killed.
    let (_killed, left): (Vec<_>, Vec<_>) = running.into_iter().partition(|(doomed, _)| *doomed);
    drop(_killed);
    for (_, call) in left {
        drop(call.wait());
    }
}

#[test]
fn nothing_is_left_of_hundreds_of_calls_with_kills() {
    let mut node = NodeOptions::default().pod_cidr("10.244.0.0/16").allow_log("datapath").start();
    let mut dice = Dice(7);
    let containers: Vec<Container> = (0..AT_ONCE).map(|_| Container::start(&node)).collect();
    for number in 0..calls() / (2 * AT_ONCE) {
        round(&node, "ADD", &containers, &mut dice);
        if number % ROUNDS_TO_A_KILL == ROUNDS_TO_A_KILL / 2 {
            node.signal(Signal::SIGKILL);
            let _ = node.wait_for_end();
            round(&node, "DEL", &containers, &mut dice);
            node.start_daemon();
        }
        round(&node, "DEL", &containers, &mut dice);
        // As a runtime does that has no answer: until it succeeds.
        containers.iter().for_each(|container| super::del(&node, container));
    }
    assert_eq!(pods(&node).len(), 0, "addresses");
    for container in &containers {
        let links = container.sh("ip -o link").ok();
        assert_eq!(links.lines().count(), 1, "only lo is left: {links}");
    }
    let notes = std::fs::read_dir(node.dir().join("run/detach"));
    let notes: Vec<_> = notes.into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    assert!(notes.iter().all(|name| name.to_string_lossy().starts_with('.')), "{notes:?}");
    // The address of each, and not one more, rests or is free again.
    let status = node.status();
    assert_eq!(status.problems, [""; 0]);
    assert_eq!(status.node.pods, Some(0));
}
