//! Containers find services by their names, over the node's own DNS.

use std::collections::BTreeSet;

use integration::wait;
use protocol::message::Kind;

use super::Podman;
use crate::bed::{labelled, node_with_dns, pod_of};
use crate::image::web;

#[test]
fn a_service_is_found_by_name_and_answers() {
    let node = node_with_dns();
    let backend = node.create(&labelled("backend"));
    let mut server =
        backend.spawn("cd $(mktemp -d) && echo by service >index.html && exec python3 -um http.server 8080");
    server.wait_for_output("Serving");
    node.vpodctl("create-service clusterip web --tcp 80:8080").ok();
    let podman = Podman::on(&node);
    podman.start("client", "", "exec sleep 600");
    let resolv = podman.exec("client", "cat /etc/resolv.conf").ok();
    assert!(
        resolv.contains("nameserver 10.96.0.10") && resolv.contains("search default.svc.cluster.local"),
        "{resolv}"
    );
    // What podman leaves out and adds can be said to it, and then it is all said.
    let options = "--dns 10.96.0.10 --dns-search default.svc.cluster.local --dns-option ndots:5";
    podman.start("careful", options, "exec sleep 600");
    let careful = podman.exec("careful", "cat /etc/resolv.conf").ok();
    let lines: BTreeSet<&str> = careful.lines().collect();
    let expected = ["search default.svc.cluster.local", "nameserver 10.96.0.10", "options ndots:5"];
    assert_eq!(lines, expected.into(), "{careful}");
    for name in ["web", "web.default.svc.cluster.local"] {
        let fetch = format!("wget -qO- http://{name}/");
        wait::until(&format!("{name} answers"), || {
            (podman.exec("client", &fetch).stdout == "by service\n").then_some(())
        });
    }
    drop(server);
}

#[test]
fn a_container_serves_a_service() {
    let node = node_with_dns();
    let podman = Podman::configured(
        &node,
        &serde_json::json!({
            "args": {"cni": {"labels": [{"key": "app", "value": "web"}]}},
        }),
    );
    podman.start("one", "", &web("one"));
    podman.start("two", "", &web("two"));
    node.vpodctl("create-service clusterip web --tcp 80:80").ok();
    let client = node.create_pod("client");
    let ask = || {
        // With the pod's resolv.conf.
        let script = "for i in $(seq 20); do curl -sS -m 2 http://web/; done";
        node.vpodctl_words(&["exec", &client.name, "--", "sh", "-c", script])
    };
    let both = || {
        let all = ask().stdout;
        (all.contains("one") && all.contains("two")).then_some(())
    };
    wait::until("both containers answer", both);
    // One that is removed is asked no more, at once.
    podman.remove("one");
    assert_eq!(ask().ok(), "two\n".repeat(20));
    assert!(!node.list(Kind::Services).is_empty());
    assert!(client.pings(pod_of(&node, "two").ip));
}
