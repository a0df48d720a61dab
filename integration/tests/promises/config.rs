//! One TOML file; unknown keys and wrong values are refused by name.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use integration::{NodeOptions, TestNode, binary};

/// `vswitchd` with this configuration, which must not get as far as doing anything.
fn vswitchd(config: &str, arguments: &[&str]) -> Output {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("vpod-test.{}-config{number}.toml", std::process::id()));
    std::fs::write(&file, config).expect("the file can be written");
    let output = Command::new(binary("vswitchd")).arg("--config").arg(&file).args(arguments).output();
    let _ = std::fs::remove_file(&file);
    output.expect("the program can be started")
}

#[track_caller]
fn refused(config: &str, parts: &[&str]) {
    let output = vswitchd(config, &["--print-config"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{config} was taken");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}

#[test]
fn the_effective_configuration_is_printed_and_can_be_read_again() {
    let output = vswitchd("node = \"n1\"\npod_cidr = \"10.244.7.0/24\"\n", &["--print-config"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    for part in [
        "node = \"n1\"",
        "pod_cidr = \"10.244.7.0/24\"",
        "cluster_cidr = \"10.244.0.0/16\"",
        "state_dir = \"/var/lib/vswitchd\"",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let again = vswitchd(&text, &["--print-config"]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), text);
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    refused("pod_cird = \"10.244.0.0/24\"\n", &["pod_cird"]);
    refused("[log]\nlevel = \"info\"\n", &["level"]);
}

#[test]
fn a_wrong_value_is_refused_by_key() {
    refused("pod_cidr = \"10.244.0.0/33\"\n", &["pod_cidr"]);
    refused("pod_cidr = \"192.168.0.0/24\"\n", &["pod_cidr", "cluster_cidr"]);
    refused("tap = \"fancy\"\n", &["tap", "fancy"]);
    refused("workers = \"many\"\n", &["workers"]);
    refused("state_dir = \"relative/path\"\n", &["state_dir"]);
    refused("netns_prefix = \"../x\"\n", &["netns_prefix"]);
}

#[test]
fn a_missing_file_is_named() {
    let output =
        Command::new(binary("vswitchd")).args(["--config", "/no/such/file.toml", "--print-config"]).output();
    let output = output.expect("the program can be started");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/file.toml"), "{output:?}");
}

#[test]
fn the_gateway_device_can_have_another_name() {
    let node = NodeOptions::default().config("gateway_device = \"podgw\"").start();
    let pod = node.create_pod("a");
    node.sh("ip link show podgw").ok();
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", pod.ip)).succeeded());
}

#[test]
fn several_nodes_run_side_by_side() {
    let (one, two) = (TestNode::start(), TestNode::start());
    let (a, b) = (one.create_pod("a"), two.create_pod("a"));
    // The same addresses, and neither hears of the other.
    assert_eq!(a.ip, b.ip);
    assert!(one.sh(&format!("ping -n -c 1 -W 1 {}", a.ip)).succeeded());
    assert_eq!(one.pods().len(), 1);
}
