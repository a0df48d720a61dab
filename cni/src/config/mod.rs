//! The network configuration on standard input (SPEC 1.1.0 §1 and §3, "Deriving execution configuration").
//!
//! What the plugin is told by keys of its own, it must be able to do: a value it cannot use is an error, and so is a request
//! for what it does not do. Keys it does not know are another plugin's, or the runtime's, and are passed over.

mod bandwidth;
mod capability;
mod document;
mod ports;
mod range;
mod resolver;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use protocol::name::check_label;
use protocol::{Mac, Namespace};

pub use bandwidth::{Bandwidth, MAX_BURST_BITS, Rate};
pub(crate) use capability::Capabilities;
pub use document::MAX_CONFIG_BYTES;
pub(crate) use document::{Document, Header};
pub use ports::{L4Protocol, MAX_PORT_MAPPINGS, PortMapping};
pub use range::{IpRange, RangeSet};
pub use resolver::Resolver;

use crate::args::{address, station};
use crate::error::cut;
use crate::json::{Node, Problems};
use protocol::attachment::NetworkName;

/// Least `mtu`: what every host takes whole (RFC 791 §3.1), as the daemon's own `pod_mtu`.
pub const MIN_MTU: u16 = 576;
/// Most labels, addresses, ranges, aliases.
const MAX_LIST: usize = 256;
/// The only one: addresses are the switch's to give.
pub const IPAM_TYPE: &str = "vpod-ipam";

/// What this plugin is told by the network's configuration and by the runtime.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct NetworkConfig {
    /// `socket`: where the switch listens; an absolute path. Its default place without.
    pub(crate) socket: Option<PathBuf>,
    /// `mtu`: bytes of an IP packet, from [`MIN_MTU`]; the switch's own choice without, or with 0.
    pub(crate) mtu: Option<u16>,
    /// `namespace`: the Kubernetes namespace of pods whose runtime says none.
    pub(crate) namespace: Option<Namespace>,
    /// `dns`.
    pub(crate) resolver: Resolver,
    /// `args.cni.labels`.
    pub(crate) labels: BTreeMap<String, String>,
    /// `args.cni.ips`.
    pub(crate) ips: Vec<IpAddr>,
    /// `args.cni.mac`.
    pub(crate) mac: Option<Mac>,
    /// `runtimeConfig`.
    pub(crate) capabilities: Capabilities,
}

/// What a plugin is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `vpod-cni`: makes the interface.
    Interface,
    /// `vpod-ipam`: gives addresses to another plugin, whose configuration it is called with
    /// (SPEC 1.1.0 §4). What is not under `ipam` or about addresses is that plugin's.
    Ipam,
}

impl NetworkConfig {
    /// Reads everything that is for this plugin.
    pub(crate) fn read(
        document: &Document,
        role: Role,
        network: &NetworkName,
        problems: &mut Problems,
    ) -> Self {
        let field = |key: &str| Node::of(&document.map, "", key);
        let mut config = Self::default();
        match role {
            Role::Interface => {
                config.socket = field("socket").and_then(|node| node.read(problems, path));
                config.mtu = field("mtu").and_then(|node| mtu(&node, problems));
                config.namespace = field("namespace").and_then(|node| node.read(problems, str::parse));
                if let Some(node) = field("ipam") {
                    others_ipam(&node, problems);
                }
            }
            Role::Ipam => {
                if let Some(node) = field("ipam") {
                    config.read_ipam(&node, problems);
                }
            }
        }
        if let Some(node) = field("dns") {
            config.resolver = resolver::read(&node, resolver::OF_CONFIG, problems);
        }
        if let Some(node) = field("args") {
            config.read_args(&node, role, problems);
        }
        if let Some(node) = field("runtimeConfig") {
            config.capabilities = capability::read(&node, role, network, problems);
        }
        config
    }

    /// Our own `ipam`.
    fn read_ipam(&mut self, node: &Node<'_>, problems: &mut Problems) {
        let Some(map) = node.object(problems) else { return };
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let field = Node { path: format!("{}.{}", node.path, cut(key, MAX_LIST)), value };
            match key.as_str() {
                "type" => {}
                "socket" => self.socket = field.read(problems, path),
                "namespace" => self.namespace = field.read(problems, str::parse),
                _ => problems.unsupported(&field, "vpod-ipam has the settings socket and namespace"),
            }
        }
    }

    /// `args` are for whoever understands them (CONVENTIONS, "args in network config"), so all but ours is passed over. What is
    /// ours must be right: a pod without the label that it was given would be one that no policy selects.
    fn read_args(&mut self, node: &Node<'_>, role: Role, problems: &mut Problems) {
        let Some(cni) = node.value.as_object().and_then(|args| Node::of(args, &node.path, "cni")) else {
            return;
        };
        let Some(map) = cni.object(problems) else { return };
        let field = |key: &str| Node::of(map, &cni.path, key);
        self.ips = field("ips").map(|node| addresses(&node, problems)).unwrap_or_default();
        if role == Role::Ipam {
            return;
        }
        for label in field("labels").map(|node| node.list(MAX_LIST, problems)).unwrap_or_default() {
            self.read_label(&label, problems);
        }
        self.mac = field("mac").and_then(|node| node.read(problems, station));
    }

    fn read_label(&mut self, node: &Node<'_>, problems: &mut Problems) {
        let Some(map) = node.object(problems) else { return };
        let part = |key: &str, problems: &mut Problems| {
            Node::of(map, &node.path, key).map_or(Some(""), |part| part.text(problems))
        };
        let (Some(key), Some(value)) = (part("key", problems), part("value", problems)) else { return };
        if let Err(error) = check_label(key, value) {
            problems.invalid(node, error);
        } else if self.labels.insert(key.to_owned(), value.to_owned()).is_some_and(|before| before != value) {
            problems.invalid(node, "the label has another value before");
        }
    }
}

fn path(text: &str) -> Result<PathBuf, &'static str> {
    // `sun_path` of unix(7) less the closing NUL.
    let fits = text.starts_with('/') && text.len() <= 107 && !text.chars().any(char::is_control);
    if fits { Ok(PathBuf::from(text)) } else { Err("must be an absolute path of at most 107 bytes") }
}

/// 0 is what configurations have that say nothing.
fn mtu(node: &Node<'_>, problems: &mut Problems) -> Option<u16> {
    if node.value.as_u64() == Some(0) {
        return None;
    }
    node.number_u16(MIN_MTU, problems)
}

/// Where we make the interface, addresses are the switch's, whichever `ipam` is written; one that wants others is told so.
fn others_ipam(node: &Node<'_>, problems: &mut Problems) {
    let Some(map) = node.object(problems) else { return };
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let field = Node { path: format!("{}.{}", node.path, cut(key, MAX_LIST)), value };
        match (key.as_str(), value.as_str()) {
            ("type", Some("" | IPAM_TYPE)) => {}
            ("type", _) => problems.unsupported(&field, "addresses are the switch's to give, by vpod-ipam"),
            _ => problems.unsupported(&field, "below vpod-cni, vpod-ipam has no settings"),
        }
    }
}

/// A list of addresses, each perhaps with a prefix.
fn addresses(node: &Node<'_>, problems: &mut Problems) -> Vec<IpAddr> {
    let nodes = node.list(MAX_LIST, problems);
    let read = |node: &Node<'_>| node.read(problems, |text| address(text).ok_or("must be an address"));
    nodes.iter().filter_map(read).collect()
}
