//! Prometheus text over the read-only socket and a port, with what the counters say.

use integration::{NodeOptions, TestNode};
use protocol::client::Client;
use protocol::message::{ReadRequest, Response};

pub(crate) fn scrape(node: &TestNode) -> String {
    let mut client = Client::connect(&node.dir().join("run/ro.sock")).expect("the read-only socket listens");
    client.send_read(&ReadRequest::Metrics).expect("sent");
    let mut text = Vec::new();
    loop {
        match client.receive().expect("an answer") {
            Response::Bytes(bytes) => text.extend(bytes),
            Response::Done => return String::from_utf8(text).expect("metrics are text"),
            other => panic!("{other:?}"),
        }
    }
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn metrics_carry_the_counters_of_every_port() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    a.sh(&format!("ping -n -c 3 -i 0.2 -W 1 {}", b.ip)).ok();
    let _ = a.sh(&format!("ping -n -c 1 -W 1 -t 1 {}", node.address()));
    let text = scrape(&node);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let is_named = ["vswitch_", "vpod_service_", "kubeproxy_"].iter().any(|name| line.starts_with(name));
        assert!(is_named, "{line}");
    }
    let series = "vswitch_dropped_frames_total{port=\"default/a\",reason=\"ttl_expired\"}";
    assert_eq!(value(&text, series), Some(1.0), "{text}");
    let received = value(&text, "vswitch_port_receive_frames_total{port=\"default/a\"}").unwrap_or_default();
    assert!(received >= 4.0, "{text}");
}

#[test]
fn metrics_are_served_over_http() {
    let node = NodeOptions::default().config("metrics = \"127.0.0.1:9100\"").start();
    let _ = node.create_pod("a");
    let text = node.sh("curl -sSf http://127.0.0.1:9100/metrics").ok();
    assert!(text.contains("# TYPE vswitch_"), "{text}");
    node.sh("curl -sf http://127.0.0.1:9100/elsewhere").fails(22);
    let socket = node.dir().join("run/metrics.sock");
    let same =
        node.sh(&format!("curl -sSf --unix-socket {} http://localhost/metrics", socket.display())).ok();
    assert!(same.contains("# TYPE vswitch_"), "{same}");
}
