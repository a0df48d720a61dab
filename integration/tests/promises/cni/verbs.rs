//! Each verb of the specification, in each of its versions, between a runtime's containers and real pods.

use integration::{NodeOptions, TestNode, wait};
use protocol::message::Kind;
use serde_json::{Value, json};

use super::{Call, Container, add, address, del, pods};

const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

#[test]
fn added_container_is_a_pod_among_pods() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let other = node.create_pod("other");
    let result = add(&node, &container);
    let ip = address(&result);
    let interface = &result["interfaces"][0];
    assert_eq!(interface["name"], "eth0");
    assert_eq!(interface["sandbox"], container.path());
    assert_eq!(result["ips"][0]["gateway"], "10.244.0.1");
    assert_eq!(result["routes"][0], json!({"dst": "0.0.0.0/0", "gw": "10.244.0.1"}));
    assert_eq!(result["dns"]["search"][0], "default.svc.cluster.local");
    assert!(container.pings(other.ip) && other.pings(ip), "both ways");
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {ip}")).succeeded(), "from the node");
    let shown =
        container.sh("ip -o link show eth0; ip -o address show dev eth0; ip route; ip -o link show lo").ok();
    for part in
        [interface["mac"].as_str().unwrap(), &format!("{ip}/24"), "default via 10.244.0.1", "LOOPBACK,UP"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let list = node.vpodctl("get pods -o wide").ok();
    assert!(list.contains(&format!("cni-{}", container.id)) && list.contains(&ip.to_string()), "{list}");
    del(&node, &container);
    assert_eq!(pods(&node).len(), 1);
    assert!(!container.sh("ip link show eth0").succeeded(), "the interface is gone");
    assert!(container.sh("true").succeeded(), "the namespace is the runtime's, and stays");
}

#[test]
fn every_version_is_spoken_as_it_was_written() {
    let node = TestNode::start();
    for version in VERSIONS {
        let container = Container::start(&node);
        let call = |verb| Call::new(&node, verb, &container).set("cniVersion", json!(version));
        let result = call("ADD").ok(&node);
        assert_eq!(result["cniVersion"], version);
        let says_family = result["ips"][0]["version"] == "4";
        assert_eq!(says_family, version < "1.0.0", "{version}: {result}");
        assert_eq!(result["interfaces"][0]["mtu"].is_number(), version == "1.1.0", "{version}: {result}");
        let check = call("CHECK").set("prevResult", result.clone());
        if version == "0.3.1" {
            assert_eq!(check.fails(&node).0, 1);
        } else {
            assert_eq!(check.ok(&node), Value::Null);
        }
        for verb in ["GC", "STATUS"] {
            let asked = call(verb)
                .set("cni.dev/valid-attachments", json!([{"containerID": container.id, "ifname": "eth0"}]));
            if version == "1.1.0" {
                assert_eq!(asked.ok(&node), Value::Null);
            } else {
                assert_eq!(asked.fails(&node).0, 1, "{verb} came with 1.1.0");
            }
        }
        call("DEL").set("prevResult", result).run(&node).ok();
    }
    assert_eq!(pods(&node).len(), 0);
}

#[test]
fn version_needs_nothing_and_lists_what_is_spoken() {
    let node = TestNode::start();
    let container = Container::start(&node);
    for program in ["vpod-cni", "vpod-ipam"] {
        let mut call = Call::new(&node, "VERSION", &container);
        call.program = program;
        call.variables.retain(|(name, _)| *name == "CNI_COMMAND");
        let answer = call.ok(&node);
        assert_eq!(answer["supportedVersions"], json!(VERSIONS));
        let about = call.without("CNI_COMMAND").run(&node);
        assert!(about.succeeded() && about.stdout.is_empty(), "{about}");
        assert!(about.stderr.contains(program) && about.stderr.contains("1.1.0"), "{about}");
    }
}

#[test]
fn the_same_container_twice_is_refused_and_the_first_stays() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let ip = address(&add(&node, &container));
    let (code, text) = Call::new(&node, "ADD", &container).fails(&node);
    assert!(code == 100 && text.contains("eth0 of container") && text.contains("attached already"), "{text}");
    let (code, text) = Call::new(&node, "ADD", &container).with("CNI_IFNAME", "eth1").fails(&node);
    assert!(code == 100 && text.contains("vpod gives a pod one"), "{text}");
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {ip}")).succeeded(), "the first still talks");
    del(&node, &container);
    del(&node, &container);
    let again = add(&node, &container);
    assert_ne!(address(&again), ip, "the address rests");
}

#[test]
fn existing_interface_is_left_alone() {
    let node = TestNode::start();
    let container = Container::start(&node);
    container.sh("ip link add eth0 type veth peer name eth9").ok();
    let (code, text) = Call::new(&node, "ADD", &container).fails(&node);
    assert!(code == 100 && text.contains("there is an interface eth0"), "{text}");
    container.sh("ip link delete eth0").ok();
    container.sh("ip tuntap add eth0 mode tap").ok();
    assert_eq!(Call::new(&node, "ADD", &container).fails(&node).0, 100);
    del(&node, &container);
    container.sh("ip link show eth0").ok();
    assert_eq!(pods(&node).len(), 0);
}

