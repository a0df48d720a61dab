//! The result of ADD, as one type for all versions (SPEC 1.1.0 §5, "Success").
//!
//! A plugin in a chain must hand on what the one before it made, so a result that is read keeps the keys that no version
//! knows ([`AddResult::extra`] and its like) and writes them again. What only a later version knows is not written in an
//! earlier one.

mod read;
mod write;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

pub(crate) use read::read;

/// Keys that no version of the specification knows.
pub type Extra = Map<String, Value>;

/// Most interfaces, and most addresses, routes, name servers and the like of one result. Ours has one interface and at most two
/// addresses; chains of the largest hypervisors have tens.
pub const MAX_ELEMENTS: usize = 1024;

/// What an attachment consists of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AddResult {
    /// In the container and on the host.
    pub interfaces: Vec<Interface>,
    /// Addresses, which may be others than the container's.
    pub ips: Vec<Ip>,
    /// Routes in the container.
    pub routes: Vec<Route>,
    /// How names are resolved.
    pub dns: Dns,
    /// Unknown keys.
    pub extra: Extra,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address as text: other plugins' need not be Ethernet's.
    pub mac: Option<String>,
    /// Bytes of an IP packet. 1.1.0.
    pub mtu: Option<u32>,
    /// What it is in: the path of a network namespace; `None` on the host.
    pub sandbox: Option<String>,
    /// An absolute path. 1.1.0.
    pub socket_path: Option<String>,
    /// Where it is plugged in. 1.1.0.
    pub pci_id: Option<String>,
    /// Unknown keys.
    pub extra: Extra,
}

/// An address.
#[derive(Debug, Clone, PartialEq)]
pub struct Ip {
    /// The address, host bits and all, with the length of its network's prefix.
    pub address: IpNet,
    /// The default gateway of that network.
    pub gateway: Option<IpAddr>,
    /// Index into [`AddResult::interfaces`].
    pub interface: Option<u32>,
    /// Unknown keys.
    pub extra: Extra,
}

impl Ip {
    /// An address that is all there is to say.
    #[must_use]
    pub fn new(address: IpNet) -> Self {
        Self { address, gateway: None, interface: None, extra: Extra::new() }
    }
}

/// A route. All but the first two are 1.1.0's, and the kernel's own numbers (rtnetlink(7)).
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Where to.
    pub dst: IpNet,
    /// The next hop; the gateway of an address without.
    pub gw: Option<IpAddr>,
    /// Bytes of an IP packet on this way.
    pub mtu: Option<u32>,
    /// Bytes of TCP payload that peers are told to send at most.
    pub advmss: Option<u32>,
    /// The lowest is taken.
    pub priority: Option<u32>,
    /// The routing table's number.
    pub table: Option<u32>,
    /// 0 the universe, 253 the link, 254 the host.
    pub scope: Option<u32>,
    /// Unknown keys.
    pub extra: Extra,
}

impl Route {
    /// A route that is all there is to say.
    #[must_use]
    pub fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
            extra: Extra::new(),
        }
    }
}

/// How names are resolved. Texts, because other plugins' are handed on as they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dns {
    /// Addresses, the first to be asked first.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Domains to search, the first first.
    pub search: Vec<String>,
    /// As in resolv.conf(5): `ndots:5`.
    pub options: Vec<String>,
    /// Unknown keys.
    pub extra: Extra,
}

impl Dns {
    /// Says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AddResult {
    /// What was before in the chain, and then what `own` adds. Indices of `own` count its own interfaces; they are moved. Of
    /// the DNS, what was said before stays where `own` says nothing.
    #[must_use]
    pub fn followed_by(mut self, own: Self) -> Self {
        if self.interfaces.is_empty() {
            // The specification's own example refers to an interface that is not listed (SPEC 0.3.1, "Network
            // configuration list runtime examples"); it must not become a reference to ours.
            self.ips.iter_mut().for_each(|ip| ip.interface = None);
        }
        let moved = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.extend(own.interfaces);
        self.ips.extend(own.ips.into_iter().map(|mut ip| {
            ip.interface = ip.interface.map(|index| index.saturating_add(moved));
            ip
        }));
        self.routes.extend(own.routes);
        if !own.dns.is_empty() {
            self.dns = own.dns;
        }
        self.extra.extend(own.extra);
        self
    }

    /// As an IPAM plugin says it: no interfaces, and addresses that belong to none (§5, "Delegated plugins (IPAM)").
    #[must_use]
    pub fn abbreviated(mut self) -> Self {
        self.interfaces.clear();
        self.ips.iter_mut().for_each(|ip| ip.interface = None);
        self
    }

    /// The interface of that name in that namespace.
    #[must_use]
    pub fn interface(&self, name: &str, sandbox: &str) -> Option<(u32, &Interface)> {
        let found =
            |interface: &&Interface| interface.name == name && interface.sandbox.as_deref() == Some(sandbox);
        (0..).zip(&self.interfaces).find(|(_, interface)| found(interface))
    }

    /// The addresses of the interface at an index.
    pub fn addresses_of(&self, index: u32) -> impl Iterator<Item = &Ip> {
        self.ips.iter().filter(move |ip| ip.interface == Some(index))
    }
}
