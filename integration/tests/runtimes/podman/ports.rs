//! Published ports: `-p`.

use integration::wait;

use super::Podman;
use crate::bed::{node_with_outside, pod_of, until_gone};
use crate::image::web;

const FROM_OUTSIDE: &str = "curl -sS -m 3 http://192.0.2.1:8080/";

#[test]
fn a_published_port_is_reached_from_everywhere_until_its_container_is_gone() {
    let cluster = node_with_outside();
    let node = cluster.node(0);
    let client = node.create_pod("client");
    let podman = Podman::on(node);
    podman.start("web", "-p 8080:80", &web("published"));
    wait::until("it is reached from outside", || {
        (cluster.underlay().sh(FROM_OUTSIDE).stdout == "published\n").then_some(())
    });
    assert_eq!(node.sh(FROM_OUTSIDE).ok(), "published\n");
    assert_eq!(node.sh("curl -sS -m 3 http://127.0.0.1:8080/").ok(), "published\n");
    assert_eq!(client.sh(FROM_OUTSIDE).ok(), "published\n");
    assert!(node.vpodctl("describe pod web").ok().contains("8080 -> 80/TCP"));
    // The container sees who asks.
    pod_of(node, "web");
    let taken = podman.podman(&podman.line("second", "-p 8080:81", "exec sleep 600"));
    assert!(!taken.succeeded() && taken.stderr.contains("8080"), "{taken}");
    podman.remove("second");
    podman.remove("web");
    until_gone(node, "web");
    assert!(!node.sh("curl -sS -m 3 http://127.0.0.1:8080/").succeeded());
    assert!(!cluster.underlay().sh(FROM_OUTSIDE).succeeded());
    podman.start("third", "-p 8080:80", &web("third"));
    wait::until("another has the port", || {
        (cluster.underlay().sh(FROM_OUTSIDE).stdout == "third\n").then_some(())
    });
}

#[test]
fn published_ports_may_be_ranges_of_either_protocol_and_at_one_address() {
    let cluster = node_with_outside();
    let node = cluster.node(0);
    let podman = Podman::on(node);
    podman.start("udp", "-p 5353:53/udp -p 127.0.0.1:9000-9001:80-81", &web("some"));
    let text = node.vpodctl("describe pod udp").ok();
    for part in ["5353 -> 53/UDP", "9000 -> 80/TCP", "9001 -> 81/TCP"] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    wait::until("it is reached at 127.0.0.1", || {
        (node.sh("curl -s -m 3 http://127.0.0.1:9000/").stdout == "some\n").then_some(())
    });
    assert!(
        !cluster.underlay().sh("curl -sS -m 2 http://192.0.2.1:9000/").succeeded(),
        "it is the node's own alone"
    );
}

#[test]
fn the_ports_of_a_podman_pod_lead_to_its_containers() {
    let cluster = node_with_outside();
    let node = cluster.node(0);
    let podman = Podman::on(node);
    podman.create_pod("shop", "-p 8080:80");
    podman.start("shop-web", "--pod shop", &web("shop"));
    wait::until("it is reached from outside", || {
        (cluster.underlay().sh(FROM_OUTSIDE).stdout == "shop\n").then_some(())
    });
}
