//! Containers of a pod share its namespace, address, ports and `localhost`, run within its limits,
//! and are started again as its restart policy says.

use std::fs;
use std::path::PathBuf;

use integration::node::pod_request;
use integration::{TestNode, TestPod, binary, wait};
use protocol::message::AdminRequest;
use protocol::object::{ContainerState, ContainerStatus, PodPhase, RestartPolicy};

fn containers(node: &TestNode, pod: &str) -> Vec<ContainerStatus> {
    node.pod(pod).status.container_statuses
}

fn running_pid(node: &TestNode, pod: &str) -> u32 {
    wait::until("the container runs", || match containers(node, pod).first()?.state {
        ContainerState::Running { pid, .. } => Some(pid),
        ContainerState::Waiting { .. } | ContainerState::Terminated { .. } => None,
    })
}

fn terminated(node: &TestNode, pod: &str) -> i32 {
    wait::until("the container ends for good", || match &containers(node, pod).first()?.state {
        ContainerState::Terminated { exit } => Some(exit.code),
        ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
    })
}

fn http_pod(node: &TestNode) -> TestPod {
    let pod = node.create_pod_running(
        "web",
        &["/usr/bin/python3", "-m", "http.server", "8080", "--directory", "/proc/self/ns"],
    );
    wait::until("the server listens", || {
        node.vpodctl("exec web -- curl -sf http://localhost:8080/").succeeded().then_some(())
    });
    pod
}

#[test]
fn two_containers_talk_over_localhost() {
    let node = TestNode::start();
    http_pod(&node);
    node.vpodctl_words(&[
        "run-container",
        "web",
        "probe",
        "--",
        "sh",
        "-c",
        "curl -s http://localhost:8080/ && exec sleep 600",
    ])
    .ok();
    wait::until("the second container's output", || {
        node.vpodctl("logs web -c probe").ok().contains("net").then_some(())
    });
    let pod = node.pod("web");
    assert_eq!(pod.status.container_statuses.len(), 2, "{pod:?}");
    assert_eq!(pod.status.phase, PodPhase::Running);
}

#[test]
fn two_containers_share_the_port_space() {
    let node = TestNode::start();
    http_pod(&node);
    let ran = node.vpodctl("exec web -- /usr/bin/python3 -m http.server 8080");
    assert!(!ran.succeeded() && ran.stderr.contains("Address already in use"), "{ran}");
}

#[test]
fn exec_passes_input_output_and_exit_status() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    node.vpodctl_words(&["exec", "a", "--", "sh", "-c", "exit 7"]).fails(7);
    // `exec` becomes the program, so a shell sees its end as that of any program of its own.
    let exec = format!("{} exec a -- sh -c 'kill -TERM $$'", binary("vpodctl").display());
    node.sh(&format!("VPOD_SOCKET={} {exec}; exit $?", node.socket().display())).fails(128 + 15);
    let addresses = node.vpodctl("exec a -- ip -o -4 address show dev eth0").ok();
    assert!(addresses.contains(&pod.ip.to_string()), "{addresses}");
    let mut cat = node.vpodctl_spawn("exec a -- cat");
    std::io::Write::write_all(&mut cat.stdin(), b"over the pipe\n").expect("exec reads its input");
    assert_eq!(cat.wait().ok(), "over the pipe\n");
    node.vpodctl("exec a -- /no/such/program").fails(127);
}

#[test]
fn an_ended_container_is_started_again_and_counted() {
    let node = TestNode::start();
    let _ = node.create_pod_running("a", &["sh", "-c", "echo run; sleep 0.2; exit 3"]);
    let status = wait::until("the second restart", || {
        containers(&node, "a").into_iter().next().filter(|status| status.restart_count >= 2)
    });
    assert_eq!(status.last_exit.expect("it ended before").code, 3);
    assert!(node.vpodctl("logs a").ok().contains("run"));
    assert_eq!(node.vpodctl("logs a --previous").ok().trim(), "run");
}

#[test]
fn a_container_that_is_not_restarted_keeps_its_status() {
    let node = TestNode::start();
    for (name, command, code, phase) in [
        ("good", "exit 0", 0, PodPhase::Succeeded),
        ("bad", "exit 5", 5, PodPhase::Failed),
        ("shot", "kill -KILL $$", 137, PodPhase::Failed),
    ] {
        let mut request = pod_request(name, &["sh", "-c", command]);
        request.restart_policy = RestartPolicy::Never;
        let _ = node.create(&request);
        assert_eq!(terminated(&node, name), code, "{name}");
        wait::until("the phase follows", || (node.pod(name).status.phase == phase).then_some(()));
    }
}

