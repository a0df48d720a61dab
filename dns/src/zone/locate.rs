//! From a question's name to what it names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use protocol::link::Transport;

use super::names::Pointer;
use super::service::{Host, Hosts, Service, Target};
use super::{DNS_SERVICE, Names, PodRecords, Zone, reverse};
use crate::wire::name::{Name, QueryName};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'n> {
    /// The zone's own name.
    Apex,
    /// `dns-version.<zone>`.
    Version,
    /// `ns.dns.<zone>`: the addresses of the DNS service, if there is one.
    Server(Option<&'n Hosts>),
    /// A name that has names below it, or none of a service's own, but no records.
    Empty,
    /// A service by its name.
    Service(&'n Service, &'n Hosts),
    /// An endpoint of a headless service.
    Endpoint(&'n Host),
    /// `_<port>._<protocol>.<service>`: the ports at these places of [`Hosts::ports`] exist.
    Port(&'n Service, &'n Hosts, PortFilter),
    /// Another name.
    Alias(&'n Name),
    /// A pod's name by its address.
    Pod(IpAddr),
    /// An address's name.
    Pointers(&'n [Pointer]),
    /// There is no such name.
    Missing,
}

/// Which of a service's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortFilter {
    /// The question's label of the port begins here, behind its length and underscore.
    at: usize,
    len: usize,
    transport: Transport,
}

impl PortFilter {
    /// Whether a port is the one that `name` asks for.
    #[must_use]
    pub fn matches(&self, name: &QueryName, port: &[u8], transport: Transport) -> bool {
        transport == self.transport && name.as_wire().get(self.at..self.at + self.len) == Some(port)
    }
}

/// Where something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located<'n> {
    /// What.
    pub node: Node<'n>,
    /// How many of the question's labels are before the zone's name.
    pub apex: usize,
}

/// Finds what `name` stands for; `None` if it is not for this server to say.
#[must_use]
pub fn locate<'n>(zone: &Zone, names: &'n Names, name: &QueryName) -> Option<Located<'n>> {
    if let Some(apex) = name.labels_before(&zone.suffix) {
        return Some(Located { node: below(zone, names, name, apex), apex });
    }
    let reversed = reverse::read(name)?;
    let apex = reverse::apex(name, &zone.reverse);
    let pointers = match reversed {
        reverse::Reversed::Address(address) => names.pointers(address),
        reverse::Reversed::Beginning | reverse::Reversed::Nothing => &[],
    };
    let node = match (reversed, pointers, apex) {
        (_, [_, ..], _) => Node::Pointers(pointers),
        (_, [], None) => return None,
        (_, [], Some(0)) => Node::Apex,
        (reverse::Reversed::Beginning, [], _) => Node::Empty,
        (_, [], _) => Node::Missing,
    };
    // An endpoint may have an address from elsewhere: its reverse zone is nobody's, its name is there nevertheless.
    Some(Located { node, apex: apex.unwrap_or(0) })
}

/// What the first `labels` labels of `name` stand for in the zone.
fn below<'n>(zone: &Zone, names: &'n Names, name: &QueryName, labels: usize) -> Node<'n> {
    let Some(last) = labels.checked_sub(1) else { return Node::Apex };
    match (name.label(last), labels) {
        (b"dns-version", 1) => Node::Version,
        (b"svc" | b"pod" | b"dns", 1) => Node::Empty,
        (b"dns", 2) if name.label(0) == b"ns" => {
            Node::Server(names.service(DNS_SERVICE).and_then(Service::hosts))
        }
        (b"svc", _) => in_services(names, name, last),
        (b"pod", _) => in_pods(zone, names, name, last),
        _ => Node::Missing,
    }
}

/// What `labels` labels stand for below `svc.<zone>`; at least one.
fn in_services<'n>(names: &'n Names, name: &QueryName, labels: usize) -> Node<'n> {
    let namespace = || if names.has_namespace(name.labels_wire(0, 1)) { Node::Empty } else { Node::Missing };
    let Some(at) = labels.checked_sub(2) else { return namespace() };
    let Some(service) = names.service(name.labels_wire(at, labels)) else { return Node::Missing };
    let hosts = match &service.target {
        // What is below an alias is not the alias.
        Target::External(Some(target)) if at == 0 => return Node::Alias(target),
        Target::External(_) => return Node::Missing,
        Target::Hosts(hosts) => hosts,
    };
    if hosts.headless && hosts.hosts.is_empty() {
        return Node::Missing;
    }
    match at {
        0 => Node::Service(service, hosts),
        1 => below_service(hosts, name),
        2 => port(service, hosts, name),
        _ => Node::Missing,
    }
}

fn below_service<'n>(hosts: &'n Hosts, name: &QueryName) -> Node<'n> {
    if let Some(transport) = name.label(0).strip_prefix(b"_").and_then(transport) {
        let has_names = hosts.ports.iter().any(|port| port.transport == transport && !port.name.is_empty());
        return if has_names { Node::Empty } else { Node::Missing };
    }
    let host = if hosts.headless { hosts.host(name.labels_wire(0, 1)) } else { None };
    host.map_or(Node::Missing, Node::Endpoint)
}

fn port<'n>(service: &'n Service, hosts: &'n Hosts, name: &QueryName) -> Node<'n> {
    let transport = name.label(1).strip_prefix(b"_").and_then(transport);
    let port = name.label(0).strip_prefix(b"_").filter(|port| !port.is_empty());
    let (Some(transport), Some(port)) = (transport, port) else { return Node::Missing };
    let filter = PortFilter { at: 2, len: port.len(), transport };
    if hosts.ports.iter().any(|port| filter.matches(name, &port.name, port.transport)) {
        Node::Port(service, hosts, filter)
    } else {
        Node::Missing
    }
}

fn transport(label: &[u8]) -> Option<Transport> {
    match label {
        b"tcp" => Some(Transport::Tcp),
        b"udp" => Some(Transport::Udp),
        b"sctp" => Some(Transport::Sctp),
        _ => None,
    }
}

/// What `labels` labels stand for below `pod.<zone>`; at least one.
fn in_pods<'n>(zone: &Zone, names: &Names, name: &QueryName, labels: usize) -> Node<'n> {
    let namespace = name.labels_wire(labels - 1, labels);
    if zone.pod_records == PodRecords::Disabled || !names.has_namespace(namespace) {
        return Node::Missing;
    }
    let address = match labels {
        1 => return Node::Empty,
        2 => pod_address(name.label(0)),
        _ => None,
    };
    match (address, zone.pod_records) {
        (Some(address), PodRecords::Insecure) => Node::Pod(address),
        (Some(address), PodRecords::Verified) if names.has_pod(namespace, address) => Node::Pod(address),
        _ => Node::Missing,
    }
}

/// `10-244-1-2` or `fd00--1`.
fn pod_address(label: &[u8]) -> Option<IpAddr> {
    // The longest address has 39 characters.
    let mut buffer = [0_u8; 39];
    let text = buffer.get_mut(..label.len())?;
    let is_v4 =
        label.iter().filter(|byte| **byte == b'-').count() == 3 && !label.windows(2).any(|two| two == b"--");
    for (to, from) in text.iter_mut().zip(label) {
        *to = match from {
            b'-' if is_v4 => b'.',
            b'-' => b':',
            // An address's own punctuation is no part of a label that stands for one.
            b'.' | b':' => return None,
            other => *other,
        };
    }
    let text = std::str::from_utf8(text).ok()?;
    if is_v4 { text.parse().map(Ipv4Addr::into) } else { text.parse().map(Ipv6Addr::into) }.ok()
}
