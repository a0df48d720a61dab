//! The network configuration on standard input (SPEC 1.1.0 §1 and §3, "Deriving execution configuration").
//!
//! What the plugin is told by keys of its own, it must be able to do: a value it cannot use is an error, and so is a request
//! for what it does not do. Keys it does not know are another plugin's, or the runtime's, and are passed over.

mod bandwidth;
mod capability;
mod ports;
mod range;
mod resolver;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use protocol::name::check_label;
use protocol::{Mac, Namespace};
use serde_json::{Map, Value};

pub use bandwidth::{Bandwidth, MAX_BURST_BITS, Rate};
pub(crate) use capability::Capabilities;
pub use ports::{L4Protocol, MAX_PORT_MAPPINGS, PortMapping};
pub use range::{IpRange, RangeSet};
pub use resolver::Resolver;

use crate::args::{address, station};
use crate::error::{Code, Error, cut, quote};
use crate::identity::NetworkName;
use crate::json::{Node, Problems};
use crate::result::{self, AddResult};
use crate::version::{Version, supported};

/// Most bytes of a configuration. GC lists every attachment of the node, about a hundred bytes each.
pub const MAX_CONFIG_BYTES: usize = 4 << 20;
/// Least `mtu`: what every host takes whole (RFC 791 §3.1), as the daemon's own `pod_mtu`.
pub const MIN_MTU: u16 = 576;
/// Most labels, addresses, ranges, aliases.
const MAX_LIST: usize = 256;
/// The only one: addresses are the switch's to give.
pub const IPAM_TYPE: &str = "vpod-ipam";

/// What is the same for all verbs, and identifies the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// `cniVersion`.
    pub(crate) version: Version,
    /// `name`.
    pub(crate) name: NetworkName,
}

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

/// The object on standard input, and the version that it says, if only for an error.
pub(crate) struct Document {
    pub(crate) map: Map<String, Value>,
}

impl Document {
    /// Decodes what was read.
    ///
    /// # Errors
    /// Code 6: not a JSON object. Code 7: too long.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_CONFIG_BYTES {
            let message = format!("the network configuration is longer than {MAX_CONFIG_BYTES} bytes");
            return Err(Error::new(Code::InvalidConfiguration, message));
        }
        let undecodable =
            |why: String| Error::new(Code::Decode, format!("cannot decode the network configuration: {why}"));
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(undecodable("standard input is empty".to_owned()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self { map }),
            Ok(other) => Err(undecodable(format!("it is no object but {}", cut(&other.to_string(), 96)))),
            Err(error) => Err(undecodable(error.to_string())),
        }
    }

    /// `cniVersion` as it is, if it looks like a version: what an error is said in.
    pub(crate) fn declared(&self) -> Option<&str> {
        let text = self.map.get("cniVersion")?.as_str()?;
        let looks =
            text.len() <= 32 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        looks.then_some(text)
    }

    /// Checks what every verb needs.
    ///
    /// # Errors
    /// Code 1: a version that we do not speak. Code 6: not a version. Code 7: the name is missing or cannot be one.
    pub(crate) fn header(&self) -> Result<Header, Error> {
        Ok(Header { name: self.name()?, version: self.version()? })
    }

    fn name(&self) -> Result<NetworkName, Error> {
        let name = match self.map.get("name") {
            None | Some(Value::Null) => Err("is missing".to_owned()),
            Some(Value::String(text)) if text.is_empty() => Err("is missing".to_owned()),
            Some(Value::String(text)) => NetworkName::new(text).map_err(|error| error.to_string()),
            Some(other) => Err(format!("{} is no text", cut(&other.to_string(), 96))),
        };
        name.map_err(|why| Error::new(Code::InvalidConfiguration, format!("the network's name {why}")))
    }

    fn version(&self) -> Result<Version, Error> {
        let text = match self.map.get("cniVersion") {
            // The key is newer than 0.1.0 (SPEC 0.2.0), so who does not have it is meant to speak that.
            None | Some(Value::Null) => "0.1.0",
            Some(Value::String(text)) if text.is_empty() => "0.1.0",
            Some(Value::String(text)) if self.declared().is_some() => text,
            Some(other) => {
                let message =
                    format!("cannot decode cniVersion: {} is no version", cut(&other.to_string(), 96));
                return Err(Error::new(Code::Decode, message));
            }
        };
        Version::parse(text).ok_or_else(|| {
            let message = format!("incompatible CNI version: the configuration is of {}", quote(text));
            Error::new(Code::IncompatibleVersion, message)
                .with_details(format!("supported are {}", supported()))
        })
    }

    /// Reads everything that is for this plugin.
    pub(crate) fn config(&self, network: &NetworkName, problems: &mut Problems) -> NetworkConfig {
        let field = |key: &str| Node::of(&self.map, "", key);
        let mut config = NetworkConfig {
            socket: field("socket").and_then(|node| node.read(problems, path)),
            mtu: field("mtu").and_then(|node| mtu(&node, problems)),
            namespace: field("namespace").and_then(|node| node.read(problems, str::parse)),
            resolver: field("dns")
                .map(|node| resolver::read(&node, resolver::OF_CONFIG, problems))
                .unwrap_or_default(),
            ..NetworkConfig::default()
        };
        if let Some(node) = field("ipam") {
            ipam(&node, problems);
        }
        if let Some(node) = field("args") {
            config.read_args(&node, problems);
        }
        if let Some(node) = field("runtimeConfig") {
            config.capabilities = capability::read(&node, network, problems);
        }
        config
    }

    /// `prevResult`.
    pub(crate) fn previous(&self, problems: &mut Problems) -> Option<AddResult> {
        Node::of(&self.map, "", "prevResult").map(|node| result::read(&node, problems))
    }
}

impl NetworkConfig {
    /// `args` are for whoever understands them (CONVENTIONS, "args in network config"), so all but ours is passed over. What is
    /// ours must be right: a pod without the label that it was given would be one that no policy selects.
    fn read_args(&mut self, node: &Node<'_>, problems: &mut Problems) {
        let Some(cni) = node.value.as_object().and_then(|args| Node::of(args, &node.path, "cni")) else {
            return;
        };
        let Some(map) = cni.object(problems) else { return };
        let field = |key: &str| Node::of(map, &cni.path, key);
        for label in field("labels").map(|node| node.list(MAX_LIST, problems)).unwrap_or_default() {
            self.read_label(&label, problems);
        }
        self.ips = field("ips").map(|node| addresses(&node, problems)).unwrap_or_default();
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

/// Addresses are the switch's, whichever `ipam` is written; one that wants others is told so.
fn ipam(node: &Node<'_>, problems: &mut Problems) {
    let Some(map) = node.object(problems) else { return };
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        let field = Node { path: format!("{}.{}", node.path, cut(key, MAX_LIST)), value };
        match (key.as_str(), value.as_str()) {
            ("type", Some("" | IPAM_TYPE)) => {}
            ("type", _) => problems.unsupported(&field, "addresses are the switch's to give, by vpod-ipam"),
            _ => problems.unsupported(&field, "vpod-ipam has no settings of its own"),
        }
    }
}

/// A list of addresses, each perhaps with a prefix.
fn addresses(node: &Node<'_>, problems: &mut Problems) -> Vec<IpAddr> {
    let nodes = node.list(MAX_LIST, problems);
    let read = |node: &Node<'_>| node.read(problems, |text| address(text).ok_or("must be an address"));
    nodes.iter().filter_map(read).collect()
}
