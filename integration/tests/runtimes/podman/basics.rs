//! A container is a pod: reached, reaching, named, shared by a podman pod, and gone when it is.

use integration::{Cluster, TestNode};
use serde_json::json;

use super::Podman;
use crate::bed::{pod_of, until_gone};
use crate::image::web;

#[test]
fn a_container_is_a_pod_that_reaches_and_is_reached() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let podman = Podman::on(&node);
    podman.start("web", "", &web("hello"));
    let pod = pod_of(&node, "web");
    let text = node.vpodctl("get pods -o wide").ok();
    assert!(
        text.lines().any(|line| line.starts_with("web ") && line.contains(&pod.ip.to_string())),
        "{text}"
    );
    let address = podman.exec("web", "ip -o -4 addr show eth0").ok();
    assert!(address.contains(&format!("inet {}/", pod.ip)), "{address}");
    let fetch = format!("curl -sS --retry 5 --retry-connrefused http://{}/", pod.ip);
    assert_eq!(client.sh(&fetch).ok(), "hello\n");
    assert_eq!(node.sh(&fetch).ok(), "hello\n");
    for target in
        [client.ip, "10.244.0.1".parse().expect("an address"), node.address().parse().expect("an address")]
    {
        podman.exec("web", &format!("ping -c 1 -W 2 {target}")).ok();
    }
    assert_eq!(
        podman.podman("inspect --format \"{{.NetworkSettings.Networks.vpod.IPAddress}}\" web").ok().trim(),
        pod.ip.to_string()
    );
}

#[test]
fn containers_reach_each_other_by_address_without_nat() {
    let node = TestNode::start();
    let podman = Podman::on(&node);
    podman.start("one", "", "exec sleep 600");
    podman.start(
        "two",
        "",
        "nc -l -p 7000 -e /bin/sh -c \"echo from \\$(ip -o -4 addr show eth0)\"; exec sleep 600",
    );
    let (one, two) = (pod_of(&node, "one"), pod_of(&node, "two"));
    let said = podman
        .exec("one", &format!("for i in 1 2 3 4 5; do nc -w 2 {} 7000 && break; sleep 0.2; done", two.ip))
        .ok();
    assert!(said.contains(&two.ip.to_string()), "{said}");
    podman.exec("two", &format!("ping -c 1 -W 2 {}", one.ip)).ok();
}

#[test]
fn containers_of_two_nodes_reach_each_other() {
    let cluster = Cluster::start(2);
    let [one, two] = [0, 1].map(|number| Podman::on(cluster.node(number)));
    one.start("one", "", "exec sleep 600");
    two.start("two", "", &web("from afar"));
    let far = pod_of(cluster.node(1), "two").ip;
    let fetch = format!("for i in 1 2 3 4 5; do wget -qO- http://{far}/ && exit; sleep 0.2; done; exit 1");
    assert_eq!(one.exec("one", &fetch).ok(), "from afar\n");
    two.exec("two", &format!("ping -c 1 -W 2 {}", pod_of(cluster.node(0), "one").ip)).ok();
}

#[test]
fn containers_of_a_podman_pod_share_localhost_address_and_ports() {
    let node = TestNode::start();
    let podman = Podman::on(&node);
    podman.create_pod("shop", "");
    podman.start("shop-web", "--pod shop", &web("shop"));
    podman.start("shop-side", "--pod shop", "exec sleep 600");
    assert_eq!(node.pods().len(), 1, "one pod for all of its containers: {:?}", node.pods());
    let pod = pod_of(&node, "shop");
    podman
        .exec(
            "shop-side",
            "for i in 1 2 3 4 5; do wget -qO- http://localhost/ && exit; sleep 0.2; done; exit 1",
        )
        .ok();
    assert!(podman.exec("shop-side", "ip -o -4 addr show eth0").ok().contains(&format!("inet {}/", pod.ip)));
    // The port is taken for all of them.
    let second = podman.exec("shop-side", "timeout 3 httpd -f -p 80");
    assert!(second.stderr.contains("in use"), "{second}");
    let client = node.create_pod("client");
    assert_eq!(client.sh(&format!("curl -sS http://{}/", pod.ip)).ok(), "shop\n");
    // One container of it may go, the others stay in the network.
    podman.remove("shop-web");
    assert!(client.pings(pod.ip));
    podman.podman("pod rm --force --time 0 shop").ok();
    until_gone(&node, "shop");
}

#[test]
fn namespace_and_labels_are_what_configuration_and_caller_say() {
    let node = TestNode::start();
    let podman = Podman::configured(
        &node,
        &json!({
            "namespace": "lab",
            "args": {"cni": {"labels": [{"key": "app", "value": "web"}]}},
        }),
    );
    podman.start("first", "", "exec sleep 600");
    let pod = pod_of(&node, "first");
    assert_eq!(pod.namespace, "lab");
    assert!(node.vpodctl("get pods -n lab -l app=web").ok().contains("first"));
    // As a user says it for one container.
    let line = podman.line("My_Second", "", "exec sleep 600");
    podman.podman_with("CNI_ARGS", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=second", &line).ok();
    assert_eq!(pod_of(&node, "second").namespace, "shop");
    // A container's name need not be one of a pod.
    podman.start("My_Third", "", "exec sleep 600");
    let third = node.pods().into_iter().find(|pod| pod.metadata.name.as_str().starts_with("my-third-"));
    assert!(third.is_some(), "{:?}", node.pods());
    podman.remove("My_Second");
    until_gone(&node, "second");
}

#[test]
fn a_container_that_cannot_be_attached_says_why_and_leaves_nothing() {
    let node = TestNode::start();
    let podman = Podman::on(&node);
    let refused = podman.podman(&podman.line("far", "--ip 192.0.2.77", "exec sleep 600"));
    assert!(
        !refused.succeeded() && refused.stderr.contains("192.0.2.77 is not in 10.244.0.0/24"),
        "{refused}"
    );
    assert!(node.pods().is_empty(), "{:?}", node.pods());
    // A name is one pod's.
    let _taken = node.create_pod("web");
    let refused = podman.podman(&podman.line("web", "", "exec sleep 600"));
    assert!(!refused.succeeded() && refused.stderr.contains("default/web"), "{refused}");
    assert_eq!(node.pods().len(), 1);
    // The next one works.
    podman.remove("web");
    podman.start("other", "", "exec sleep 600");
    pod_of(&node, "other");
}
