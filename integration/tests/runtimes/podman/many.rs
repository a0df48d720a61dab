//! Many at once.

use integration::{TestNode, wait};

use super::Podman;
use crate::bed::until_gone;

const CONTAINERS: usize = 20;

#[test]
fn twenty_containers_started_at_once_all_work_and_go_without_trace() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let ports = node.ports().len();
    let podman = Podman::on(&node);
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("c{number}")).collect();
    let starting: Vec<_> =
        names.iter().map(|name| podman.spawn(&podman.line(name, "", "exec sleep 600"))).collect();
    for started in starting {
        started.wait().ok();
    }
    let pods = node.pods();
    assert_eq!(pods.len(), CONTAINERS + 1);
    let mut addresses: Vec<_> = pods.iter().map(|pod| pod.spec.pod_ips[0]).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), CONTAINERS + 1, "{pods:#?}");
    for address in addresses {
        assert!(client.pings(address), "{address}");
    }
    let removing: Vec<_> =
        names.iter().map(|name| podman.spawn(&format!("rm --force --time 0 {name}"))).collect();
    for removed in removing {
        removed.wait().ok();
    }
    // Of many that are removed at a time, podman 4.3 leaves one now and then, and says that it did not.
    wait::until("podman has no container", || {
        let left = podman.podman("ps --all --quiet").ok();
        left.split_whitespace().for_each(|id| drop(podman.podman(&format!("rm --force --time 0 {id}"))));
        left.trim().is_empty().then_some(())
    });
    names.iter().for_each(|name| until_gone(&node, name));
    assert_eq!(node.pods().len(), 1);
    assert_eq!(node.ports().len(), ports);
}