#[test]
fn logs_are_kept_in_order_and_can_be_cut_to_a_tail() {
    let node = TestNode::start();
    let _ = node.create_pod_running("a", &["sh", "-c", "seq 1 1000; echo error >&2; exec sleep 600"]);
    wait::until("all output", || node.vpodctl("logs a").ok().contains("error").then_some(()));
    let expected: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    assert!(node.vpodctl("logs a").ok().starts_with(&expected));
    assert_eq!(node.vpodctl("logs a --tail 2").ok(), "1000\nerror\n");
}

#[test]
fn limits_are_set_in_the_cgroup() {
    let node = TestNode::start();
    node.vpodctl("create-pod a --cpu 500m --memory 64Mi -- sleep 600").ok();
    let pid = running_pid(&node, "a");
    let limit = |names: [&str; 2]| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process lives");
        groups.lines().find_map(|line| {
            // "4:memory:/path" on v1, "0::/path" on v2.
            let mut parts = line.splitn(3, ':').skip(1);
            let (controller, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            let roots = controller.split(',').map(|c| PathBuf::from("/sys/fs/cgroup").join(c));
            roots
                .flat_map(|root| names.map(|name| root.join(path).join(name)))
                .find_map(|file| fs::read_to_string(file).ok())
        })
    };
    let memory = limit(["memory.max", "memory.limit_in_bytes"]).expect("a memory limit");
    assert_eq!(memory.trim(), (64 << 20).to_string());
    let cpu = limit(["cpu.max", "cpu.cfs_quota_us"]).expect("a CPU limit");
    assert_eq!(cpu.split_whitespace().next(), Some("50000"));
}

#[test]
fn a_container_over_its_memory_limit_is_killed_alone() {
    let node = TestNode::start();
    let bystander = node.create_pod("bystander");
    let mut request =
        pod_request("hog", &["/usr/bin/python3", "-c", "x = bytearray(256 << 20); print(len(x))"]);
    request.resources.memory_bytes = Some(64 << 20);
    request.restart_policy = RestartPolicy::Never;
    let _ = node.create(&request);
    assert_eq!(terminated(&node, "hog"), 137);
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", bystander.ip)).succeeded());
}

#[test]
fn resolv_conf_hosts_and_hostname_are_the_pods_own() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    let resolv = node.vpodctl("exec a -- cat /etc/resolv.conf").ok();
    assert!(resolv.contains("nameserver 10.96.0.10"), "{resolv}");
    assert!(resolv.contains("search default.svc.cluster.local svc.cluster.local cluster.local"), "{resolv}");
    assert!(resolv.contains("options ndots:5"), "{resolv}");
    let hosts = node.vpodctl("exec a -- cat /etc/hosts").ok();
    let own = hosts.lines().find(|line| line.starts_with(&pod.ip.to_string())).expect("a line for the pod");
    assert!(own.split_whitespace().any(|word| word == "a"), "{hosts}");
    assert!(hosts.contains("127.0.0.1"), "{hosts}");
    assert_eq!(node.vpodctl("exec a -- hostname").ok().trim(), "a");
    // The machine's own files are untouched.
    let machine = fs::read_to_string("/etc/hosts").unwrap_or_default();
    assert!(!machine.contains(&pod.ip.to_string()), "{machine}");
}

#[test]
fn ip_netns_exec_works_and_sees_the_pods_resolv_conf() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    let ran = node.sh(&format!("ip netns exec {} cat /etc/resolv.conf", pod.netns)).ok();
    assert!(ran.contains("nameserver 10.96.0.10"), "{ran}");
}

#[test]
fn deleting_a_pod_stops_its_containers() {
    let node = TestNode::start();
    let pod = node.create_pod_running("a", &["sh", "-c", "sleep 600 & exec sleep 601"]);
    let pid = running_pid(&node, "a");
    node.delete_pod(&pod);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "process {pid} still runs");
    let error = node.request(&AdminRequest::EnterPod(integration::node::reference("default", "a")));
    assert!(error.is_err(), "{error:?}");
}
