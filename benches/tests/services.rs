//! Services and the way out are measured beside the kernel's: every subject gets its services, answers
//! through them, and what is not installed is said. Needs root: it sets real networks up.

use std::process::Command;

/// Runs workloads as short as can be; everything that was measured, by metric.
#[track_caller]
fn run(workloads: &[&str], peers: &str) -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_vpod-bench"))
        .arg("run")
        .args(workloads)
        .args(["--rounds", "1", "--seconds", "0.2", "--services", "1,3", "--json", "--peers", peers])
        .output()
        .expect("the harness starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = String::from_utf8_lossy(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Whether it has a sample of each subject that the machine has the programs for.
#[track_caller]
fn measured(metric: &serde_json::Value, subjects: &[&str]) {
    for subject in subjects {
        let is_missing =
            metric["skipped"][subject].as_str().is_some_and(|why| why.starts_with("not installed"));
        let samples = metric["subjects"][subject]["samples"].as_array().map(Vec::len);
        assert!(is_missing || samples == Some(1), "{subject}: {metric}");
    }
}

#[test]
fn connections_and_first_packets_are_measured_with_each_number_of_services() {
    let all = ["vpod", "kube-proxy-iptables", "kube-proxy-nft"];
    let metrics = run(&["service-crr", "first-packet"], "kube-proxy-iptables,kube-proxy-nft");
    // Rate, p50 and p99; p50 and p99 over TCP and UDP.
    assert_eq!(metrics.len(), 2 * (3 + 4));
    for services in ["1", "3"] {
        assert!(metrics.iter().any(|metric| metric["params"]["services"] == services));
    }
    metrics.iter().for_each(|metric| measured(metric, &all));
}

#[test]
fn a_moved_endpoint_is_followed_and_its_time_is_measured() {
    let metrics = run(&["program"], "kube-proxy-iptables,kube-proxy-nft");
    let mut found = 0;
    for metric in metrics.iter().filter(|m| m["metric"].as_str().is_some_and(|m| m.starts_with("one change")))
    {
        measured(metric, &["vpod", "kube-proxy-iptables", "kube-proxy-nft"]);
        found += 1;
    }
    assert_eq!(found, 4);
}

#[test]
fn the_way_out_is_measured_and_the_server_sees_the_node() {
    let metrics = run(&["egress-crr"], "kernel-masquerade");
    assert_eq!(metrics.len(), 3);
    metrics.iter().for_each(|metric| measured(metric, &["vpod", "kernel-masquerade"]));
}
