//! The address of a load balancer is one node's at any time, and another one's soon after that one is gone.
//!
//! Somebody outside asks for the address and connects to it all the time. Figures are printed; what is asserted of time is
//! far above what is promised, which an idle machine keeps.

use std::time::Duration;

use integration::{Cluster, ClusterOptions, wait};
use nix::sys::signal::Signal;

use super::watch::{Seen, Watch, announced, is_answered, mac, owner};
use super::{Backend, apply, endpoints};

const BALANCER: &str = "192.0.2.200";
/// Promised are 3 s, on a machine that has nothing else to do.
const SOON: Duration = Duration::from_secs(15);
/// Longer than any lease lasts that could be a reason to take an address back.
const AFTERWARDS: Duration = Duration::from_secs(4);

fn cluster(nodes: usize) -> Cluster {
    let sections = format!(
        "[uplink]\ndevice = \"nic0\"\n[[load_balancer.pool]]\nname = \"test\"\naddresses = [\"{BALANCER}/32\"]\n"
    );
    let cluster = ClusterOptions::new(nodes).on_etcd().section(&sections);
    // Losing the store is worth a warning.
    cluster.allow_log("etcd").allow_log("store is away").start()
}

fn balanced(policy: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n  type: LoadBalancer\n  \
         externalTrafficPolicy: {policy}\n  selector: {{app: web}}\n  ports: [{{protocol: TCP, port: 80}}]\n"
    )
}

/// Waits until all `nodes` say that a node has the address, and the network does.
#[track_caller]
fn until_owned(cluster: &Cluster, nodes: &[usize]) -> usize {
    wait::until_within(3 * wait::PATIENCE, "the address has an owner", || {
        let first = owner(cluster, nodes[0])?;
        let agreed = nodes.iter().all(|node| owner(cluster, *node) == Some(first));
        (agreed && is_answered(cluster, BALANCER)).then_some(first)
    })
}

/// Two nodes with the service. The first number is its owner's; on the other one is its backend.
#[track_caller]
fn two_nodes() -> (Cluster, [usize; 2], Backend) {
    let cluster = cluster(2);
    apply(cluster.node(0), &balanced("Cluster"));
    let owner = until_owned(&cluster, &[0, 1]);
    let other = 1 - owner;
    let backend = Backend::start(cluster.node(other), "b", "web", "tcp:80");
    let served = || (endpoints(cluster.node(owner), "web").len() == 1).then_some(());
    wait::until("the backend is known", served);
    (cluster, [owner, other], backend)
}

#[track_caller]
fn until_taken_by(cluster: &Cluster, node: usize) {
    wait::until_within(SOON, "another node has the address", || {
        (owner(cluster, node) == Some(node)).then_some(())
    });
}

/// First the one and then the other answered for the address, never both; the other one announced it, and clients went on.
#[track_caller]
fn assert_moved(watch: Watch, macs: &[String; 2]) -> Seen {
    let seen = watch.end();
    println!(
        "{} of {} tries failed; {:.2} s between two that did not, at most",
        seen.failed(),
        seen.connects(),
        seen.longest_gap()
    );
    assert_eq!(seen.owners(), macs);
    assert!(seen.announced_by(&macs[1]) && seen.ends_well(), "{seen:?}");
    seen
}

#[test]
fn an_address_moves_when_its_node_loses_power_and_stays_when_that_is_back() {
    let (mut cluster, [owner, other], _backend) = two_nodes();
    let macs = [mac(cluster.node(owner)), mac(cluster.node(other))];
    let watch = Watch::start(&cluster, BALANCER);
    std::thread::sleep(Duration::from_secs(1));
    cluster.crash(owner);
    until_taken_by(&cluster, other);
    std::thread::sleep(Duration::from_secs(1));
    cluster.boot(owner);
    assert_eq!(until_owned(&cluster, &[0, 1]), other);
    std::thread::sleep(AFTERWARDS);
    let seen = assert_moved(watch, &macs);
    assert!(seen.longest_gap() < SOON.as_secs_f64());
}

#[test]
fn a_node_that_stops_hands_its_address_over_and_nobody_notices() {
    let (mut cluster, [owner, other], _backend) = two_nodes();
    let macs = [mac(cluster.node(owner)), mac(cluster.node(other))];
    let watch = Watch::start(&cluster, BALANCER);
    std::thread::sleep(Duration::from_secs(1));
    cluster.node_mut(owner).stop_daemon();
    until_taken_by(&cluster, other);
    std::thread::sleep(Duration::from_secs(1));
    cluster.node_mut(owner).start_daemon();
    std::thread::sleep(AFTERWARDS);
    let seen = assert_moved(watch, &macs);
    // One that began as the daemon ended, and its second try.
    assert!(seen.failed() <= 2, "{seen:?}");
}

