//! Nothing passes before a pod's policies are in force, nor while daemons are away.

use std::time::{Duration, Instant};

use integration::node::reference;
use integration::prober::Prober;
use integration::{NodeOptions, TestNode, TestPod, binary, wait};
use nix::sys::signal::{Signal, kill};
use protocol::message::AdminRequest;
use protocol::object::RestartPolicy;

use super::{enforce, isolate, labelled};

const TRIES: usize = 1000;
const WORKERS: usize = 3;
const RESTARTS: usize = 20;

/// Sends datagrams as soon as it runs, and then a while.
fn greedy(victim: &TestPod) -> String {
    format!("for i in 1 2 3 4 5; do echo forbidden >/dev/udp/{}/80; done", victim.ip)
}

/// A pod that is born with a program; gone when this returns. How often it was refused.
#[track_caller]
fn live_and_die(node: &TestNode, name: &str, app: &str, program: &str) -> u64 {
    let mut request = crate::services::labelled(name, app);
    request.command = ["bash", "-c", program].map(str::to_owned).into();
    request.restart_policy = RestartPolicy::Never;
    let pod = node.create(&request);
    wait::until("its program ends", || {
        let found = node
            .request(&AdminRequest::Read(protocol::message::ReadRequest::GetPod(reference("default", name))));
        let Ok(protocol::message::Response::Pod(found)) = found else { return None };
        let ended = |status: &protocol::object::ContainerStatus| {
            matches!(status.state, protocol::object::ContainerState::Terminated { .. })
        };
        found.status.container_statuses.iter().all(ended).then_some(())
    });
    let refused = node.drops(&pod, "policy_denied_egress");
    node.delete_pod(&pod);
    refused
}

#[test]
fn a_pods_first_act_is_refused_if_a_policy_says_so() {
    // Room for all: an address rests for half a minute.
    let node = NodeOptions::default().config("workers = 2").pod_cidr("10.244.0.0/20").start();
    let victim = labelled(&node, "victim", "victim");
    let mut prober = Prober::start(&victim, &[80]);
    enforce(&node, &isolate("closed", "closed", "Egress"));
    // Without the label it arrives: the datagrams are real.
    assert_eq!(live_and_die(&node, "open", "open", &greedy(&victim)), 0);
    assert!(!prober.seen().is_empty(), "what is allowed arrives");
    let greedy = greedy(&victim);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (node, greedy) = (&node, &greedy);
            scope.spawn(move || {
                for number in (worker..TRIES).step_by(WORKERS) {
                    let refused = live_and_die(node, &format!("p{number}"), "closed", greedy);
                    assert!(refused > 0, "pod p{number} has sent something");
                }
            });
        }
    });
    let seen = prober.seen();
    assert!(seen.is_empty(), "{seen:?} have arrived");
}

#[test]
fn policies_stay_in_force_through_restarts() {
    let mut node = NodeOptions::default().allow_log("datapath").start();
    let (victim, client) = (labelled(&node, "victim", "victim"), labelled(&node, "client", "client"));
    let mut prober = Prober::start(&victim, &[80]);
    enforce(&node, &isolate("closed", "client", "Egress"));
    let load = binary("load");
    // A thousand a second, for longer than all restarts take.
    let requests = format!("exec {} requests {}:80 80000 1000", load.display(), victim.ip);
    let mut sender = client.spawn(&requests);
    let mut refused = node.drops(&client, "policy_denied_egress");
    for number in 0..RESTARTS {
        match number % 4 {
            0 | 2 => {
                let restarts = node.status().datapath_restarts;
                kill(node.datapath_pid(), Signal::SIGKILL).expect("the datapath can be killed");
                wait::until("another datapath runs", || {
                    let status = node.status();
                    (status.datapath_restarts == restarts + 1 && status.datapath.is_some()).then_some(())
                });
                refused = 0;
            }
            1 => {
                node.signal(Signal::SIGKILL);
                let _ = node.wait_for_end();
                node.start_daemon();
            }
            _ => {
                node.stop_daemon();
                node.start_daemon();
                refused = 0;
            }
        }
        // It goes on trying, and is refused.
        refused = wait::until("the client is refused again", || {
            let now = node.drops(&client, "policy_denied_egress");
            (now > refused + 20).then_some(now)
        });
        assert!(sender.is_running(), "the client tries at restart {number}");
        let seen = prober.seen();
        assert!(seen.is_empty(), "{seen:?} at restart {number}");
    }
    // That it is the policy which refuses, and nothing else:
    node.vpodctl("delete networkpolicy closed").ok();
    wait::until("the client gets through", || (!prober.seen().is_empty()).then_some(()));
}

#[test]
fn a_changed_label_acts_at_once() {
    let node = TestNode::start();
    let (victim, client) = (labelled(&node, "victim", "victim"), labelled(&node, "client", "open"));
    let mut prober = Prober::start(&victim, &[80]);
    enforce(&node, &isolate("closed", "closed", "Egress"));
    let send = format!("bash -c 'echo x >/dev/udp/{}/80'", victim.ip);
    for turn in 0..20 {
        node.vpodctl("label pod client app=closed --overwrite").ok();
        client.sh(&send).ok();
        node.vpodctl("label pod client app=open --overwrite").ok();
        // What was sent before the label changed back is decided, or it would have come before this:
        std::thread::sleep(Duration::from_millis(5));
        let seen = prober.seen();
        assert!(seen.is_empty(), "{seen:?} in turn {turn}");
        client.sh(&send).ok();
        let since = Instant::now();
        while prober.seen().is_empty() {
            assert!(since.elapsed() < wait::PATIENCE, "what is allowed arrives in turn {turn}");
        }
    }
}
