//! Commands against a daemon that does what it is asked.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use protocol::message::{
    AdminRequest, ApiError, CreatePod, ErrorCode, Items, Kind, PodEntry, PodRef, ReadRequest, Response,
};
use protocol::object::{
    FdbEntry, ObjectMeta, Pod, PodPhase, PodSpec, PodStatus, Resources, RestartPolicy, Timestamp,
};
use protocol::{Mac, PortId};

use crate::daemon::{Daemon, read};

fn pod_ref(name: &str) -> PodRef {
    PodRef { namespace: "default".parse().unwrap(), name: name.parse().unwrap() }
}

fn pod(name: &str, phase: PodPhase) -> Pod {
    Pod {
        metadata: ObjectMeta {
            name: name.parse().unwrap(),
            namespace: "default".parse().unwrap(),
            uid: "u".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            creation_timestamp: Timestamp(1_700_000_000),
            resource_version: 1,
        },
        spec: PodSpec {
            node_name: "n".to_owned(),
            pod_ips: vec!["10.244.0.2".parse().unwrap()],
            mac: Mac([0x0a, 0x58, 10, 244, 0, 2]),
            port_security: true,
            resources: Resources::default(),
            restart_policy: RestartPolicy::Always,
            containers: Vec::new(),
            serving: protocol::object::Serving::default(),
            dns: protocol::object::PodDns::default(),
            hostname: None,
            subdomain: None,
            bandwidth: protocol::object::Bandwidth::default(),
        },
        status: PodStatus {
            phase,
            message: None,
            netns: "/nonexistent/netns".to_owned(),
            port: Some(PortId(1)),
            container_statuses: Vec::new(),
            ready: true,
        },
    }
}

fn one_pod(name: &str) -> Vec<Response> {
    vec![Response::Pod(Box::new(pod(name, PodPhase::Running)))]
}

fn not_found(name: &str) -> Vec<Response> {
    let message = format!("pod \"default/{name}\" not found");
    vec![Response::Error(ApiError::new(ErrorCode::NotFound, message))]
}

#[test]
fn create_pod_asks_for_everything_that_was_said() {
    let daemon = Daemon::admin(|_| one_pod("web"));
    let arguments = [
        "create-pod",
        "pod/web",
        "-n",
        "prod",
        "-l",
        "app=web,tier=front",
        "--label",
        "x=",
        "--ip",
        "10.244.0.9",
        "--mac",
        "02:00:00:00:00:09",
        "--cpu",
        "0.5",
        "--memory",
        "64Mi",
        "--ingress-rate",
        "10M",
        "--ingress-burst",
        "1M",
        "--egress-rate",
        "1.5G",
        "--restart",
        "onfailure",
        "--no-port-security",
        "--",
        "sh",
        "-c",
        "sleep 1",
    ];
    daemon.run(&arguments).prints("pod/web created\n");
    let labels = [("app", "web"), ("tier", "front"), ("x", "")];
    let expected = CreatePod {
        pod: PodRef { namespace: "prod".parse().unwrap(), name: "web".parse().unwrap() },
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ip: Some("10.244.0.9".parse().unwrap()),
        mac: Some("02:00:00:00:00:09".parse().unwrap()),
        port_security: false,
        resources: Resources { cpu_millicores: Some(500), memory_bytes: Some(64 << 20) },
        restart_policy: RestartPolicy::OnFailure,
        command: ["sh", "-c", "sleep 1"].map(str::to_owned).into(),
        serving: protocol::object::Serving::default(),
        dns: protocol::object::PodDns::default(),
        hostname: None,
        subdomain: None,
        bandwidth: protocol::object::Bandwidth {
            ingress_rate: Some(10_000_000),
            ingress_burst: Some(1_000_000),
            egress_rate: Some(1_500_000_000),
            egress_burst: None,
        },
    };
    assert_eq!(daemon.seen(), [AdminRequest::CreatePod(Box::new(expected))]);
}

#[test]
fn create_pod_asks_for_nothing_that_was_not_said() {
    let daemon = Daemon::admin(|_| one_pod("web"));
    daemon.run(&["create-pod", "web", "-o", "name"]).prints("pod/web\n");
    let expected = CreatePod {
        pod: pod_ref("web"),
        labels: BTreeMap::new(),
        ip: None,
        mac: None,
        port_security: true,
        resources: Resources::default(),
        restart_policy: RestartPolicy::Always,
        command: Vec::new(),
        serving: protocol::object::Serving::default(),
        dns: protocol::object::PodDns::default(),
        hostname: None,
        subdomain: None,
        bandwidth: protocol::object::Bandwidth::default(),
    };
    assert_eq!(daemon.seen(), [AdminRequest::CreatePod(Box::new(expected))]);
}

