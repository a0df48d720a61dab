//! The uplink: the socket on the node's own interface, and all that the node's kernel has to know of it.
//!
//! [`refresh`] makes it be what configuration and network ask for, whatever there was before, as `tunnel` does: at the
//! start, after each change of the node's network, after SIGHUP. What changes with services, and must change together with the datapath,
//! is [`edge`]'s.

mod edge;
mod find;
mod hidden;
mod kernel;
mod nft;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use netdev::netlink::NetlinkError;
use netdev::sysctl::SysctlError;
use netdev::{Device, PacketFilter, PacketSocket, PacketSocketError, sysctl};
use protocol::link::UplinkConfig;
use store::desired::{EgressSelector, UPLINK_PORT, UplinkFacts, taken_on_link};

use self::find::Found;
use super::error::chain;
use super::node::Control;
use crate::config::Uplink;

pub(crate) use edge::Edge;
pub(crate) use hidden::Interface;

/// Whether every packet must come by the interface that its source is behind.
const STRICT_SOURCES: &str = "net.ipv4.conf.all.rp_filter";

/// Why the node has no way out, though it is to have one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UplinkError {
    #[error("uplink.device: interface {0} does not exist")]
    NoDevice(String),
    #[error("uplink.address: no interface has the address {0}")]
    NoAddress(Ipv4Addr),
    #[error("uplink.address: interface {device} does not have the address {address}")]
    NotThere { device: String, address: Ipv4Addr },
    #[error("interface {0} has no IPv4 address that means something beyond its link")]
    NoAddressOf(String),
    #[error("interface {0} is not an Ethernet; set uplink.device to another one, or uplink.enabled = false")]
    NotEthernet(String),
    #[error("{address} lies in {key} {range}")]
    InsideCluster { address: Ipv4Addr, key: &'static str, range: IpNet },
    #[error(
        "uplink.source_ports {}-{} overlap net.ipv4.ip_local_port_range {first}-{last}, from which the node makes its own connections; change one of them",
        ours.start(), ours.end()
    )]
    LocalPorts { first: u16, last: u16, ours: RangeInclusive<u16> },
    #[error(transparent)]
    Netlink(NetlinkError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error(transparent)]
    Socket(#[from] PacketSocketError),
}

/// What is configured, and what is wrong with it just now.
#[derive(Debug, Default)]
pub(crate) struct UplinkState {
    pub(crate) configured: Option<Uplink>,
    problems: Vec<String>,
    failed: bool,
    /// The interface is up. One that is not keeps its connections, for it may come back.
    is_up: bool,
}

impl UplinkState {
    pub(crate) fn of(configured: Option<Uplink>) -> Self {
        Self { configured, ..Self::default() }
    }

    /// It is to be looked at again.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// What is sent there may arrive.
    pub(crate) const fn is_up(&self) -> bool {
        self.is_up
    }

