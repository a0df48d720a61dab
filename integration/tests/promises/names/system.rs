//! How the programs of system pods are run: found, without rights, kept, restarted, replaced. What runs is a stand-in.

use std::fs;

use integration::{ClusterOptions, NodeOptions, wait};
use protocol::message::{AdminRequest, Kind, Response};
use protocol::object::ContainerState;

use super::{dig, dns_by, pid, ready_system_pod, stand_in};
use crate::services::{document, documents};

#[test]
fn the_program_runs_in_a_pod_without_rights_and_is_found_by_the_service() {
    let programs = tempfile::tempdir().expect("a directory");
    // Nobody but root comes here.
    let program = stand_in(programs.path(), 1);
    let node = NodeOptions::default().sections(&dns_by(&program)).start();
    let pod = ready_system_pod(&node, "vpod-dns");
    assert_eq!(pod.metadata.namespace.as_str(), "kube-system");
    let said = node.vpodctl(&format!("logs -n kube-system {}", pod.metadata.name)).ok();
    let none = "0000000000000000";
    let rights = format!("uid 98053 groups [] CapEff:{none} CapBnd:{none} NoNewPrivs:1 hello 4");
    assert!(said.contains(&rights), "{said}");
    assert!(said.contains(&format!("node = \"{}\"", node.name())), "{said}");
    assert!(said.contains("zone = \"cluster.local\"") && said.contains("192.0.2.53:53"), "{said}");
    let service = document(&node, Kind::Services, "kube-dns").expect("it was made");
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.10");
    assert_eq!(service["spec"]["trafficDistribution"], "PreferSameNode");
    assert_eq!(
        document(&node, Kind::Services, "kubernetes").expect("it was made")["spec"]["clusterIP"],
        "10.96.0.1"
    );
    let client = node.create_pod("client");
    wait::until("a pod is answered at the address of its resolv.conf", || {
        (dig(&client, "@10.96.0.10 anything.example") == "192.0.2.1").then_some(())
    });
    // The node as well.
    assert!(node.sh("dig +short +tries=2 @10.96.0.10 anything.example").ok().contains("192.0.2.1"));
}

#[test]
fn a_killed_program_a_deleted_pod_and_another_program_are_seen_to() {
    let programs = tempfile::tempdir().expect("a directory");
    let program = stand_in(programs.path(), 1);
    let mut node = NodeOptions::default().sections(&dns_by(&program)).start();
    let pod = ready_system_pod(&node, "vpod-dns");
    let first = pid(&pod);
    node.sh(&format!("kill -KILL {first}")).ok();
    let again = wait::until("it is started again", || {
        node.pods().into_iter().find(|pod| {
            let status = pod.status.container_statuses.first();
            matches!(status.map(|s| &s.state), Some(ContainerState::Running { pid, .. }) if *pid != first)
        })
    });
    assert_eq!(again.metadata.uid, pod.metadata.uid);
    let client = node.create_pod("client");
    let answers = |version: &str| {
        let expected = format!("192.0.2.{version}");
        wait::until(&format!("version {version} answers"), || {
            (dig(&client, "@10.96.0.10 anything.example") == expected).then_some(())
        });
    };
    answers("1");
    // An upgrade.
    stand_in(programs.path(), 2);
    answers("2");
    assert_eq!(ready_system_pod(&node, "vpod-dns").metadata.uid, pod.metadata.uid, "the pod stays");
    // A user, or a mistake.
    node.vpodctl(&format!("delete-pod -n kube-system {}", pod.metadata.name)).ok();
    wait::until("there is another pod", || {
        node.pods()
            .into_iter()
            .find(|new| new.metadata.name == pod.metadata.name && new.metadata.uid != pod.metadata.uid)
    });
    answers("2");
    // What the user says of the service stays.
    node.vpodctl("delete service kubernetes").ok();
    wait::until("it is made again", || document(&node, Kind::Services, "kubernetes"));
    node.stop_daemon();
    node.start_daemon();
    answers("2");
    let after = ready_system_pod(&node, "vpod-dns");
    assert_eq!(
        after.status.container_statuses[0].restart_count, 0,
        "a restart of the daemon restarts nobody"
    );
}

#[test]
fn a_changed_service_is_the_users() {
    let programs = tempfile::tempdir().expect("a directory");
    let node = NodeOptions::default().sections(&dns_by(&stand_in(programs.path(), 1))).start();
    ready_system_pod(&node, "vpod-dns");
    wait::until("the service", || document(&node, Kind::Services, "kube-dns"));
    crate::services::apply(
        &node,
        "{apiVersion: v1, kind: Service, metadata: {name: kube-dns, namespace: kube-system}, spec: {clusterIP: 10.96.0.10, selector: {k8s-app: mine}, ports: [{name: dns, port: 53, protocol: UDP}]}}",
    );
    let pod = ready_system_pod(&node, "vpod-dns");
    node.vpodctl(&format!("delete-pod -n kube-system {}", pod.metadata.name)).ok();
    ready_system_pod(&node, "vpod-dns");
    let service = document(&node, Kind::Services, "kube-dns").expect("it is there");
    assert_eq!(service["spec"]["selector"]["k8s-app"], "mine");
}