#[test]
fn delete_pod_goes_on_after_a_failure_and_reports_it() {
    let answer = |request: &AdminRequest| match request {
        AdminRequest::DeletePod(pod) if pod.name.as_str() == "b" => not_found("b"),
        _ => vec![Response::Done],
    };
    let run = Daemon::admin(answer).run(&["delete-pod", "a", "b", "c"]);
    assert_eq!((run.status, &*run.out), (1, "pod \"a\" deleted\npod \"c\" deleted\n"));
    assert_eq!(run.err, "error: pod \"default/b\" not found\n");
    let run = Daemon::admin(answer).run(&["delete-pod", "a", "b", "--ignore-not-found"]);
    run.prints("pod \"a\" deleted\n");
}

#[test]
fn nodes_and_pods_are_deleted_by_kind() {
    let answer = |request: &AdminRequest| match request {
        AdminRequest::DeleteNode(name) if name.as_str() == "b" => {
            let message = "node b is running at 192.0.2.2: stop its daemon first";
            vec![Response::Error(ApiError::new(ErrorCode::Conflict, message))]
        }
        _ => vec![Response::Done],
    };
    let daemon = Daemon::admin(answer);
    let run = daemon.run(&["delete", "node", "a", "b", "c"]);
    assert_eq!((run.status, &*run.out), (1, "node \"a\" deleted\nnode \"c\" deleted\n"));
    assert_eq!(run.err, "error: node b is running at 192.0.2.2: stop its daemon first\n");
    daemon.run(&["delete", "no/d"]).prints("node \"d\" deleted\n");
    assert_eq!(daemon.seen()[3], AdminRequest::DeleteNode("d".parse().unwrap()));
    daemon.run(&["delete", "pod", "web", "-n", "prod"]).prints("pod \"web\" deleted\n");
    let pod = PodRef { namespace: "prod".parse().unwrap(), name: "web".parse().unwrap() };
    assert_eq!(daemon.seen()[4], AdminRequest::DeletePod(pod));
    daemon.run(&["delete", "peer", "b"]).fails(2, &["a peer cannot be deleted"]);
    daemon.run(&["delete", "node"]).fails(2, &["vpodctl delete node NAME"]);
    assert_eq!(daemon.seen().len(), 5);
}

#[test]
fn run_container_says_what_it_started() {
    let daemon = Daemon::admin(|_| one_pod("web"));
    daemon
        .run(&["run-container", "web", "side", "--", "true"])
        .prints("container \"side\" started in pod/web\n");
    let expected = AdminRequest::RunContainer {
        pod: pod_ref("web"),
        name: "side".parse().unwrap(),
        command: vec!["true".to_owned()],
    };
    assert_eq!(daemon.seen(), [expected]);
}

#[test]
fn exec_that_cannot_enter_the_pod_names_the_pod_and_the_obstacle() {
    let entry = || PodEntry {
        netns: "/nonexistent/netns".to_owned(),
        hostname: "web".to_owned(),
        binds: Vec::new(),
        cgroup_procs: Vec::new(),
    };
    let daemon = Daemon::admin(move |_| vec![Response::Entry(entry())]);
    daemon
        .run(&["exec", "-it", "web", "--", "true"])
        .fails(1, &["pod \"default/web\"", "/nonexistent/netns"]);
    assert_eq!(daemon.seen(), [AdminRequest::EnterPod(pod_ref("web"))]);
}

#[test]
fn exec_into_a_container_that_is_not_there_lists_those_that_are() {
    let run = Daemon::admin(|_| one_pod("web")).run(&["exec", "web", "-c", "side", "--", "true"]);
    run.fails(1, &["container \"side\" not found in pod \"default/web\"", "it has none"]);
}

#[test]
fn logs_are_passed_through_byte_by_byte() {
    let daemon = Daemon::admin(|_| {
        vec![Response::Bytes(b"one\ntw".to_vec()), Response::Bytes(b"o\n".to_vec()), Response::Done]
    });
    daemon.run(&["logs", "web", "-c", "web", "--tail", "2", "-p"]).prints("one\ntwo\n");
    let expected = AdminRequest::Logs {
        pod: pod_ref("web"),
        container: Some("web".parse().unwrap()),
        follow: false,
        tail: Some(2),
        previous: true,
    };
    assert_eq!(daemon.seen(), [expected]);
}

fn fdb_page(count: u8) -> Response {
    let entry = |last| FdbEntry {
        mac: Mac([2, 0, 0, 0, 0, last]),
        port: PortId(1),
        port_name: "default/web".to_owned(),
        is_static: false,
        age_ms: 1000,
    };
    Response::Items(Items::Fdb((0..count).map(entry).collect()))
}

