//! What clients notice when something on the path is replaced or dies.

use std::time::Duration;

use integration::{Cluster, TestNode, TestPod, binary, wait};
use nix::sys::signal::Signal;
use protocol::object::{Check, Pod, Probe, Serving};

use super::{
    Load, PORT, Talk, Web, answered_by, ask, cluster, options, path, reached, rules, service, socket_server,
    until_answered_by,
};
use crate::ingress::apply;
use crate::names::{pid, ready_system_pod};

/// Between two steps, for what was wrong to show.
const MEANWHILE: Duration = Duration::from_millis(500);

/// A pod as a Deployment makes it: ready when its program listens, and serving on for a while when it is told to end.
#[track_caller]
fn version(node: &TestNode, name: &str) -> TestPod {
    let mut request = integration::node::pod_request(name, &[]);
    request.labels.insert("app".to_owned(), "web".to_owned());
    let probe = Probe { period_seconds: 1, ..Probe::new(Check::Tcp { port: PORT }) };
    request.serving = Serving { readiness: Some(probe), ..Serving::default() };
    request.command =
        vec![binary("web").display().to_string(), "serve".to_owned(), name.to_owned(), PORT.to_string()];
    node.create(&request)
}

#[track_caller]
fn until_serves(cluster: &Cluster, name: &str) {
    wait::until(&format!("{name} answers"), || {
        (answered_by(cluster, "", "http://web.example/") == name).then_some(())
    });
}

fn served(cluster: &Cluster) {
    let node = cluster.node(0);
    apply(node, &service("web", "web"));
    apply(node, &rules("web", "", &[("web.example", &[path("/", "Prefix", "web")])], ""));
}

/// Group 17 of what users complain about: 502 and 503 in roll-outs.
#[test]
fn a_roll_out_fails_no_request() {
    let cluster = cluster("");
    let mut pods: Vec<TestPod> = [0, 1, 1]
        .iter()
        .enumerate()
        .map(|(number, on)| version(cluster.node(*on), &format!("v1-{number}")))
        .collect();
    served(&cluster);
    until_serves(&cluster, "v1-0");
    let load = Load::start(&cluster, "web.example", "/");
    for round in 2..4 {
        for (number, pod) in pods.iter_mut().enumerate() {
            let node = cluster.node(number.min(1));
            let name = format!("v{round}-{number}");
            let new = version(node, &name);
            until_serves(&cluster, &name);
            let old = std::mem::replace(pod, new);
            node.delete_pod(&old);
        }
    }
    std::thread::sleep(MEANWHILE);
    let seen = load.end_without_failure();
    println!("two roll-outs of three: {seen}");
    for version in ["v1", "v2", "v3"] {
        let names = seen["names"].as_object().cloned().unwrap_or_default();
        assert!(names.keys().any(|name| name.starts_with(version)), "{version}: {seen}");
    }
}

/// A program that is killed answers nothing any more: what it was asked and what is idle is another's.
#[test]
fn killed_endpoints_fail_no_request_that_can_be_sent_again() {
    let cluster = cluster("");
    let pods = [version(cluster.node(0), "a"), version(cluster.node(1), "b")];
    let _stays = Web::start(cluster.node(1), "c", "web");
    served(&cluster);
    until_serves(&cluster, "a");
    let load = Load::start(&cluster, "web.example", "/");
    // Once each: the second time a program that ends so soon is left alone for a while.
    for (node, pod) in cluster.nodes().iter().zip(&pods) {
        std::thread::sleep(MEANWHILE);
        let running = node.pod(&pod.name);
        node.sh(&format!("kill -KILL {}", pid(&running))).ok();
    }
    std::thread::sleep(MEANWHILE);
    let seen = load.end_without_failure();
    println!("two kills: {seen}");
}

/// Control processes are killed and started again; datapaths and the ingress go on.
#[test]
fn killed_daemons_fail_no_request() {
    let mut cluster = cluster("");
    let _webs = [Web::start(cluster.node(0), "a", "web"), Web::start(cluster.node(1), "b", "web")];
    served(&cluster);
    until_answered_by(&cluster, "", "http://web.example/", "a");
    let load = Load::start(&cluster, "web.example", "/");
    for number in [0, 1] {
        cluster.node_mut(number).signal(Signal::SIGKILL);
        let _ = cluster.node_mut(number).wait_for_end();
        std::thread::sleep(MEANWHILE);
        cluster.node_mut(number).start_daemon();
        std::thread::sleep(MEANWHILE);
    }
    let seen = load.end_without_failure();
    println!("both control processes killed: {seen}");
    // What is changed afterwards is heard.
    apply(cluster.node(0), &rules("late", "", &[("late.example", &[path("/", "Prefix", "web")])], ""));
    until_answered_by(&cluster, "", "http://late.example/", "b");
}

/// As at an upgrade of a node: it gives the address away before its datapath stops. What was under way through it is lost, and no more.
#[test]
fn a_stopped_node_costs_at_most_what_was_under_way_through_it() {
    let mut cluster = cluster("");
    let _webs = [Web::start(cluster.node(0), "a", "web"), Web::start(cluster.node(1), "b", "web")];
    for number in [0, 1] {
        for part in ["readiness", "peer"] {
            cluster.node_mut(number).allow_log(part);
        }
    }
    served(&cluster);
    until_answered_by(&cluster, "", "http://web.example/", "a");
    let leader = leader(&cluster);
    for number in [1 - leader, leader] {
        let load = Load::start(&cluster, "web.example", "/");
        std::thread::sleep(MEANWHILE);
        cluster.node_mut(number).stop_daemon();
        std::thread::sleep(MEANWHILE);
        cluster.node_mut(number).start_daemon();
        ingress_of(cluster.node(number));
        std::thread::sleep(MEANWHILE);
        let seen = load.end();
        println!("stopped, {}: {seen}", if number == leader { "the one in use" } else { "another one" });
        assert!(seen["failed"].as_u64() <= Some(4), "{seen:#}");
        until_answered_by(&cluster, "", "http://web.example/", "a");
        until_answered_by(&cluster, "", "http://web.example/", "b");
    }
}