#[test]
fn check_finds_what_was_changed_behind_its_back() {
    let node = NodeOptions::default().allow_log("device eth0 is gone").start();
    let container = Container::start(&node);
    let result = add(&node, &container);
    let ip = address(&result);
    let check = Call::new(&node, "CHECK", &container).set("prevResult", result);
    check.ok(&node);
    for (change, undo, part) in [
        (
            "ip link set eth0 down",
            "ip link set eth0 up; ip route add default via 10.244.0.1".to_owned(),
            "eth0 is down",
        ),
        (
            &format!("ip address del {ip}/24 dev eth0") as &str,
            format!("ip address add {ip}/24 dev eth0; ip route add default via 10.244.0.1"),
            "has no address",
        ),
        ("ip route del default", "ip route add default via 10.244.0.1".to_owned(), "no route to 0.0.0.0/0"),
    ] {
        container.sh(change).ok();
        let (code, text) = check.fails(&node);
        assert!(code == 102 && text.contains(part), "{change}: {text}");
        container.sh(&undo).ok();
        check.ok(&node);
    }
    container.sh("ip link delete eth0").ok();
    let (code, text) = check.fails(&node);
    assert!(code == 102 && text.contains("there is no interface eth0"), "{text}");
    del(&node, &container);
    let (code, text) = check.fails(&node);
    assert!(code == 102 && text.contains("the switch holds no eth0"), "{text}");
}

#[test]
fn gc_releases_what_is_not_valid_and_nothing_of_other_networks() {
    let node = TestNode::start();
    let [kept, stale, elsewhere] = [(); 3].map(|()| Container::start(&node));
    add(&node, &kept);
    add(&node, &stale);
    Call::new(&node, "ADD", &elsewhere).set("name", json!("others")).ok(&node);
    let valid =
        json!([{"containerID": kept.id, "ifname": "eth0"}, {"containerID": "../..", "ifname": "x/y"}]);
    let gc = Call::new(&node, "GC", &kept);
    let (code, _) = gc.fails(&node);
    assert_eq!((code, pods(&node).len()), (7, 3), "without a list nothing is released");
    gc.set("cni.dev/valid-attachments", valid).ok(&node);
    let left: Vec<String> = pods(&node).into_iter().map(|pod| pod.name).collect();
    assert_eq!(left, [format!("cni-{}", kept.id), format!("cni-{}", elsewhere.id)]);
}

#[test]
fn status_tells_whether_add_would_be_served() {
    let mut node = NodeOptions::default().pod_cidr("10.244.0.0/29").start();
    let container = Container::start(&node);
    let status = Call::new(&node, "STATUS", &container);
    status.ok(&node);
    let containers: Vec<Container> = (0..5).map(|_| Container::start(&node)).collect();
    containers.iter().for_each(|container| drop(add(&node, container)));
    let (code, text) = status.fails(&node);
    assert!(code == 50 && text.contains("no address of 10.244.0.0/29 is free: 5 are held"), "{text}");
    let (code, text) = Call::new(&node, "ADD", &container).fails(&node);
    assert!(code == 101 && text.contains("5 in use") && text.contains("larger pod_cidr"), "{text}");
    node.stop_daemon();
    let (code, text) = status.fails(&node);
    assert!(code == 50 && text.contains("is the daemon running?"), "{text}");
    node.start_daemon();
}

#[test]
fn requested_address_mac_mtu_names_and_labels_are_given() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let call = Call::new(&node, "ADD", &container)
        .with("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=b0e0")
        .set("mtu", json!(1400))
        .set("args", json!({"cni": {"labels": [{"key": "app", "value": "web"}]}}))
        .set(
            "runtimeConfig",
            json!({
                "ips": ["10.244.0.77"],
                "mac": "0a:58:0a:f4:00:99",
                "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000},
                "aliases": ["front"],
                "dns": {"servers": ["192.0.2.53"], "searches": ["corp.example"], "options": ["ndots:2"]},
            }),
        );
    let result = call.ok(&node);
    assert_eq!(address(&result).to_string(), "10.244.0.77");
    assert_eq!(result["interfaces"][0]["mac"], "0a:58:0a:f4:00:99");
    assert_eq!(result["interfaces"][0]["mtu"], 1400);
    assert_eq!(
        result["dns"],
        json!({"nameservers": ["192.0.2.53"], "search": ["corp.example"], "options": ["ndots:2"]})
    );
    let shown = container.sh("ip -o link show eth0").ok();
    assert!(shown.contains("mtu 1400") && shown.contains("0a:58:0a:f4:00:99"), "{shown}");
    let pod = node.vpodctl("get pods -n shop -l app=web").ok();
    assert!(pod.contains("web-0"), "{pod}");
    let text = node.vpodctl("describe pod web-0 -n shop").ok();
    assert!(text.contains("Bandwidth:") && text.contains("ingress 8"), "{text}");
    let refused = node.vpodctl("delete-pod web-0 -n shop").fails(1);
    assert!(refused.contains("remove the container with the program that runs it"), "{refused}");
    assert_eq!(node.vpodctl("exec web-0 -n shop -- cat /sys/class/net/eth0/mtu").ok().trim(), "1400");
}

