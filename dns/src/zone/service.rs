//! A service as it is answered: everything that can be computed once is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use protocol::feed::{NameTarget, NamedEndpoint, NamedPort, NamedService};
use protocol::link::Transport;

use crate::wire::name::{MAX_LABEL_BYTES, Name, push_label};

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name and namespace in wire form: the key it is found by, and the beginning of names below it.
    pub key: Box<[u8]>,
    /// What its name leads to.
    pub target: Target,
}

/// See [`Service`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Addresses.
    Hosts(Hosts),
    /// Another name; `None` for one that is no name (an address, or too long), which is answered as if it were not there.
    External(Option<Name>),
}

/// The addresses and ports of a service: its own, or its endpoints'.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts {
    /// Its hosts are endpoints, with names of their own.
    pub headless: bool,
    /// IPv4 addresses of all hosts.
    pub v4: Vec<Ipv4Addr>,
    /// IPv6 addresses of all hosts.
    pub v6: Vec<Ipv6Addr>,
    /// What has addresses: the service itself, or each endpoint.
    pub hosts: Vec<Host>,
    /// Every port at every host, by host.
    pub ports: Vec<HostPort>,
}

/// A name with addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Its label in wire form, below the service; empty for the service itself.
    pub label: Box<[u8]>,
    /// Its IPv4 addresses.
    pub v4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
}

/// A port at a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Which of [`Hosts::hosts`].
    pub host: usize,
    /// Its name in lower case; empty if it has none.
    pub name: Box<[u8]>,
    /// Its protocol.
    pub transport: Transport,
    /// Its number.
    pub number: u16,
    /// Addresses that have it: each counts for the weight, though one record stands for all.
    pub addresses: u16,
    /// No port before it has the same number at the host: of those that have, one record stands for all where any will do.
    pub first: bool,
}

impl Service {
    /// A service of the feed; `None` where its name is no label, which no question can name.
    #[must_use]
    pub fn new(service: &NamedService) -> Option<Self> {
        let key = key(service.namespace.as_str(), service.name.as_str())?;
        let target = match &service.target {
            NameTarget::Cluster { addresses, ports } => Target::Hosts(Hosts::cluster(addresses, ports)),
            NameTarget::Headless { endpoints } => Target::Hosts(Hosts::headless(endpoints)),
            NameTarget::External { name } => {
                Target::External(if name.parse::<IpAddr>().is_ok() { None } else { Name::from_text(name) })
            }
        };
        Some(Self { key, target })
    }

    /// Its addresses; `None` for an external one.
    #[must_use]
    pub fn hosts(&self) -> Option<&Hosts> {
        match &self.target {
            Target::Hosts(hosts) => Some(hosts),
            Target::External(_) => None,
        }
    }
}

/// How a service is found: its labels in wire form.
#[must_use]
pub fn key(namespace: &str, name: &str) -> Option<Box<[u8]>> {
    let mut key = Vec::with_capacity(namespace.len() + name.len() + 2);
    push_label(&mut key, name.as_bytes()).filter(|()| !name.contains('.'))?;
    push_label(&mut key, namespace.as_bytes())?;
    Some(key.into())
}

impl Hosts {
    fn cluster(addresses: &[IpAddr], ports: &[NamedPort]) -> Self {
        let mut hosts = Self { hosts: vec![Host::default()], ..Self::default() };
        for address in addresses {
            hosts.add(0, *address, ports);
        }
        hosts
    }

    fn headless(endpoints: &[NamedEndpoint]) -> Self {
        let mut hosts = Self { headless: true, ..Self::default() };
        for endpoint in endpoints {
            let Some(label) = endpoint_label(endpoint) else { continue };
            let at = hosts.hosts.iter().position(|host| host.label == label).unwrap_or_else(|| {
                hosts.hosts.push(Host { label, ..Host::default() });
                hosts.hosts.len() - 1
            });
            hosts.add(at, endpoint.address, &endpoint.ports);
        }
        hosts
    }

    fn add(&mut self, at: usize, address: IpAddr, ports: &[NamedPort]) {
        let Some(host) = self.hosts.get_mut(at) else { return };
        match address {
            IpAddr::V4(address) => {
                insert(&mut host.v4, address);
                insert(&mut self.v4, address);
            }
            IpAddr::V6(address) => {
                insert(&mut host.v6, address);
                insert(&mut self.v6, address);
            }
        }
        for port in ports {
            let name = port.name.as_deref().unwrap_or_default().to_ascii_lowercase().into_bytes().into();
            let (transport, number) = (port.transport, port.number);
            let first = self.ports.iter().all(|old| (old.host, old.number) != (at, number));
            let new = HostPort { host: at, name, transport, number, addresses: 1, first };
            let same = |old: &&mut HostPort| {
                (old.host, &old.name, old.transport, old.number) == (at, &new.name, new.transport, new.number)
            };
            match self.ports.iter_mut().find(same) {
                Some(old) => old.addresses = old.addresses.saturating_add(1),
                None => self.ports.push(new),
            }
        }
    }

    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().copied().map(IpAddr::V4).chain(self.v6.iter().copied().map(IpAddr::V6))
    }
}

fn insert<A: PartialEq>(addresses: &mut Vec<A>, address: A) {
    if !addresses.contains(&address) {
        addresses.push(address);
    }
}

/// An endpoint's own label: its host name, else its address with dashes, as CoreDNS has it.
fn endpoint_label(endpoint: &NamedEndpoint) -> Option<Box<[u8]>> {
    let mut label = Vec::with_capacity(MAX_LABEL_BYTES + 1);
    match endpoint.hostname.as_deref() {
        Some(hostname) if !hostname.is_empty() => push_label(&mut label, hostname.as_bytes())?,
        _ => push_label(&mut label, endpoint.address.to_string().replace(['.', ':'], "-").as_bytes())?,
    }
    Some(label.into())
}
