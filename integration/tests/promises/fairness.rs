//! A port has a budget in each turn of its worker: what one pod sends too much is its own loss.

use integration::node::TestNode;
use integration::{Background, NodeOptions, TestPod, binary, wait};

/// Pods that exchange a request now and then.
const POLITE: usize = 4;
const REQUESTS: usize = 500;
const PER_SECOND: usize = 100;
/// A thousandth of all requests.
const MAY_BE_LOST: usize = POLITE * REQUESTS / 1000;

fn load(pod: &TestPod, words: &str) -> Background {
    pod.spawn(&format!("exec {} {words}", binary("load").display()))
}

fn received(node: &TestNode, pod: &TestPod) -> u64 {
    let port = node.ports().into_iter().find(|port| port.id == pod.port);
    port.map_or(0, |port| port.counters.rx_frames)
}

#[track_caller]
fn greedy_and_polite(workers: u32) {
    let node = NodeOptions::default().config(&format!("workers = {workers}")).start();
    let (greedy, victim) = (node.create_pod("greedy"), node.create_pod("victim"));
    let server = node.create_pod("server");
    let polite: Vec<_> = (0..POLITE).map(|number| node.create_pod(&format!("polite-{number}"))).collect();
    let mut echo = server.spawn(&format!("exec {} echo {}:7001", binary("stream").display(), server.ip));
    echo.wait_for_output("ready\n");

    let flood = load(&greedy, &format!("flood {}:9", victim.ip));
    wait::until("the flood is on", || (received(&node, &greedy) > 20_000).then_some(()));
    let words = format!("requests {}:7001 {REQUESTS} {PER_SECOND}", server.ip);
    let running: Vec<_> = polite.iter().map(|pod| load(&pod.clone(), &words)).collect();
    let answers: Vec<usize> = running
        .into_iter()
        .map(|program| program.wait().ok().trim().parse().expect("a number of answers"))
        .collect();
    let flooded = received(&node, &greedy);
    drop(flood);
    let lost = POLITE * REQUESTS - answers.iter().sum::<usize>();
    assert!(lost <= MAY_BE_LOST, "answered: {answers:?}, beside {flooded} frames of the greedy pod");
    node.assert_conservation();
}

#[test]
fn a_greedy_pod_costs_polite_pods_no_frame() {
    greedy_and_polite(1);
}

#[test]
fn a_greedy_pod_costs_polite_pods_of_any_worker_no_frame() {
    greedy_and_polite(2);
}
