//! `portMappings`: ports of the node that lead to ports of the pod (CONVENTIONS, "port mappings").

use std::fmt;
use std::net::IpAddr;

use crate::json::{Node, Problems};

/// Most mappings of one pod: more than any range of ports that people publish.
pub const MAX_PORT_MAPPINGS: usize = 4096;

/// What ports are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum L4Protocol {
    /// The default, as Kubernetes has it.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for L4Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One port of the node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortMapping {
    /// What it is of.
    pub protocol: L4Protocol,
    /// The node's port; not 0.
    pub host_port: u16,
    /// The node's address that it is of; 0.0.0.0 and `::` for all of their family, `None` for all.
    pub host_ip: Option<IpAddr>,
    /// The pod's port; not 0.
    pub container_port: u16,
}

impl PortMapping {
    /// Some packet is for both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_address = match (self.host_ip, other.host_ip) {
            (Some(mine), Some(theirs)) => {
                let one_is_any = mine.is_unspecified() || theirs.is_unspecified();
                mine == theirs || one_is_any && mine.is_ipv4() == theirs.is_ipv4()
            }
            (None, _) | (_, None) => true,
        };
        self.is_of_same_port(other) && same_address
    }

    fn is_of_same_port(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.host_port == other.host_port
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.host_ip.map_or_else(|| "*".to_owned(), |ip| ip.to_string());
        write!(f, "{address} {}/{} -> {}", self.host_port, self.protocol, self.container_port)
    }
}

/// Reads the list. The same mapping twice is one; two that contradict each other are an error.
pub(super) fn read(node: &Node<'_>, problems: &mut Problems) -> Vec<PortMapping> {
    let mut mappings: Vec<(PortMapping, Node<'_>)> = node
        .list(MAX_PORT_MAPPINGS, problems)
        .into_iter()
        .filter_map(|node| mapping(&node, problems).map(|mapping| (mapping, node)))
        .collect();
    mappings.sort_by(|(a, _), (b, _)| a.cmp(b));
    mappings.dedup_by(|(a, _), (b, _)| a == b);
    let mut kept: Vec<PortMapping> = Vec::with_capacity(mappings.len());
    for (mapping, node) in mappings {
        // Sorted, those of one port are the last ones.
        let of_one_port = kept.iter().rev().take_while(|other| other.is_of_same_port(&mapping));
        if let Some(other) = of_one_port.into_iter().find(|other| other.overlaps(&mapping)) {
            problems.invalid(&node, format!("{mapping} contradicts {other}"));
        }
        kept.push(mapping);
    }
    kept
}

fn mapping(node: &Node<'_>, problems: &mut Problems) -> Option<PortMapping> {
    let map = node.object(problems)?;
    let port = |key: &str, problems: &mut Problems| match Node::of(map, &node.path, key) {
        Some(field) => field.number_u16(1, problems),
        None => {
            problems.required(&format!("{}.{key}", node.path));
            None
        }
    };
    let (host_port, container_port) = (port("hostPort", problems), port("containerPort", problems));
    let protocol = Node::of(map, &node.path, "protocol").and_then(|field| field.read(problems, protocol));
    let host_ip = Node::of(map, &node.path, "hostIP")
        .and_then(|field| field.read(problems, |text| text.parse().map_err(|_| "must be an address")));
    Some(PortMapping {
        protocol: protocol.unwrap_or_default(),
        host_port: host_port?,
        host_ip,
        container_port: container_port?,
    })
}

fn protocol(text: &str) -> Result<L4Protocol, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(L4Protocol::Tcp),
        "udp" => Ok(L4Protocol::Udp),
        "sctp" => Ok(L4Protocol::Sctp),
        _ => Err("must be tcp, udp or sctp"),
    }
}
