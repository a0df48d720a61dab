//! Daemons of a cluster on etcd are killed at random moments while pods come and go: nothing is there
//! twice, and nothing is lost for ever.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use integration::{Cluster, ClusterOptions, TestPod, wait};
use nix::sys::signal::{Signal, kill};

/// Kills, unless `VPOD_KILLS` says otherwise: what fits beside the other tests. `make soak` runs 200.
const KILLS: u64 = 30;
/// Names of pods per node; requests for a name that is there, or is not, are refused, which is fine.
const NAMES: u64 = 4;
/// A request and everything it causes takes less.
const LATEST_KILL_MS: u64 = 60;

/// xorshift64*, so that a failure can be repeated with its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("below a usize")
    }
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    Control,
    Datapath,
    Both,
}

/// One kill in the middle of a request, and the recovery from it.
#[track_caller]
fn kill_during_a_request(cluster: &mut Cluster, random: &mut Random) {
    let number = random.index(cluster.nodes().len());
    let verb = ["create-pod", "delete-pod"][random.index(2)];
    let victim = [Victim::Control, Victim::Datapath, Victim::Both][random.index(3)];
    let node = cluster.node_mut(number);
    let request = node.vpodctl_spawn(&format!("{verb} p{}", random.below(NAMES)));
    let datapath = node.status().datapath.and_then(|datapath| i32::try_from(datapath.pid).ok());
    std::thread::sleep(Duration::from_millis(random.below(LATEST_KILL_MS)));
    if matches!(victim, Victim::Datapath | Victim::Both) {
        // Already gone when it was killed a moment ago.
        let _ = datapath.map(|pid| kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL));
    }
    if matches!(victim, Victim::Control | Victim::Both) {
        node.signal(Signal::SIGKILL);
        let _ = node.wait_for_end();
        drop(request);
        node.start_daemon();
    } else {
        let _ = request.wait();
    }
}

/// Every pod works, no address and no range is there twice, and nothing exists that no daemon knows.
#[track_caller]
fn nothing_is_there_twice_or_lost(cluster: &mut Cluster) {
    let mut addresses = BTreeSet::<IpAddr>::new();
    let mut ranges = BTreeSet::new();
    for node in cluster.nodes() {
        wait::until("the datapath runs", || node.status().datapath);
        let range = node.status().node.pod_cidr;
        assert!(ranges.insert(range), "{range} belongs to two nodes");
        let pods = node.pods();
        for pod in &pods {
            let pod = TestPod::of(pod);
            assert!(range.contains(&pod.ip), "{} has {} outside {range}", pod.key(), pod.ip);
            assert!(addresses.insert(pod.ip), "{} is there twice", pod.ip);
            wait::until(&format!("{} works", pod.key()), || {
                pod.pings(node.status().node.gateway).then_some(())
            });
        }
        let prefix = format!("{}-", node.name());
        let namespaces =
            node.sh("ls /run/netns").ok().lines().filter(|name| name.starts_with(&prefix)).count();
        assert_eq!(namespaces, pods.len(), "{pods:#?}\n{}", node.log());
    }
    assert_eq!(cluster.etcd().entries("/vpod/v1/nodes/").len(), ranges.len());
    assert_eq!(cluster.etcd().entries("/vpod/v1/cidrs/").len(), ranges.len());
}

#[test]
fn random_kills_during_churn_leave_nothing_twice_and_nothing_lost() {
    let kills =
        std::env::var("VPOD_KILLS").map_or(KILLS, |text| text.parse().expect("VPOD_KILLS is a number"));
    let seed = u64::from(std::process::id()) << 1 | 1;
    println!("{kills} kills, seed {seed}");
    let mut random = Random(seed);
    let mut cluster = ClusterOptions::new(3).on_etcd().allow_log("datapath").allow_log("etcd").start();
    let ranges: Vec<_> = cluster.nodes().iter().map(|node| node.status().node.pod_cidr).collect();
    for round in 1..=kills {
        kill_during_a_request(&mut cluster, &mut random);
        if round % 10 == 0 {
            nothing_is_there_twice_or_lost(&mut cluster);
        }
    }
    nothing_is_there_twice_or_lost(&mut cluster);
    let after: Vec<_> = cluster.nodes().iter().map(|node| node.status().node.pod_cidr).collect();
    assert_eq!(after, ranges, "a node keeps its range");
    let pods = cluster.create_pods("last");
    for from in &pods {
        for to in &pods {
            cluster.until_reached(from, to.ip, wait::PATIENCE);
        }
    }
}
