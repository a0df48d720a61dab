//! Among other plugins: what came before is handed on, and what comes behind finds what it needs.

use integration::TestNode;
use serde_json::{Value, json};

use super::{Call, Container, address, del};

#[test]
fn what_came_before_in_a_chain_is_handed_on_whole() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let previous = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net1", "sandbox": container.path(), "vendor": {"x": 1}}],
        "ips": [{"address": "192.0.2.7/24", "interface": 0, "note": "kept"}],
        "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1", "priority": 5}],
        "dns": {"nameservers": ["192.0.2.53"]},
        "somebody": ["else's"],
    });
    let result = Call::new(&node, "ADD", &container).set("prevResult", previous.clone()).ok(&node);
    assert_eq!(result["interfaces"][0], previous["interfaces"][0]);
    assert_eq!(result["ips"][0], previous["ips"][0]);
    assert_eq!(result["routes"][0], previous["routes"][0]);
    assert_eq!(result["somebody"], previous["somebody"]);
    assert_eq!(result["interfaces"][1]["name"], "eth0");
    assert_eq!(result["ips"][1]["interface"], 1, "it is our interface's");
    let check = Call::new(&node, "CHECK", &container).set("prevResult", result);
    assert_eq!(check.ok(&node), Value::Null);
    let same = json!({"interfaces": [{"name": "eth0", "sandbox": container.path()}]});
    del(&node, &container);
    let (code, text) = Call::new(&node, "ADD", &container).set("prevResult", same).fails(&node);
    assert!(code == 100 && text.contains("comes first in a chain"), "{text}");
}

#[test]
fn interface_is_what_tuning_and_portmap_expect() {
    let node = TestNode::start();
    let container = Container::start(&node);
    let result = Call::new(&node, "ADD", &container).ok(&node);
    // As tuning does to the interface, and as portmap finds the address: by the index of an interface with a sandbox.
    container.sh("sysctl -q -w net.ipv4.conf.eth0.arp_filter=1 && ip link set eth0 txqueuelen 500 promisc on allmulticast on").ok();
    let index = result["ips"][0]["interface"].as_u64().unwrap();
    let interface = &result["interfaces"][usize::try_from(index).unwrap()];
    assert_eq!(interface["sandbox"], container.path());
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", address(&result))).succeeded());
    Call::new(&node, "CHECK", &container).set("prevResult", result).ok(&node);
}
