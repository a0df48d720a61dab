//! Pods by CRI, as a kubelet makes them.

use integration::{TestNode, TestPod, wait};
use nix::sys::signal::Signal;
use protocol::object::Pod;

use super::Containerd;
use super::cri::{DnsConfig, PortMapping};
use crate::bed::{Stream, labelled, node_with_dns, node_with_outside, until_gone};
use crate::image::web;

#[track_caller]
fn pod_in_shop(node: &TestNode, name: &str) -> Pod {
    let is_it = |pod: &Pod| pod.metadata.name.as_str() == name && pod.metadata.namespace.as_str() == "shop";
    node.pods().into_iter().find(is_it).unwrap_or_else(|| panic!("no pod shop/{name}: {:?}", node.pods()))
}

#[test]
fn a_pod_is_what_kubernetes_calls_it_and_its_containers_share_localhost() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let containerd = Containerd::on(&node);
    let cri = containerd.cri();
    assert_eq!(cri.network_problem(), None);
    let config = containerd.sandbox("web");
    let sandbox = cri.run_sandbox(&config).expect("the pod is made");
    let pod = pod_in_shop(&node, "web");
    let ip = pod.spec.pod_ips[0].to_string();
    assert_eq!(cri.address(&sandbox), ip);
    cri.start_container(&sandbox, &config, "server", &web("by cri"));
    let side = cri.start_container(&sandbox, &config, "side", "exec sleep 600");
    let fetch = "for i in 1 2 3 4 5; do wget -qO- http://localhost/ && exit; sleep 0.2; done; exit 1";
    assert_eq!(cri.exec(&side, fetch), (0, "by cri\n".to_owned()));
    assert_eq!(client.sh(&format!("curl -sS http://{ip}/")).ok(), "by cri\n");
    assert_eq!(node.sh(&format!("curl -sS http://{ip}/")).ok(), "by cri\n");
    assert_eq!(cri.exec(&side, &format!("ping -c 1 -W 2 {}", client.ip)).0, 0);
    assert_eq!(node.pods().len(), 2, "one pod for all of its containers");
}

#[test]
fn a_stopped_pod_gives_its_address_back_and_may_be_stopped_again() {
    let node = TestNode::start();
    let containerd = Containerd::on(&node);
    let cri = containerd.cri();
    let config = containerd.sandbox("web");
    let first = cri.run_sandbox(&config).expect("the pod is made");
    // A pod is made anew under the same name, after what was there is stopped.
    cri.stop_sandbox(&first).expect("it is stopped");
    assert!(node.pods().is_empty(), "{:?}", node.pods());
    cri.stop_sandbox(&first).expect("kubelets do so");
    let mut again = config.clone();
    again.metadata.as_mut().expect("it has a name").attempt = 1;
    let second = cri.run_sandbox(&again).expect("the pod is made again");
    pod_in_shop(&node, "web");
    // The first one's late end is not the second one's.
    cri.remove_sandbox(&first).expect("it is removed");
    pod_in_shop(&node, "web");
    cri.remove_sandbox(&second).expect("it is removed");
    assert!(node.pods().is_empty(), "{:?}", node.pods());
}

#[test]
fn a_host_port_is_the_pods_until_it_is_stopped() {
    let cluster = node_with_outside();
    let node = cluster.node(0);
    let containerd = Containerd::on(node);
    let cri = containerd.cri();
    let mut config = containerd.sandbox("web");
    config.port_mappings = vec![PortMapping { protocol: 0, container_port: 80, host_port: 8080 }];
    let sandbox = cri.run_sandbox(&config).expect("the pod is made");
    cri.start_container(&sandbox, &config, "server", &web("published"));
    let from_outside = || cluster.underlay().sh("curl -sS -m 3 http://192.0.2.1:8080/");
    wait::until("it is reached from outside", || (from_outside().stdout == "published\n").then_some(()));
    assert_eq!(node.sh("curl -sS -m 3 http://127.0.0.1:8080/").ok(), "published\n");
    let mut other = containerd.sandbox("other");
    other.port_mappings = config.port_mappings.clone();
    let refused = cri.run_sandbox(&other).expect_err("the port is taken");
    assert!(refused.message().contains("host port 8080/TCP is that of pod shop/web"), "{refused:?}");
    cri.stop_sandbox(&sandbox).expect("it is stopped");
    assert!(!from_outside().succeeded());
    let sandbox = cri.run_sandbox(&other).expect("the port is free again");
    cri.start_container(&sandbox, &other, "server", &web("other"));
    wait::until("the other one has it", || (from_outside().stdout == "other\n").then_some(()));
}

#[test]
fn a_pod_reaches_a_service_by_the_name_servers_that_its_kubelet_says() {
    let node = node_with_dns();
    let backend = node.create(&labelled("backend"));
    let mut server =
        backend.spawn("cd $(mktemp -d) && echo by service >index.html && exec python3 -um http.server 8080");
    server.wait_for_output("Serving");
    node.vpodctl("create-service clusterip web --tcp 80:8080").ok();
    let containerd = Containerd::on(&node);
    let cri = containerd.cri();
    let mut config = containerd.sandbox("client");
    config.dns_config = Some(DnsConfig {
        servers: vec!["10.96.0.10".to_owned()],
        searches: ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]
            .map(str::to_owned)
            .to_vec(),
        options: vec!["ndots:5".to_owned()],
    });
    let sandbox = cri.run_sandbox(&config).expect("the pod is made");
    let container = cri.start_container(&sandbox, &config, "main", "exec sleep 600");
    wait::until("the service answers by name", || {
        let (_, said) = cri.exec(&container, "wget -qO- http://web.default/");
        (said == "by service\n").then_some(())
    });
    drop(server);
}

#[test]
fn restarts_under_a_running_pod_cost_it_nothing() {
    let mut node = TestNode::start();
    let client = node.create_pod("client");
    let mut containerd = Containerd::on(&node);
    let cri = containerd.cri();
    let config = containerd.sandbox("web");
    let sandbox = cri.run_sandbox(&config).expect("the pod is made");
    let pod = TestPod::of(&pod_in_shop(&node, "web"));
    let path = pod_in_shop(&node, "web").status.netns;
    let stream = Stream::into(&client, &path, pod.ip, 8);
    node.stop_daemon();
    node.start_daemon();
    containerd.restart();
    node.signal(Signal::SIGKILL);
    let _ = node.wait_for_end();
    node.start_daemon();
    stream.complete();
    let cri = containerd.cri();
    assert_eq!(cri.address(&sandbox), pod.ip.to_string());
    assert!(client.pings(pod.ip));
    // Removed while the switch is away.
    node.stop_daemon();
    cri.remove_sandbox(&sandbox).expect("it is removed all the same");
    node.start_daemon();
    until_gone(&node, "web");
    cri.run_sandbox(&containerd.sandbox("web")).expect("the name is free");
}