#[test]
fn address_comes_from_the_ranges_that_are_asked_for() {
    let node = TestNode::start();
    let range =
        |start: &str, end: &str| json!([[{"subnet": "10.244.0.0/24", "rangeStart": start, "rangeEnd": end}]]);
    let asked = |container: &Container, ranges| {
        Call::new(&node, "ADD", container).set("runtimeConfig", json!({"ipRanges": ranges}))
    };
    let [a, b, c] = [(); 3].map(|()| Container::start(&node));
    let few = range("10.244.0.100", "10.244.0.101");
    assert_eq!(address(&asked(&a, few.clone()).ok(&node)).to_string(), "10.244.0.100");
    assert_eq!(address(&asked(&b, few.clone()).ok(&node)).to_string(), "10.244.0.101");
    let (code, text) = asked(&c, few).fails(&node);
    assert!(code == 101 && text.contains("the ranges that were asked for are full"), "{text}");
    let (code, text) = asked(&c, json!([[{"subnet": "10.9.0.0/24"}]])).fails(&node);
    assert!(
        code == 7 && text.contains("10.9.0.0/24 is not in 10.244.0.0/24, the range of this node"),
        "{text}"
    );
    let two = json!([[{"subnet": "10.244.0.0/25"}], [{"subnet": "fd00::/64"}]]);
    let (code, text) = asked(&c, two).fails(&node);
    assert!(code == 7 && text.contains("ipRanges has 2 sets"), "{text}");
    assert_eq!(pods(&node).len(), 2);
}

#[test]
fn labels_make_it_a_member_of_a_service() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let client = node.create_pod("client");
    let labels = json!({"cni": {"labels": [{"key": "app", "value": "web"}]}});
    let result = Call::new(&node, "ADD", &container).set("args", labels).ok(&node);
    let manifest = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.80, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}\n";
    let path = node.dir().join("service.yaml");
    std::fs::write(&path, manifest).unwrap();
    node.vpodctl(&format!("apply -f {}", path.display())).ok();
    let _server = container.spawn("busybox httpd -f -p 8080 -h /proc/self");
    let fetched = wait::until("the service answers", || {
        let ran = client.sh("curl -s -m 2 -o /dev/null -w '%{http_code}' http://10.96.0.80/comm");
        ran.succeeded().then_some(ran.stdout)
    });
    assert_eq!(fetched, "200");
    let slices = node.list(Kind::EndpointSlices);
    assert!(format!("{slices:?}").contains(&address(&result).to_string()));
    del(&node, &container);
    wait::until("the endpoint is gone", || {
        (!format!("{:?}", node.list(Kind::EndpointSlices)).contains(&address(&result).to_string()))
            .then_some(())
    });
}

#[test]
fn mapped_ports_of_the_node_lead_to_it() {
    let cluster = crate::services::outside::cluster();
    let node = cluster.node(0);
    let [container, second] = [(); 2].map(|()| Container::start(node));
    let client = node.create_pod("client");
    let ports = json!({"portMappings": [{"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}]});
    Call::new(node, "ADD", &container).set("runtimeConfig", ports.clone()).ok(node);
    let _server = container.spawn("busybox httpd -f -p 80 -h /proc/self");
    let url = format!("http://{}:8088/comm", crate::nodes::address(node));
    wait::until("the node's port answers", || {
        client.sh(&format!("curl -s -f -m 2 -o /dev/null {url}")).succeeded().then_some(())
    });
    let (code, text) = Call::new(node, "ADD", &second).set("runtimeConfig", ports).fails(node);
    assert!(code == 104 && text.contains("host port 8088/TCP is that of pod"), "{text}");
}

#[test]
fn sixty_four_at_once_get_what_they_ask_and_give_it_back() {
    let node = TestNode::start();
    let containers: Vec<Container> = (0..64).map(|_| Container::start(&node)).collect();
    let all = |verb: &str| {
        let running: Vec<_> =
            containers.iter().map(|container| Call::new(&node, verb, container).spawn(&node)).collect();
        running.into_iter().map(|call| call.wait().ok()).collect::<Vec<_>>()
    };
    let mut addresses: Vec<_> =
        all("ADD").iter().map(|text| address(&serde_json::from_str(text).unwrap())).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 64, "each has its own");
    assert!(containers.iter().all(|container| container.pings("10.244.0.1".parse().unwrap())));
    all("DEL");
    assert_eq!(pods(&node).len(), 0);
    assert!(containers.iter().all(|container| !container.sh("ip link show eth0").succeeded()));
}
