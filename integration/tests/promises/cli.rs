//! `vpodctl` follows kubectl's habits.

use std::time::Duration;

use integration::TestNode;
use serde_json::Value;

fn json(node: &TestNode, arguments: &str) -> Value {
    let text = node.vpodctl(arguments).ok();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("`{arguments}` is not JSON: {e}\n{text}"))
}

#[test]
fn create_pod_returns_when_the_pod_can_talk() {
    let node = TestNode::start();
    for n in 0..5 {
        node.vpodctl(&format!("create-pod p{n}")).ok();
        // No retry, no waiting.
        node.vpodctl(&format!("exec p{n} -- ping -n -c 1 -W 1 10.244.0.1")).ok();
    }
}

#[test]
fn every_kind_is_listed_as_table_and_json() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    assert!(a.pings(b.ip));
    for kind in ["pods", "nodes", "fdb", "neighbors", "flows", "ports", "drops", "peers", "routes"] {
        for format in ["table", "wide"] {
            let text = node.vpodctl(&format!("get {kind} -A -o {format}")).ok();
            let may_be_empty = ["drops", "peers"].contains(&kind);
            assert!(may_be_empty || text.lines().count() >= 2, "{kind}: {text}");
        }
        let value = json(&node, &format!("get {kind} -A -o json"));
        assert!(value["items"].is_array(), "{kind}: {value}");
        node.vpodctl(&format!("get {kind} -A -o yaml")).ok();
    }
}

#[test]
fn pods_are_selected_by_namespace_name_and_label() {
    let node = TestNode::start();
    node.vpodctl("create-pod web -n shop -l app=web,tier=front").ok();
    node.vpodctl("create-pod db -n shop -l app=db").ok();
    node.vpodctl("create-pod web -n test -l app=web").ok();
    let names = |arguments: &str| {
        let value = json(&node, arguments);
        let items = value["items"].as_array().expect("a list").clone();
        let key = |item: &Value| {
            format!(
                "{}/{}",
                item["metadata"]["namespace"].as_str().unwrap(),
                item["metadata"]["name"].as_str().unwrap()
            )
        };
        items.iter().map(key).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("get pods -n shop -o json"), "shop/db shop/web");
    assert_eq!(names("get pods -A -o json"), "shop/db shop/web test/web");
    assert_eq!(names("get pods -A -l app=web -o json"), "shop/web test/web");
    assert_eq!(names("get pods -o json"), "");
    let one = json(&node, "get pod web -n shop -o json");
    assert_eq!(one["metadata"]["labels"]["tier"], "front", "{one}");
    assert!(one["status"]["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.244.0.")), "{one}");
}

#[test]
fn describe_and_status_name_what_matters() {
    let node = TestNode::start();
    let pod = node.create_pod_running("web", &["sleep", "600"]);
    let text = node.vpodctl("describe pod web").ok();
    for part in [
        pod.ip.to_string(),
        pod.mac.to_string(),
        pod.netns.clone(),
        "sleep 600".to_owned(),
        "Running".to_owned(),
    ] {
        assert!(text.contains(&part), "no {part:?} in\n{text}");
    }
    let text = node.vpodctl("status").ok();
    assert!(text.contains(node.name()) && text.contains("10.244.0.0/24"), "{text}");
    assert_eq!(json(&node, "status -o json")["node"]["status"]["pods"], 1);
}

#[test]
fn watch_prints_what_changes() {
    let node = TestNode::start();
    let mut watch = node.vpodctl_spawn("get pods -w");
    std::thread::sleep(Duration::from_millis(300));
    let pod = node.create_pod("late");
    watch.wait_for_output("late");
    node.delete_pod(&pod);
    assert!(watch.is_running());
}

#[test]
fn wait_returns_when_the_condition_holds_and_fails_when_it_does_not() {
    let node = TestNode::start();
    let pod = node.create_pod_running("a", &["sleep", "600"]);
    node.vpodctl("wait pod a --for=ready --timeout 10s").ok();
    node.vpodctl("wait pod a --for=delete --timeout 1s").fails(1);
    let waiting = node.vpodctl_spawn("wait pod a --for=delete --timeout 20s");
    node.delete_pod(&pod);
    waiting.wait().ok();
}

#[test]
fn completion_and_man_pages_are_generated() {
    let node = TestNode::start();
    for shell in ["bash", "zsh", "fish"] {
        assert!(node.vpodctl(&format!("completion {shell}")).ok().contains("create-pod"));
    }
    let dir = node.dir().join("man");
    std::fs::create_dir(&dir).expect("the directory is new");
    node.vpodctl(&format!("man --dir {}", dir.display())).ok();
    assert!(std::fs::read_dir(&dir).expect("it exists").count() > 5);
}
