//! What runtimes and attackers may write: the programs name what is wrong, and nothing is made.

use std::io::Write;

use integration::{Background, TestNode, binary};
use serde_json::{Value, json};

use super::{Call, Container, add, error, pods};

#[test]
fn hostile_ids_and_interface_names_are_refused_by_name() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let long = "a".repeat(300);
    for id in ["../../etc", "a/b", "..", "-a", "a b", "a\nb", "ä", "аbc", "\u{202e}a", long.as_str()] {
        for verb in ["ADD", "DEL", "CHECK"] {
            let (code, text) = Call::new(&node, verb, &container).with("CNI_CONTAINERID", id).fails(&node);
            assert!(code == 4 && text.contains("CNI_CONTAINERID"), "{verb} {id:?}: {text}");
        }
    }
    for name in ["..", ".", "a/b", "a:b", "eth 0", "eth%d", "abcdefghijklmnop", "ethé", "\u{202e}0"] {
        let (code, text) = Call::new(&node, "ADD", &container).with("CNI_IFNAME", name).fails(&node);
        assert!(code == 4 && text.contains("CNI_IFNAME"), "{name:?}: {text}");
    }
    for path in ["netns", "/run/../etc/passwd", "/a\nb"] {
        let (code, text) = Call::new(&node, "ADD", &container).with("CNI_NETNS", path).fails(&node);
        assert!(code == 4 && text.contains("CNI_NETNS"), "{path:?}: {text}");
    }
    let (code, text) = Call::new(&node, "ADD", &container).set("name", json!("../x\u{0}")).fails(&node);
    assert!(code == 7 && text.contains("network's name"), "{text}");
    assert_eq!(pods(&node).len(), 0);
}

#[test]
fn everything_missing_is_named_at_once() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let mut call = Call::new(&node, "ADD", &container);
    call.variables.retain(|(name, _)| *name == "CNI_COMMAND");
    let (code, text) = call.fails(&node);
    assert_eq!(code, 4);
    for name in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"] {
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(call.with("CNI_COMMAND", "FROBNICATE").fails(&node).0, 4);
}

#[test]
fn configurations_that_cannot_be_are_refused_by_name() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let call = Call::new(&node, "ADD", &container);
    for (key, value, code, part) in [
        ("cniVersion", json!("0.2.0"), 1, "0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        ("cniVersion", json!("9.9.9"), 1, "9.9.9"),
        ("cniVersion", json!(7), 6, "cniVersion"),
        ("name", Value::Null, 7, "name is missing"),
        ("ipam", json!({"type": "host-local"}), 2, "host-local"),
        ("runtimeConfig", json!({"teleport": true}), 2, "teleport"),
        ("prevResult", json!({"ips": "none"}), 7, "prevResult"),
        ("args", json!({"cni": {"labels": [{"key": "-", "value": "x"}]}}), 7, "labels"),
    ] {
        let (found, text) = call.clone().set(key, value).fails(&node);
        assert!(found == code && text.contains(part), "{key}: {found} {text}");
    }
    let answer = call.set("cniVersion", json!("0.4.0")).set("mtu", json!(-1)).run(&node);
    let object: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(object["cniVersion"], "0.4.0", "an error is in the version that was asked for");
    assert_eq!(pods(&node).len(), 0);
}

#[test]
fn input_that_is_no_configuration_is_refused_soon() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let call = Call::new(&node, "ADD", &container);
    let endless = vec![b' '; (4 << 20) + 1000];
    for (bytes, code) in
        [(&b""[..], 6), (b"{", 6), (b"[]", 6), (&[0xff, 0xfe], 6), (&endless, 7), (&[b'['; 100_000], 6)]
    {
        let mut program = node.command(binary("vpod-cni").to_str().unwrap());
        program.envs(call.variables.iter().map(|(name, value)| (name, value)));
        let mut running = Background::start(program);
        // It may stop reading before the end.
        let _ = running.stdin().write_all(bytes);
        assert_eq!(error(&running.wait()).0, code, "{} bytes", bytes.len());
    }
}

#[test]
fn standard_input_that_cannot_be_read_is_an_io_failure() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let call = Call::new(&node, "ADD", &container);
    let mut program = node.command("sh");
    program.args(["-c", &format!("exec {} </", binary("vpod-cni").display())]);
    program.envs(call.variables.iter().map(|(name, value)| (name, value)));
    let (code, text) = error(&Background::start(program).wait());
    assert!(code == 5 && text.contains("standard input"), "{text}");
}

#[test]
fn only_root_may_ask() {
    let node = TestNode::start();
    let container = Container::start(&node);
    add(&node, &container);
    let call = Call::new(&node, "DEL", &container);
    let mut program = node.command("setpriv");
    program.args(["--reuid=65534", "--clear-groups"]).arg(binary("vpod-cni"));
    program.envs(call.variables.iter().map(|(name, value)| (name, value)));
    let mut running = Background::start(program);
    let _ = running.stdin().write_all(call.config.to_string().as_bytes());
    let ran = running.wait();
    assert!(!ran.succeeded(), "{ran}");
    assert_eq!(pods(&node).len(), 1, "it stays");
}
