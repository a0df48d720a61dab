//! `vpod-ipam`: addresses for interfaces that another plugin makes, called as that plugin calls it.

use integration::{TestNode, wait};
use serde_json::{Value, json};

use super::{Call, Container, add, address, pods};

/// As a plugin delegates: its own configuration, in which `ipam` says where the daemon is.
fn call(node: &TestNode, verb: &str, container: &Container) -> Call {
    let mut call = Call::new(node, verb, container);
    call.program = "vpod-ipam";
    call.config = json!({
        "cniVersion": "1.1.0",
        "name": "bridged",
        "type": "bridge",
        "bridge": "br0",
        "isGateway": true,
        "ipam": {"type": "vpod-ipam", "socket": node.socket()},
    });
    call
}

#[test]
fn delegated_plugin_gets_addresses_and_gives_them_back() {
    let mut node = TestNode::start();
    let [first, second] = [(); 2].map(|()| Container::start(&node));
    let result = call(&node, "ADD", &first).ok(&node);
    assert!(result["interfaces"].is_null(), "the interface is the caller's: {result}");
    assert!(result["ips"][0]["interface"].is_null(), "{result}");
    assert_eq!(result["ips"][0]["gateway"], "10.244.0.1");
    let ip = address(&result);
    assert_eq!(call(&node, "ADD", &first).fails(&node).0, 100);
    assert_eq!(pods(&node).len(), 0, "an address is no pod");
    call(&node, "CHECK", &first).set("prevResult", result).ok(&node);
    node.stop_daemon();
    node.start_daemon();
    let asked = Call::new(&node, "ADD", &second).set("runtimeConfig", json!({"ips": [ip]}));
    let (code, text) = asked.fails(&node);
    assert!(code == 101 && text.contains("in use by eth0 of container"), "it is kept: {text}");
    assert_ne!(address(&add(&node, &second)), ip);
    assert_eq!(call(&node, "DEL", &first).ok(&node), Value::Null);
    call(&node, "DEL", &first).run(&node).ok();
    let (code, text) = asked.fails(&node);
    assert!(code == 100, "{text}");
}

#[test]
fn addresses_go_with_gc_and_with_their_namespace() {
    let node = TestNode::start();
    let [stale, vanishes, valid] = [(); 3].map(|()| Container::start(&node));
    let given =
        [&stale, &vanishes, &valid].map(|container| address(&call(&node, "ADD", container).ok(&node)));
    let list =
        json!([{"containerID": vanishes.id, "ifname": "eth0"}, {"containerID": valid.id, "ifname": "eth0"}]);
    call(&node, "GC", &stale).set("cni.dev/valid-attachments", list).ok(&node);
    let check = |container: &Container, ip| {
        let previous = json!({"ips": [{"address": format!("{ip}/24")}]});
        call(&node, "CHECK", container).set("prevResult", previous).run(&node).succeeded()
    };
    assert!(!check(&stale, given[0]) && check(&vanishes, given[1]) && check(&valid, given[2]));
    vanishes.vanish();
    wait::until("the address is released", || (!check(&vanishes, given[1])).then_some(()));
    assert!(check(&valid, given[2]));
}

#[test]
fn real_bridge_plugin_uses_it() {
    let Some(bridge) =
        ["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"].into_iter().find(|p| std::path::Path::new(p).exists())
    else {
        panic!("the bridge plugin is missing: make setup installs containernetworking-plugins");
    };
    let node = TestNode::start();
    let container = Container::start(&node);
    let programs = integration::binary("vpod-ipam");
    let programs = programs.parent().unwrap().to_str().unwrap();
    let mut call =
        call(&node, "ADD", &container).with("CNI_PATH", programs).set("cniVersion", json!("1.0.0"));
    call.config["isGateway"] = json!(false);
    let with = |verb: &str| {
        let mut program = node.command(bridge);
        let call = call.clone().with("CNI_COMMAND", verb);
        program.envs(call.variables.iter().map(|(name, value)| (name, value)));
        let mut running = integration::Background::start(program);
        std::io::Write::write_all(&mut running.stdin(), call.config.to_string().as_bytes()).unwrap();
        running.wait().ok()
    };
    let result: Value = serde_json::from_str(&with("ADD")).unwrap();
    let shown = container.sh("ip -o address show dev eth0").ok();
    assert!(shown.contains(&address(&result).to_string()), "{shown}");
    with("DEL");
    node.sh("ip link delete br0").ok();
    let asked = Call::new(&node, "ADD", &container).set("runtimeConfig", json!({"ips": [address(&result)]}));
    let (code, text) = asked.fails(&node);
    assert!(code == 101 && text.contains("was released a moment ago"), "{text}");
}