fn ingress_of(node: &TestNode) -> Pod {
    ready_system_pod(node, "vpod-ingress")
}

/// The node whose ingress is led to: `externalTrafficPolicy: Local`, and one node announces the address.
#[track_caller]
fn leader(cluster: &Cluster) -> usize {
    let seen = |node: &TestNode| {
        let metrics = format!("http://{}:9153/metrics", ingress_of(node).spec.pod_ips[0]);
        let text = node.sh(&format!("curl -sS --max-time 5 {metrics}")).ok();
        let counted = text.lines().filter(|line| line.starts_with("ingress_requests_total"));
        counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let before: Vec<f64> = cluster.nodes().iter().map(seen).collect();
    ask(cluster, "", "http://web.example/").ok();
    let after = cluster.nodes().iter().map(seen);
    before.iter().zip(after).position(|(before, after)| after > *before).expect("one of them was asked")
}

/// What dies with the process is lost: requests under way and connections that it has. Others get through, after a moment.
#[test]
fn a_killed_ingress_loses_its_own_connections_only() {
    let mut cluster = cluster("");
    let _webs = [Web::start(cluster.node(0), "a", "web"), Web::start(cluster.node(1), "b", "web")];
    served(&cluster);
    until_answered_by(&cluster, "", "http://web.example/", "a");
    let leader = leader(&cluster);
    for node in [0, 1] {
        cluster.node_mut(node).allow_log("readiness");
    }
    let other = Load::start(&cluster, "web.example", "/");
    std::thread::sleep(MEANWHILE);
    // Nobody is led to the other node's.
    let spare = ingress_of(cluster.node(1 - leader));
    cluster.node(1 - leader).sh(&format!("kill -KILL {}", pid(&spare))).ok();
    std::thread::sleep(MEANWHILE);
    let seen = other.end_without_failure();
    println!("the other node's ingress killed: {seen}");
    ingress_of(cluster.node(1 - leader));
    let load = Load::start(&cluster, "web.example", "/");
    std::thread::sleep(MEANWHILE);
    let running = ingress_of(cluster.node(leader));
    cluster.node(leader).sh(&format!("kill -KILL {}", pid(&running))).ok();
    std::thread::sleep(Duration::from_secs(3));
    let seen = load.end();
    println!("the ingress in use killed: {seen}");
    // Four clients: a request of each, and what they try until there is an ingress again.
    assert!(seen["longest_gap_ms"].as_u64() < Some(5_000), "{seen:#}");
    until_answered_by(&cluster, "", "http://web.example/", "b");
    // The routes are there before the first connection is accepted: nobody was told that there is no such host.
    let failures = seen["failures"].as_array().cloned().unwrap_or_default();
    assert!(failures.iter().all(|text| !text.as_str().unwrap_or_default().contains("404")), "{seen:#}");
}

/// Another program, or other settings: a successor is given the listeners, and connections are let end.
#[test]
fn an_upgrade_of_the_ingress_fails_no_request_and_cuts_no_websocket() {
    let programs = tempfile::tempdir().expect("a directory");
    let program = programs.path().join("vpod-ingress");
    let install = || {
        let new = programs.path().join("new");
        std::fs::copy(binary("vpod-ingress"), &new).expect("a copy");
        std::fs::rename(&new, &program).expect("a name");
    };
    install();
    let cluster = reached(options(2, &program, ""));
    let _webs = [Web::start(cluster.node(0), "a", "web"), Web::start(cluster.node(1), "b", "web")];
    let _server = socket_server(cluster.node(1));
    apply(cluster.node(0), &[service("web", "web"), service("socket", "socket")].concat());
    let paths = [path("/", "Prefix", "web"), path("/socket", "Prefix", "socket")];
    apply(cluster.node(0), &rules("web", "", &[("web.example", &paths)], ""));
    until_answered_by(&cluster, "", "http://web.example/", "a");
    let mut talk = Talk::start(&cluster, "ws://web.example/socket", 80, "");
    let load = Load::start(&cluster, "web.example", "/");
    for round in 0..2 {
        let before: Vec<u32> = cluster.nodes().iter().map(|node| pid(&ingress_of(node))).collect();
        install();
        for (node, before) in cluster.nodes().iter().zip(before) {
            wait::until("a successor runs", || (pid(&ingress_of(node)) != before).then_some(()));
        }
        std::thread::sleep(MEANWHILE);
        talk.repeats(&format!("round {round}"));
    }
    let seen = load.end_without_failure();
    println!("two upgrades of both: {seen}");
    for node in cluster.nodes() {
        assert_eq!(ingress_of(node).status.container_statuses[0].restart_count, 0);
    }
    talk.repeats("to the end");
    drop(talk);
    // The predecessors have nothing to do any more.
    for node in cluster.nodes() {
        let netns = ingress_of(node).status.netns;
        wait::until("predecessors have ended", || {
            let pids = node.sh(&format!("ip netns pids {}", netns.rsplit('/').next().unwrap_or_default()));
            (pids.stdout.lines().count() == 1).then_some(())
        });
    }
}