#[test]
fn all_pages_of_a_list_are_one_table() {
    let daemon = Daemon::admin(|_| vec![fdb_page(200), fdb_page(0), fdb_page(3), Response::Done]);
    let run = daemon.run(&["get", "fdb", "--no-headers"]);
    assert_eq!((run.status, run.out.lines().count()), (0, 203));
    assert_eq!(daemon.seen(), [read(ReadRequest::List { kind: Kind::Fdb, namespace: None })]);
    let run = daemon.run(&["get", "fdb", "02:00:00:00:00:c7", "-o", "name"]);
    run.prints("fdb/02:00:00:00:00:c7\n");
}

#[test]
fn pods_are_listed_in_one_namespace_or_all_and_by_label() {
    let daemon = Daemon::admin(|_| {
        let pods = vec![pod("a", PodPhase::Running), pod("b", PodPhase::Pending)];
        vec![Response::Items(Items::Pods(pods)), Response::Done]
    });
    daemon.run(&["get", "po", "-n", "prod", "-o", "name"]).prints("pod/a\npod/b\n");
    daemon.run(&["get", "pods", "-A", "-o", "name", "-l", "app=b"]).prints("pod/b\n");
    let of = |namespace: Option<&str>| {
        let namespace = namespace.map(|name| name.parse().unwrap());
        read(ReadRequest::List { kind: Kind::Pods, namespace })
    };
    assert_eq!(daemon.seen(), [of(Some("prod")), of(None)]);
}

#[test]
fn nothing_found_is_said_on_standard_error_and_is_no_failure() {
    let daemon = Daemon::admin(|_| vec![Response::Done]);
    let run = daemon.run(&["get", "pods"]);
    assert_eq!((run.status, &*run.out), (0, ""));
    assert_eq!(run.err, "No resources found in default namespace.\n");
    assert_eq!(daemon.run(&["get", "flows"]).err, "No resources found.\n");
    assert!(daemon.run(&["get", "pods", "-o", "json"]).out.contains("\"items\": []"));
}

#[test]
fn a_named_pod_is_one_object_and_a_missing_one_a_failure() {
    let daemon = Daemon::admin(|request| match request {
        AdminRequest::Read(ReadRequest::GetPod(pod)) if pod.name.as_str() == "web" => one_pod("web"),
        _ => not_found("nope"),
    });
    let json = daemon.run(&["get", "pod/web", "-o", "json"]).out;
    assert!(json.contains("\"kind\": \"Pod\"") && json.contains("\"podIP\": \"10.244.0.2\""), "{json}");
    daemon.run(&["get", "pod", "nope"]).fails(1, &["pod \"default/nope\" not found"]);
}

#[test]
fn watching_prints_each_change_once() {
    let mut looks = 0;
    let daemon = Daemon::admin(move |_| {
        looks += 1;
        match looks {
            1 | 2 => vec![Response::Items(Items::Pods(vec![pod("a", PodPhase::Pending)])), Response::Done],
            3 => vec![Response::Items(Items::Pods(vec![pod("a", PodPhase::Running)])), Response::Done],
            4 => vec![Response::Done],
            _ => vec![Response::Error(ApiError::new(ErrorCode::Unavailable, "stopping"))],
        }
    });
    let run = daemon.run(&["get", "pods", "-w"]);
    assert_eq!((run.status, &*run.err), (1, "error: stopping\n"));
    let states: Vec<_> = run.out.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(states, ["STATUS", "Pending", "Running", "Terminated"]);
    let ready: Vec<_> = run.out.lines().filter_map(|line| line.find("READY").or(line.find("/1"))).collect();
    assert_eq!(ready, [7, 8, 8, 8], "later rows stand below the first header:\n{}", run.out);
}

#[test]
fn wait_returns_when_the_condition_holds() {
    let mut looks = 0;
    let daemon = Daemon::admin(move |_| {
        looks += 1;
        if looks < 3 { vec![Response::Pod(Box::new(pod("web", PodPhase::Pending)))] } else { one_pod("web") }
    });
    daemon.run(&["wait", "pod", "web", "--for=condition=Ready"]).prints("pod/web condition met\n");
    Daemon::admin(|_| not_found("web"))
        .run(&["wait", "pod/web", "--for", "delete"])
        .prints("pod/web condition met\n");
}

#[test]
fn wait_that_runs_out_says_what_the_pod_is_instead() {
    let daemon = Daemon::admin(|_| vec![Response::Pod(Box::new(pod("web", PodPhase::Pending)))]);
    let run = daemon.run(&["wait", "pod", "web", "--for=ready", "--timeout", "0"]);
    run.fails(1, &["timed out", "\"default/web\"", "it is Pending"]);
    Daemon::admin(|_| not_found("web")).run(&["wait", "pod", "web", "--for=ready"]).fails(1, &["not found"]);
}