#[test]
fn with_the_local_policy_the_address_follows_the_endpoints() {
    let cluster = cluster(2);
    apply(cluster.node(0), &balanced("Local"));
    let first = Backend::start(cluster.node(1), "one", "web", "tcp:80");
    until_taken_by(&cluster, 1);
    let macs = [mac(cluster.node(1)), mac(cluster.node(0))];
    let watch = Watch::start(&cluster, BALANCER);
    // Where there is one more, nothing moves.
    let _second = Backend::start(cluster.node(0), "two", "web", "tcp:80");
    wait::until("both are known", || (endpoints(cluster.node(1), "web").len() == 2).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(until_owned(&cluster, &[0, 1]), 1);
    cluster.node(1).delete_pod(&first.pod);
    until_taken_by(&cluster, 0);
    std::thread::sleep(Duration::from_secs(1));
    assert_moved(watch, &macs);
}

/// Everything else of its network works, so it would be believed.
#[test]
fn a_node_that_is_cut_off_from_the_store_alone_gives_way_to_another_one() {
    let (cluster, [owner, other], _backend) = two_nodes();
    let macs = [mac(cluster.node(owner)), mac(cluster.node(other))];
    let watch = Watch::start(&cluster, BALANCER);
    std::thread::sleep(Duration::from_secs(1));
    let cut = "nft -f - <<END\ntable inet cut {\n chain out { type filter hook output priority 0; tcp dport 2379 drop; }\n \
               chain in { type filter hook input priority 0; tcp sport 2379 drop; }\n}\nEND";
    cluster.node(owner).sh(cut).ok();
    until_taken_by(&cluster, other);
    wait::until("the node that was cut off says so", || {
        let (is_announced, message) = announced(cluster.node(owner))?;
        (!is_announced && message.contains("could not renew its lease")).then_some(())
    });
    std::thread::sleep(AFTERWARDS);
    cluster.node(owner).sh("nft delete table inet cut").ok();
    assert_eq!(until_owned(&cluster, &[0, 1]), other);
    std::thread::sleep(AFTERWARDS);
    assert_moved(watch, &macs);
}

/// The datapath forwards, and only the other node tells it that its addresses are that one's.
#[test]
fn a_datapath_whose_control_hangs_gives_way_to_another_node() {
    let (cluster, [owner, other], _backend) = two_nodes();
    let macs = [mac(cluster.node(owner)), mac(cluster.node(other))];
    let watch = Watch::start(&cluster, BALANCER);
    std::thread::sleep(Duration::from_secs(1));
    cluster.node(owner).signal(Signal::SIGSTOP);
    until_taken_by(&cluster, other);
    std::thread::sleep(AFTERWARDS);
    cluster.node(owner).signal(Signal::SIGCONT);
    assert_eq!(until_owned(&cluster, &[0, 1]), other);
    std::thread::sleep(AFTERWARDS);
    assert_moved(watch, &macs);
}

#[test]
fn while_the_store_is_away_from_all_nodes_the_address_stays_where_it_is() {
    let (mut cluster, [owner, other], _backend) = two_nodes();
    let macs = [mac(cluster.node(owner)), mac(cluster.node(other))];
    let watch = Watch::start(&cluster, BALANCER);
    std::thread::sleep(Duration::from_secs(1));
    cluster.etcd().kill();
    wait::until("the owner does not know any more whether it is", || {
        let (is_announced, message) = announced(cluster.node(owner))?;
        (!is_announced && message.contains("until another node does")).then_some(())
    });
    std::thread::sleep(AFTERWARDS);
    let seen = watch.end();
    assert_eq!(seen.owners(), macs[..1]);
    assert!(seen.failed() == 0 && seen.ends_well(), "{seen:?}");
    // And whoever has it then has it alone.
    let watch = Watch::start(&cluster, BALANCER);
    cluster.etcd().start_again();
    until_owned(&cluster, &[0, 1]);
    std::thread::sleep(AFTERWARDS);
    let seen = watch.end();
    seen.owners();
    assert!(seen.ends_well(), "{seen:?}");
}

#[test]
fn an_address_that_nobody_else_can_have_is_answered_by_a_node_whose_control_hangs_or_is_dead() {
    let mut cluster = cluster(1);
    apply(cluster.node(0), &balanced("Cluster"));
    let _backend = Backend::start(cluster.node(0), "b", "web", "tcp:80");
    until_owned(&cluster, &[0]);
    for is_killed in [false, true] {
        let watch = Watch::start(&cluster, BALANCER);
        cluster.node(0).signal(if is_killed { Signal::SIGKILL } else { Signal::SIGSTOP });
        std::thread::sleep(AFTERWARDS);
        assert!(is_answered(&cluster, BALANCER));
        let seen = watch.end();
        assert!(seen.failed() == 0 && seen.ends_well(), "{seen:?}");
        if is_killed {
            let _ = cluster.node_mut(0).wait_for_end();
            cluster.node_mut(0).start_daemon();
        } else {
            cluster.node(0).signal(Signal::SIGCONT);
        }
        assert_eq!(until_owned(&cluster, &[0]), 0);
    }
}
