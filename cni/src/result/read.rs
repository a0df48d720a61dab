//! `prevResult`, of any version. What differs between versions is what may be there, so one reader takes all.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{AddResult, Dns, Extra, Interface, Ip, MAX_ELEMENTS, Route};
use crate::json::{Node, Problems};
use crate::version::{Version, supported};

const RESULT_KEYS: [&str; 5] = ["cniVersion", "interfaces", "ips", "routes", "dns"];
const INTERFACE_KEYS: [&str; 6] = ["name", "mac", "mtu", "sandbox", "socketPath", "pciID"];
const IP_KEYS: [&str; 4] = ["version", "address", "gateway", "interface"];
const ROUTE_KEYS: [&str; 7] = ["dst", "gw", "mtu", "advmss", "priority", "table", "scope"];
const DNS_KEYS: [&str; 4] = ["nameservers", "domain", "search", "options"];

/// Reads a result. What it says is complete if nothing was added to `problems`.
pub(crate) fn read(node: &Node<'_>, problems: &mut Problems) -> AddResult {
    let Some(map) = node.object(problems) else { return AddResult::default() };
    if let Some(version) = Node::of(map, &node.path, "cniVersion") {
        version.read(problems, |text| {
            Version::parse(text).map(|_| ()).ok_or_else(|| format!("must be one of {}", supported()))
        });
    }
    let list = |key: &str, problems: &mut Problems| {
        Node::of(map, &node.path, key).map(|list| list.list(MAX_ELEMENTS, problems)).unwrap_or_default()
    };
    let interfaces: Vec<_> =
        list("interfaces", problems).iter().filter_map(|node| interface(node, problems)).collect();
    let ips = list("ips", problems).iter().filter_map(|node| ip(node, interfaces.len(), problems)).collect();
    let routes = list("routes", problems).iter().filter_map(|node| route(node, problems)).collect();
    let dns = Node::of(map, &node.path, "dns").map(|node| dns(&node, problems)).unwrap_or_default();
    AddResult { interfaces, ips, routes, dns, extra: extra(map, &RESULT_KEYS) }
}

fn extra(map: &Map<String, Value>, known: &[&str]) -> Extra {
    let unknown = map.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    unknown.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn interface(node: &Node<'_>, problems: &mut Problems) -> Option<Interface> {
    let map = node.object(problems)?;
    let name = text(map, node, "name", problems);
    if name.is_none() {
        problems.required(&format!("{}.name", node.path));
    }
    Some(Interface {
        name: name?,
        mac: text(map, node, "mac", problems),
        mtu: number(map, node, "mtu", problems),
        sandbox: text(map, node, "sandbox", problems),
        socket_path: text(map, node, "socketPath", problems),
        pci_id: text(map, node, "pciID", problems),
        extra: extra(map, &INTERFACE_KEYS),
    })
}

fn ip(node: &Node<'_>, interfaces: usize, problems: &mut Problems) -> Option<Ip> {
    let map = node.object(problems)?;
    let address = network(map, node, "address", problems)?;
    if let Some(version) = Node::of(map, &node.path, "version") {
        let family = family(&address);
        version.read(problems, |text| {
            if text == family { Ok(()) } else { Err(format!("{address} is of family {family}")) }
        });
    }
    let interface = Node::of(map, &node.path, "interface").and_then(|index| {
        // Without interfaces any index is taken, as the specification's own example has one; see `followed_by`.
        let last = if interfaces == 0 { MAX_ELEMENTS } else { interfaces } - 1;
        let number = index.number(0..=u64::try_from(last).unwrap_or(0), problems)?;
        u32::try_from(number).ok()
    });
    let gateway = address_of(map, node, "gateway", problems);
    Some(Ip { address, gateway, interface, extra: extra(map, &IP_KEYS) })
}

/// As `ips[].version` has it.
pub(super) fn family(address: &IpNet) -> &'static str {
    match address {
        IpNet::V4(_) => "4",
        IpNet::V6(_) => "6",
    }
}

fn route(node: &Node<'_>, problems: &mut Problems) -> Option<Route> {
    let map = node.object(problems)?;
    Some(Route {
        dst: network(map, node, "dst", problems)?,
        gw: address_of(map, node, "gw", problems),
        mtu: number(map, node, "mtu", problems),
        advmss: number(map, node, "advmss", problems),
        priority: number(map, node, "priority", problems),
        table: number(map, node, "table", problems),
        scope: number(map, node, "scope", problems),
        extra: extra(map, &ROUTE_KEYS),
    })
}

fn dns(node: &Node<'_>, problems: &mut Problems) -> Dns {
    let Some(map) = node.object(problems) else { return Dns::default() };
    let texts = |key: &str, problems: &mut Problems| {
        Node::of(map, &node.path, key).map(|list| list.texts(MAX_ELEMENTS, problems)).unwrap_or_default()
    };
    Dns {
        nameservers: texts("nameservers", problems),
        domain: text(map, node, "domain", problems),
        search: texts("search", problems),
        options: texts("options", problems),
        extra: extra(map, &DNS_KEYS),
    }
}

fn text(map: &Map<String, Value>, at: &Node<'_>, key: &str, problems: &mut Problems) -> Option<String> {
    let text = Node::of(map, &at.path, key)?.text(problems)?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(map: &Map<String, Value>, at: &Node<'_>, key: &str, problems: &mut Problems) -> Option<u32> {
    Node::of(map, &at.path, key)?.number_u32(problems)
}

fn network(map: &Map<String, Value>, at: &Node<'_>, key: &str, problems: &mut Problems) -> Option<IpNet> {
    let Some(node) = Node::of(map, &at.path, key) else {
        problems.required(&format!("{}.{key}", at.path));
        return None;
    };
    let text = node.text(problems)?;
    text.parse()
        .map_err(|_| problems.invalid(&node, "must be an address with a prefix, as in 192.168.1.3/24"))
        .ok()
}

fn address_of(map: &Map<String, Value>, at: &Node<'_>, key: &str, problems: &mut Problems) -> Option<IpAddr> {
    Node::of(map, &at.path, key)?.read(problems, |text| text.parse().map_err(|_| "must be an address"))
}