    /// For `status`.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Makes the uplink as it should be, for the datapath's next sync; true if that has something to do. Without a way out it is
/// closed, and why is shown by `status`.
pub(crate) fn refresh(control: &Control) -> bool {
    let mut state = control.uplink.lock();
    let mut problems = Vec::new();
    let found = match &state.configured {
        Some(uplink) => find::find(&control.config, uplink).map(|found| found.map(|found| (uplink, found))),
        None => Ok(None),
    };
    let is_up = matches!(&found, Ok(Some((_, found))) if found.is_up);
    let wanted = found.and_then(|found| {
        found.map(|(uplink, found)| open(control, uplink, &found, &mut problems)).transpose()
    });
    let is_up = is_up && wanted.is_ok();
    state.failed = wanted.is_err();
    let facts = wanted.unwrap_or_else(|error| {
        problems.push(format!("no uplink: {}", chain(&error)));
        None
    });
    for problem in problems.iter().filter(|problem| !state.problems.contains(problem)) {
        tracing::error!("{problem}");
    }
    state.problems = problems;
    let was_up = std::mem::replace(&mut state.is_up, is_up);
    let is_open = facts.is_some();
    if !is_open {
        control.switch.edge().set_device(None);
        drop(control.switch.take_device(UPLINK_PORT));
    }
    drop(state);
    let changed = control.switch.set_uplink(facts);
    if was_up != is_up || changed {
        control.services.on_uplink();
    }
    changed
}

/// There is none yet, and now there could be. Services promise ports at it, so the sooner the better.
pub(crate) fn appears(control: &Control) -> bool {
    let state = control.uplink.lock();
    let find = |uplink| matches!(find::find(&control.config, uplink), Ok(Some(found)) if found.is_up);
    !control.switch.has_device(UPLINK_PORT) && state.configured.as_ref().is_some_and(find)
}

fn open(
    control: &Control,
    uplink: &Uplink,
    found: &Found,
    problems: &mut Vec<String>,
) -> Result<UplinkFacts, UplinkError> {
    let held = control.switch.with_uplink(|socket| (socket.ifindex(), socket.offloads()));
    let offloads = match held {
        Some((Some(ifindex), offloads)) if ifindex == found.ifindex => offloads,
        Some(_) | None => {
            // Until its filter is there it gets nothing but ARP.
            let socket = PacketSocket::open(&found.device, found.ifindex, &PacketFilter::default())?;
            let offloads = socket.offloads();
            drop(control.switch.take_device(UPLINK_PORT));
            control.switch.add_device(UPLINK_PORT, socket);
            tracing::info!(device = found.device, address = %found.address, "uplink opened");
            offloads
        }
    };
    let interface = Interface { name: found.device.clone(), index: found.ifindex };
    control.switch.edge().set_device(Some(interface));
    problems.extend(strict_sources());
    let config = UplinkConfig {
        address: found.address,
        subnet: found.subnet,
        gateway: found.gateway,
        source_ports: uplink.source_ports.clone(),
        node_ports: control.config.services.node_ports.0.clone(),
        filtering: uplink.filtering,
        not_translated: uplink.not_translated.clone(),
        egress: Vec::new(),
        announced: Vec::new(),
        announced_by_lease: false,
    };
    Ok(UplinkFacts {
        egress: usable(control, uplink, &config, problems),
        config,
        mac: found.mac,
        ip_mtu: found.ip_mtu,
        offloads,
    })
}

/// The answers of the node's own NodePorts have its own address, and come by the gateway device.
fn strict_sources() -> Option<String> {
    let is_strict = sysctl::read(STRICT_SOURCES).is_ok_and(|value| value == "1");
    is_strict.then(|| {
        format!("the node does not reach its own NodePorts: {STRICT_SOURCES} is 1; set it to 0, or to 2")
    })
}

/// Egress addresses that are somebody's would make the datapath refuse everything.
fn usable(
    control: &Control,
    uplink: &Uplink,
    config: &UplinkConfig,
    problems: &mut Vec<String>,
) -> Vec<EgressSelector> {
    let mut taken: BTreeSet<IpAddr> = control.switch.node_addresses().into_iter().collect();
    taken.insert(IpAddr::V4(config.address));
    for peer in control.peers.lock().known() {
        taken.insert(peer.spec.address.into());
        taken.extend(peer.spec.node_addresses.iter().copied());
    }
    let why_not = |address: Ipv4Addr| {
        let is_nodes = taken.contains(&IpAddr::V4(address)).then_some("an address of a node");
        taken_on_link(config, address).or(is_nodes)
    };
    let mut usable = Vec::new();
    for rule in &uplink.egress {
        match why_not(rule.address) {
            None => usable.push(rule.clone()),
            Some(what) => problems
                .push(format!("uplink.egress: {} is {what}; its pods appear as the node", rule.address)),
        }
    }
    usable
}

/// The daemon ends in order, and the datapath has ended. What is hidden stays hidden for the pods that stay, whose
/// connections the next start finds again; without pods there is nothing to wait for.
pub(crate) fn leave(control: &Control) {
    if control.inventory.lock().len() == 0 {
        control.switch.edge().clear();
    }
}

/// Removes what any run of the daemon has left.
pub(crate) fn remove() {
    Edge::new().clear();
}
