//! The way out of the cluster and into it: the node's own interface, shared with the node's kernel (design 0007).
//!
//! ```text
//!  pod ─▶ switch ─▶ nat: appears as the node ─▶ route: next hop ── known ──▶ uplink port
//!                                                    └─ unknown ─▶ held, asked for ─▶ decided again
//!  uplink port ─▶ for the switch? ── no ──▶ NotForSwitch: the kernel has the original
//!                     │ yes
//!                     ├─ ARP for an address we stand for ─▶ answered
//!                     ├─ answer to our own ARP ─▶ next hop learned
//!                     └─ packet ─▶ nat: its connection, or one that it begins ─▶ routed, to a pod or a peer
//! ```
//!
//! What is for nobody here is dropped in silence: an ICMP error or a reset for it would break what the node's kernel is doing with
//! its copy of the same frame. Nobody inside is reached by a frame's MAC from here, nothing is flooded either way, and no station is learned.
//!
//! - [`admission`]: what may come in. [`arp`]: whom ARP is answered for.
//! - [`route`]: what may leave, and by which next hop. [`next_hop`], [`held`]: whose MAC is asked for, and what waits meanwhile.
//! - [`announce`]: addresses that are told unasked. [`hold`]: for how long they may be. [`timers`]: when all of this is done.
//! - [`mod@check`]: what a configuration must be like.

mod admission;
mod announce;
mod arp;
mod check;
pub(crate) mod held;
mod hold;
mod next_hop;
mod route;
mod timers;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use protocol::link::{PortConfig, UplinkConfig};
use protocol::{Mac, PortId};

use crate::time::Instant;
use announce::Announcer;
use hold::Hold;
use next_hop::NextHops;

pub(crate) use admission::Place;
pub use check::UplinkError;
pub(crate) use check::check;
pub(crate) use next_hop::Said;

/// See the module.
#[derive(Debug)]
pub(crate) struct Uplink {
    link: Option<Link>,
    /// Addresses that the switch stands for: of load balancers, and of egress rules. Sorted.
    announced: Vec<Ipv4Addr>,
    egress: Vec<Ipv4Addr>,
    next_hops: NextHops,
    announcer: Announcer,
    hold: Hold,
    /// Tells the link: one worker does.
    announces: bool,
    /// Decisions rest on a MAC that is another now.
    is_void: bool,
    /// A frame that is held may go on.
    release_due: Option<Instant>,
}

/// The link itself, once its port is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Link {
    port: PortId,
    /// The node's MAC and address there.
    mac: Mac,
    address: Ipv4Addr,
    subnet: Ipv4Net,
    gateway: Option<Ipv4Addr>,
}

/// A station on the link, as a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownNextHop {
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: Mac,
    pub(crate) port: PortId,
    pub(crate) heard: Instant,
}

impl Uplink {
    /// The port that leads outside.
    pub(crate) fn port(&self) -> Option<PortId> {
        self.link.as_ref().map(|link| link.port)
    }

    pub(crate) fn new(seed: u64, worker: u32) -> Self {
        Self {
            link: None,
            announced: Vec::new(),
            egress: Vec::new(),
            next_hops: NextHops::new(seed, worker),
            announcer: Announcer::default(),
            hold: Hold::default(),
            announces: worker == 0,
            is_void: false,
            release_due: None,
        }
    }

    /// Takes over a configuration; `is_fresh`: the port has another device than before.
    pub(crate) fn install(
        &mut self,
        port: Option<&PortConfig>,
        config: Option<&UplinkConfig>,
        is_fresh: bool,
        now: Instant,
    ) {
        let link = port.zip(config).map(|(port, config)| Link {
            port: port.id,
            mac: port.mac,
            address: config.address,
            subnet: config.subnet.trunc(),
            gateway: config.gateway,
        });
        let is_same = |a: &Link, b: &Link| Link { gateway: b.gateway, ..*a } == *b;
        let is_other = is_fresh || !self.link.zip(link).is_some_and(|(a, b)| is_same(&a, &b));
        if is_other {
            self.next_hops.clear();
        }
        // Whatever waits is decided again, or told.
        self.release_due = self.link.or(link).map(|_| now);
        self.link = link;
        if let Some(link) = link {
            self.next_hops.reserve(link.port);
            self.next_hops.pin(link.gateway, link.port, now);
        }
        let sorted = |addresses: &mut dyn Iterator<Item = Ipv4Addr>| {
            let mut addresses: Vec<_> = addresses.collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses
        };
        self.announced = sorted(&mut config.iter().flat_map(|config| config.announced.iter().copied()));
        self.egress =
            sorted(&mut config.iter().flat_map(|config| config.egress.iter().map(|rule| rule.address)));
        let by_lease = config.is_some_and(|config| config.announced_by_lease && !config.announced.is_empty());
        self.hold.install(by_lease, &self.announced, now);
        self.announce(is_other, now);
    }

    /// Makes room for what packets of `port` ask for.
    pub(crate) fn reserve(&mut self, port: PortId) {
        self.next_hops.reserve(port);
    }

    /// Known next hops from slot `cursor` on, for rows.
    pub(crate) fn next_hops_from(&self, cursor: usize) -> impl Iterator<Item = (usize, KnownNextHop)> + '_ {
        let port = self.link.map_or(PortId(0), |link| link.port);
        let rows = self.next_hops.rows_from(cursor);
        rows.map(move |(slot, address, mac, heard)| (slot, KnownNextHop { address, mac, port, heard }))
    }

    /// Its port is there.
    pub(crate) fn is_attached(&self) -> bool {
        self.link.is_some()
    }

    /// A MAC that only the node's interface has.
    pub(crate) fn is_own_mac(&self, mac: Mac) -> bool {
        self.link.is_some_and(|link| link.mac == mac)
    }

    /// The switch answers ARP for it, and tells who asks it for what is not there.
    pub(crate) fn is_announced(&self, address: Ipv4Addr, now: Instant) -> bool {
        self.announced.binary_search(&address).is_ok() && self.hold.lasts(address, now)
    }

    fn is_egress(&self, address: Ipv4Addr) -> bool {
        self.egress.binary_search(&address).is_ok()
    }

    /// All it stands for.
    pub(crate) fn stood_for(config: &UplinkConfig) -> impl Iterator<Item = Ipv4Addr> {
        config.announced.iter().copied().chain(config.egress.iter().map(|rule| rule.address))
    }
}