#[test]
fn the_read_only_socket_answers_questions_and_takes_nothing_else() {
    let daemon = Daemon::read_only(|_| vec![fdb_page(1), Response::Done]);
    daemon.run(&["get", "fdb", "-o", "name"]).prints("fdb/02:00:00:00:00:00\n");
    assert_eq!(daemon.seen().len(), 1);
    daemon.run(&["delete-pod", "web"]).fails(1, &["delete-pod needs the admin socket", "admin.sock"]);
}

/// A pcapng block of `kind` with 8 bytes of content.
fn block(kind: u32) -> Vec<u8> {
    [&kind.to_ne_bytes()[..], &20_u32.to_ne_bytes(), &[0xab; 8], &20_u32.to_ne_bytes()].concat()
}

#[test]
fn a_capture_ends_with_its_duration_and_holds_whole_blocks_only() {
    let daemon = Daemon::admin(|request| {
        let half = block(6)[..7].to_vec();
        if matches!(request, AdminRequest::Read(_)) {
            return one_pod("web");
        }
        vec![Response::Bytes([block(0x0a0d_0d0a), block(6)].concat()), Response::Bytes(half)]
    });
    let file = daemon.dir.path("web.pcapng");
    let run = daemon.run(&[
        "capture",
        "web",
        "-w",
        file.to_str().unwrap(),
        "--duration",
        "300ms",
        "--snaplen",
        "96",
    ]);
    assert_eq!((run.status, &*run.out), (0, ""));
    assert!(run.err.starts_with("1 frames captured to "), "{}", run.err);
    assert_eq!(std::fs::read(file).unwrap(), [block(0x0a0d_0d0a), block(6)].concat());
    let capture = AdminRequest::Capture { pod: pod_ref("web"), snaplen: 96 };
    assert_eq!(daemon.seen(), [read(ReadRequest::GetPod(pod_ref("web"))), capture]);
}

#[test]
fn a_capture_of_a_pod_that_is_not_there_leaves_the_file_alone() {
    let daemon = Daemon::admin(|_| not_found("web"));
    let file = daemon.dir.path("web.pcapng");
    std::fs::write(&file, "precious").unwrap();
    daemon.run(&["capture", "web", "-w", file.to_str().unwrap()]).fails(1, &["not found"]);
    assert_eq!(std::fs::read(file).unwrap(), b"precious");
}

#[test]
fn a_capture_that_cannot_be_written_is_not_started() {
    let daemon = Daemon::admin(|_| one_pod("web"));
    let run = daemon.run(&["capture", "web", "-w", "/nonexistent/x.pcapng"]);
    run.fails(1, &["cannot write /nonexistent/x.pcapng"]);
    assert_eq!(daemon.seen(), [read(ReadRequest::GetPod(pod_ref("web")))]);
}

#[test]
fn control_c_ends_a_capture_cleanly() {
    let daemon = Daemon::admin(|request| match request {
        AdminRequest::Read(_) => one_pod("web"),
        _ => vec![Response::Bytes([block(0x0a0d_0d0a), block(6)].concat())],
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_vpodctl"))
        .args(["--socket", daemon.socket().to_str().unwrap(), "capture", "web", "-w"])
        .arg(daemon.dir.path("x.pcapng"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::metadata(daemon.dir.path("x.pcapng")).map_or(0, |file| file.len()) < 40 {
        assert!(Instant::now() < deadline, "nothing was captured");
        std::thread::sleep(Duration::from_millis(10));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::metadata(daemon.dir.path("x.pcapng")).unwrap().len(), 40);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_without_a_word() {
    let daemon = Daemon::admin(|_| {
        let mut pages: Vec<_> = (0..200).map(|_| fdb_page(200)).collect();
        pages.push(Response::Done);
        pages
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_vpodctl"))
        .args(["--socket", daemon.socket().to_str().unwrap(), "get", "fdb"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(141), 0));
}

#[test]
fn log_level_and_metrics_are_asked_of_the_daemon() {
    let daemon = Daemon::admin(|request| match request {
        AdminRequest::Read(ReadRequest::Metrics) => {
            vec![Response::Bytes(b"vswitch_frames_total 1\n".to_vec()), Response::Done]
        }
        _ => vec![Response::Done],
    });
    daemon.run(&["log-level", "debug"]).prints("log filter is now \"debug\"\n");
    daemon.run(&["metrics"]).prints("vswitch_frames_total 1\n");
    assert_eq!(daemon.seen(), [AdminRequest::SetLogFilter("debug".to_owned()), read(ReadRequest::Metrics)]);
}
