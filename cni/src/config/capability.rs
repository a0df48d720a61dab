//! `runtimeConfig`: what the runtime asks by capabilities that the configuration says we have (CONVENTIONS, "Dynamic plugin
//! specific fields").
//!
//! A runtime passes only what the configuration's `capabilities` name, so a key that we do not know was asked for by whoever
//! wrote them, and is an error: he expects it to be done.

use std::net::IpAddr;

use protocol::{Mac, ObjectName};

use super::{
    Bandwidth, MAX_LIST, PortMapping, RangeSet, Resolver, Role, addresses, bandwidth, ports, range, resolver,
};
use crate::args::station;
use crate::error::cut;
use crate::json::{Node, Problems};
use protocol::attachment::NetworkName;

/// What was asked by capabilities.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Capabilities {
    /// `portMappings`.
    pub(crate) port_mappings: Vec<PortMapping>,
    /// `bandwidth`.
    pub(crate) bandwidth: Bandwidth,
    /// `ips`.
    pub(crate) ips: Vec<IpAddr>,
    /// `ipRanges`.
    pub(crate) ranges: Vec<RangeSet>,
    /// `mac`.
    pub(crate) mac: Option<Mac>,
    /// `dns`; takes the place of the configuration's.
    pub(crate) resolver: Option<Resolver>,
    /// `aliases`: further names, lower-case; those that DNS cannot have are left out.
    pub(crate) aliases: Vec<ObjectName>,
}

pub(super) fn read(
    node: &Node<'_>,
    role: Role,
    network: &NetworkName,
    problems: &mut Problems,
) -> Capabilities {
    let mut asked = Capabilities::default();
    let Some(map) = node.object(problems) else { return asked };
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let field = Node { path: format!("{}.{}", node.path, cut(key, MAX_LIST)), value };
        match key.as_str() {
            "ips" => asked.ips = addresses(&field, problems),
            "ipRanges" => asked.ranges = range::read(&field, problems),
            // The rest is for who makes the interface.
            _ if role == Role::Ipam => {}
            "portMappings" => asked.port_mappings = ports::read(&field, problems),
            "bandwidth" => asked.bandwidth = bandwidth::read(&field, problems),
            "mac" => asked.mac = field.read(problems, station),
            "dns" => asked.resolver = Some(resolver::read(&field, resolver::OF_RUNTIME, problems)),
            "aliases" => asked.aliases = aliases(&field, network, problems),
            // For plugins that limit a container by its cgroup; there is nothing in it that could be left undone.
            "cgroupPath" => {}
            _ => problems.unsupported(&field, "vpod-cni has no such capability"),
        }
    }
    asked
}

/// A list, as the convention has it, or an object of lists by network, as podman writes it. Names that cannot be are passed
/// over: podman makes some of container names, which follow other rules.
fn aliases(node: &Node<'_>, network: &NetworkName, problems: &mut Problems) -> Vec<ObjectName> {
    let of_network = match node.value.as_object() {
        Some(map) => Node::of(map, &node.path, network.as_str()),
        None => Some(node.clone()),
    };
    let mut names = Vec::new();
    for node in of_network.map(|list| list.list(MAX_LIST, problems)).unwrap_or_default() {
        let Some(text) = node.text(problems) else { continue };
        match ObjectName::try_from(text.to_ascii_lowercase()) {
            Ok(name) if names.contains(&name) => {}
            Ok(name) => names.push(name),
            Err(_) => problems.warn(&node, "is no name that DNS can have; left out"),
        }
    }
    names
}
