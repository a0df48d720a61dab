//! Many pods at once: each has its own address, all are reachable, and nothing is left of them.

use std::collections::BTreeSet;
use std::thread;

use integration::{TestNode, TestPod};

const PODS: usize = 60;
const AT_ONCE: usize = 8;

#[test]
fn sixty_pods_created_at_once_all_work_and_go_without_trace() {
    let node = TestNode::start();
    let pods: Vec<TestPod> =
        in_parallel(&(0..PODS).collect::<Vec<_>>(), |number| node.create_pod(&format!("p{number}")));
    assert_eq!(pods.iter().map(|pod| pod.ip).collect::<BTreeSet<_>>().len(), PODS);
    assert_eq!(pods.iter().map(|pod| pod.mac).collect::<BTreeSet<_>>().len(), PODS);
    assert_eq!(pods.iter().map(|pod| pod.port).collect::<BTreeSet<_>>().len(), PODS);
    let (first, rest) = pods.split_first().expect("there are some");
    let unreachable: Vec<_> = in_parallel(rest, |pod| (!first.pings(pod.ip)).then(|| pod.key()));
    let unreachable: Vec<_> = unreachable.into_iter().flatten().collect();
    assert!(unreachable.is_empty(), "{unreachable:?}");
    let idle = crate::lost_devices::processor_time(node.datapath_pid(), std::time::Duration::from_secs(2));
    assert!(idle < std::time::Duration::from_millis(200), "idle, the datapath used {idle:?} in 2 s");
    let _: Vec<()> = in_parallel(&pods, |pod| node.delete_pod(pod));
    assert!(node.pods().is_empty());
    assert_eq!(node.ports().len(), 1, "the gateway's");
    let prefix = format!("{}-", node.name());
    let namespaces = node.sh("ls /run/netns").ok();
    assert!(!namespaces.lines().any(|name| name.starts_with(&prefix)), "{namespaces}");
}

/// `work` on each of `inputs`, by a few threads; in the order of the inputs.
fn in_parallel<I: Sync, O: Send>(inputs: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let share = inputs.len().div_ceil(AT_ONCE);
    thread::scope(|scope| {
        let threads: Vec<_> = inputs
            .chunks(share)
            .map(|chunk| scope.spawn(|| chunk.iter().map(&work).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("the work does not panic")).collect()
    })
}
