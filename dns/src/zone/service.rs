//! A service as it is answered: everything that can be computed once is.

use std::collections::{HashMap, HashSet};
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
    /// The places of hosts in the order of their labels.
    by_label: Vec<usize>,
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
        let mut builder = Builder::default();
        let service = builder.host(Box::default());
        for address in addresses {
            builder.add(service, *address, ports);
        }
        builder.finish(false)
    }

    fn headless(endpoints: &[NamedEndpoint]) -> Self {
        let mut builder = Builder::default();
        for endpoint in endpoints {
            let Some(label) = endpoint_label(endpoint) else { continue };
            let host = builder.host(label);
            builder.add(host, endpoint.address, &endpoint.ports);
        }
        builder.finish(true)
    }

    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.iter().copied().map(IpAddr::V4).chain(self.v6.iter().copied().map(IpAddr::V6))
    }

    /// The host of this label in wire form.
    #[must_use]
    pub fn host(&self, label: &[u8]) -> Option<&Host> {
        let label_at = |at: &usize| self.hosts.get(*at).map_or(&[][..], |host| &host.label);
        let found = self.by_label.binary_search_by(|at| label_at(at).cmp(label)).ok()?;
        self.hosts.get(*self.by_label.get(found)?)
    }
}

/// A host's place, and the name, transport and number of a port of it.
type PortKey = (usize, Box<[u8]>, Transport, u16);

/// Puts hosts together in time that grows with their number: a headless service may have thousands.
#[derive(Default)]
struct Builder {
    hosts: Hosts,
    labels: HashMap<Box<[u8]>, usize>,
    ports: HashMap<PortKey, usize>,
    numbers: HashSet<(usize, u16)>,
}

impl Builder {
    /// The place of the host with this label.
    fn host(&mut self, label: Box<[u8]>) -> usize {
        *self.labels.entry(label).or_insert_with_key(|label| {
            self.hosts.hosts.push(Host { label: label.clone(), ..Host::default() });
            self.hosts.hosts.len() - 1
        })
    }

    fn add(&mut self, at: usize, address: IpAddr, ports: &[NamedPort]) {
        let Some(host) = self.hosts.hosts.get_mut(at) else { return };
        match address {
            IpAddr::V4(address) => {
                insert(&mut host.v4, address);
                self.hosts.v4.push(address);
            }
            IpAddr::V6(address) => {
                insert(&mut host.v6, address);
                self.hosts.v6.push(address);
            }
        }
        for port in ports {
            let name: Box<[u8]> =
                port.name.as_deref().unwrap_or_default().to_ascii_lowercase().into_bytes().into();
            let (transport, number) = (port.transport, port.number);
            let all = &mut self.hosts.ports;
            let place = *self.ports.entry((at, name.clone(), transport, number)).or_insert(all.len());
            if let Some(known) = all.get_mut(place) {
                known.addresses = known.addresses.saturating_add(1);
                continue;
            }
            let first = self.numbers.insert((at, number));
            all.push(HostPort { host: at, name, transport, number, addresses: 1, first });
        }
    }

    fn finish(self, headless: bool) -> Hosts {
        let mut hosts = Hosts { headless, ..self.hosts };
        hosts.v4.sort_unstable();
        hosts.v4.dedup();
        hosts.v6.sort_unstable();
        hosts.v6.dedup();
        hosts.by_label = (0..hosts.hosts.len()).collect();
        let labels: Vec<Box<[u8]>> = hosts.hosts.iter().map(|host| host.label.clone()).collect();
        hosts.by_label.sort_unstable_by_key(|at| labels.get(*at));
        hosts
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