#[test]
fn a_missing_program_is_one_clear_problem_and_disabled_ones_leave_nothing() {
    let mut node = NodeOptions::default()
        .sections("[dns]\nenabled = true\nprogram = \"/no/such/vpod-dns\"\n")
        .allow_log("there is no program /no/such/vpod-dns")
        .start();
    let problem = wait::until("the problem", || {
        node.status().problems.into_iter().find(|problem| problem.contains("vpod-dns"))
    });
    assert!(problem.contains("/no/such/vpod-dns") && problem.contains("dns.enabled = false"), "{problem}");
    assert!(node.pods().is_empty());
    // Found, and then not wanted any more.
    let programs = tempfile::tempdir().expect("a directory");
    let config = node.dir().join("vswitchd.toml");
    let text = fs::read_to_string(&config).expect("its configuration");
    let with = text.replace("/no/such/vpod-dns", &stand_in(programs.path(), 1).display().to_string());
    for (text, count) in [(&with, 1), (&with.replace("[dns]\nenabled = true", "[dns]\nenabled = false"), 0)] {
        node.stop_daemon();
        fs::write(&config, text).expect("it can be written");
        node.start_daemon();
        wait::until(&format!("{count} system pods"), || (node.pods().len() == count).then_some(()));
        assert_eq!(node.status().problems, [""; 0]);
    }
}

/// One's own node answers; while it cannot, another does.
#[test]
fn pods_ask_their_own_node_and_another_while_that_is_away() {
    let programs: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a directory")).collect();
    // Each node's says who it is by its name; both have one configuration.
    let both = stand_in(programs[0].path(), 1);
    let text = fs::read_to_string(&both).expect("a file").replace(
        "VERSION = 1",
        "import socket as s\nVERSION = int(s.gethostbyname(s.gethostname()).split('.')[2]) + 1",
    );
    fs::write(&both, text).expect("a file");
    let mut cluster = ClusterOptions::new(2).on_etcd().allow_log("etcd").section(&dns_by(&both)).start();
    let clients = cluster.create_pods("client");
    let own: Vec<String> = (0..2)
        .map(|number| {
            let pod = ready_system_pod(cluster.node(number), "vpod-dns");
            let third =
                pod.spec.pod_ips[0].to_string().split('.').nth(2).and_then(|part| part.parse::<u8>().ok());
            format!("192.0.2.{}", third.expect("an address") + 1)
        })
        .collect();
    for (number, client) in clients.iter().enumerate() {
        wait::until("the own node answers", || {
            (dig(client, "@10.96.0.10 anything.example") == own[number]).then_some(())
        });
        for _ in 0..20 {
            assert_eq!(dig(client, "@10.96.0.10 anything.example"), own[number]);
        }
    }
    // A program that is stopped says nothing, and so is not ready; the other node's answers.
    let pod = ready_system_pod(cluster.node(0), "vpod-dns");
    let stopped = pid(&pod);
    cluster.node(0).sh(&format!("kill -STOP {stopped}")).ok();
    wait::until("the other node answers", || {
        (dig(&clients[0], "@10.96.0.10 anything.example") == own[1]).then_some(())
    });
    cluster.node(0).sh(&format!("kill -CONT {stopped}")).ok();
    wait::until("the own node answers again", || {
        (dig(&clients[0], "@10.96.0.10 anything.example") == own[0]).then_some(())
    });
    let one = |name: &str| {
        let all = documents(cluster.node(1), Kind::Services);
        all.iter().filter(|service| service.name.as_str() == name).count()
    };
    assert_eq!((one("kube-dns"), one("kubernetes")), (1, 1));
    cluster.node_mut(0).allow_log("readiness");
}

/// The pod takes no request of the admin socket, and its programs reach none.
#[test]
fn the_programs_socket_is_for_reading_only() {
    let programs = tempfile::tempdir().expect("a directory");
    let dns = dns_by(&stand_in(programs.path(), 1));
    let node = NodeOptions::default().sections(&dns).allow_log("malformed message").start();
    ready_system_pod(&node, "vpod-dns");
    let socket = node.dir().join("run/system/pods/ro.sock");
    let mut client = protocol::client::Client::connect(&socket).expect("root comes there");
    let answer = client.request(&AdminRequest::SetLogFilter("trace".to_owned()));
    assert!(!matches!(answer, Ok(Response::Done)), "{answer:?}");
    // The way there is closed to users of the node.
    let ran = node.sh(&format!("setpriv --reuid 98053 --clear-groups ls {}", socket.display()));
    assert!(!ran.succeeded(), "{ran}");
}

#[test]
fn the_ingress_runs_likewise_behind_a_load_balancers_service() {
    let programs = tempfile::tempdir().expect("a directory");
    let program = stand_in(programs.path(), 1);
    let text =
        format!("[ingress]\nenabled = true\nprogram = {program:?}\n[ingress.options]\nbody_bytes = 1000\n");
    let node = NodeOptions::default().sections(&text).start();
    let pod = ready_system_pod(&node, "vpod-ingress");
    let said = node.vpodctl(&format!("logs -n kube-system {}", pod.metadata.name)).ok();
    for part in ["uid 98080 ", "class = \"vpod\"", "https = \"0.0.0.0:443\"", "[options]\nbody_bytes = 1000"]
    {
        assert!(said.contains(part), "no {part}: {said}");
    }
    let service = wait::until("the service", || document(&node, Kind::Services, "vpod-ingress"));
    assert_eq!(
        (&service["spec"]["type"], &service["spec"]["externalTrafficPolicy"]),
        (&"LoadBalancer".into(), &"Local".into())
    );
    let ports = service["spec"]["ports"].as_array().expect("ports");
    assert!(ports.iter().all(|port| port["nodePort"].is_number()), "{ports:?}");
    assert_eq!(document(&node, Kind::Services, "kube-dns"), None, "DNS was not asked for");
}
