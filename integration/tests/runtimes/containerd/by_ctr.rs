//! Single containers by `ctr run --cni`, which calls the plugin itself.

use integration::TestNode;

use super::Containerd;
use crate::bed::{Stream, until_gone};
use crate::image::web;
use integration::{TestPod, wait};

/// `ctr` says the plugin no name, so the pod is called by the container's id: its namespace and name.
fn pod_name(container: &str) -> String {
    format!("cni-default-{container}")
}

#[test]
fn a_container_is_a_pod_that_reaches_and_is_reached() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let containerd = Containerd::on(&node);
    containerd.ctr(&containerd.line("web", "--detach", &web("by ctr"))).ok();
    let pod = node.pod(&pod_name("web")).spec.pod_ips[0];
    let fetch = format!("curl -sS --retry 5 --retry-connrefused http://{pod}/");
    assert_eq!(client.sh(&fetch).ok(), "by ctr\n");
    assert_eq!(node.sh(&fetch).ok(), "by ctr\n");
    for target in [client.ip.to_string(), node.address().to_owned()] {
        containerd.exec("web", &format!("ping -c 1 -W 2 {target}")).ok();
    }
    let address = containerd.exec("web", "ip -o -4 addr show eth0").ok();
    assert!(address.contains(&format!("inet {pod}/")), "{address}");
}

#[test]
fn a_container_that_ends_gives_its_address_back() {
    let node = TestNode::start();
    let containerd = Containerd::on(&node);
    // Not detached, ctr calls DEL.
    let said = containerd.ctr(&containerd.line("short", "--rm", "ip -o -4 addr show eth0")).ok();
    assert!(said.contains("inet 10.244.0."), "{said}");
    assert!(node.pods().is_empty(), "{:?}", node.pods());
    // Detached, it does not: the namespace ends with its last process, and that is enough.
    for (name, end) in [("shot", "task kill --signal KILL"), ("gone", "task rm --force")] {
        containerd.ctr(&containerd.line(name, "--detach", "exec sleep 600")).ok();
        assert_eq!(node.pods().len(), 1);
        containerd.ctr(&format!("{end} {name}")).ok();
        until_gone(&node, &pod_name(name));
    }
}

#[test]
fn a_container_reaches_a_service() {
    let node = TestNode::start();
    let backend = node.create(&crate::bed::labelled("backend"));
    let mut server =
        backend.spawn("cd $(mktemp -d) && echo by service >index.html && exec python3 -um http.server 8080");
    server.wait_for_output("Serving");
    node.vpodctl("create-service clusterip web --tcp 80:8080 --clusterip 10.96.7.7").ok();
    let containerd = Containerd::on(&node);
    containerd.ctr(&containerd.line("client", "--detach", "exec sleep 600")).ok();
    wait::until("the service answers", || {
        (containerd.exec("client", "wget -qO- http://10.96.7.7/").stdout == "by service\n").then_some(())
    });
    drop(server);
}

#[test]
fn restarts_of_daemon_and_containerd_cost_a_container_nothing() {
    let mut node = TestNode::start();
    let client = node.create_pod("client");
    let mut containerd = Containerd::on(&node);
    containerd.ctr(&containerd.line("web", "--detach", &web("still here"))).ok();
    let pod = TestPod::of(&node.pod(&pod_name("web")));
    let stream = Stream::into(&client, &node.pod(&pod_name("web")).status.netns, pod.ip, 8);
    let fetch = format!("curl -sS -m 3 --retry 5 --retry-connrefused http://{}/", pod.ip);
    assert_eq!(client.sh(&fetch).ok(), "still here\n");
    node.stop_daemon();
    node.start_daemon();
    assert_eq!(client.sh(&fetch).ok(), "still here\n");
    containerd.restart();
    node.signal(nix::sys::signal::Signal::SIGKILL);
    let _ = node.wait_for_end();
    node.start_daemon();
    stream.complete();
    assert_eq!(client.sh(&fetch).ok(), "still here\n");
    containerd.exec("web", &format!("ping -c 1 -W 2 {}", client.ip)).ok();
    containerd.ctr("task rm --force web").ok();
    until_gone(&node, &pod_name("web"));
}
