//! The network between the nodes: which of the node's interfaces leads there, and how large its packets
//! may be.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netdev::Netlink;
use netdev::netlink::{Link, NetlinkError};

use crate::config::Underlay as Choice;

/// Largest packet of IPv4; an interface may claim more (`lo` has 65536).
const MAX_IP_PACKET: u32 = 65_535;

/// The node's interface to the other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Underlay {
    /// Which.
    pub(crate) device: String,
    /// Outer source address.
    pub(crate) address: Ipv4Addr,
    /// Largest outer packet.
    pub(crate) ip_mtu: u16,
}

/// What `choice` means just now; `None` where there is no such interface or address.
pub(crate) fn find(choice: &Choice) -> Result<Option<Underlay>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?;
    let default = default_route(&mut netlink)?;
    let default_link = || links.iter().find(|link| default.is_some_and(|(index, _)| link.index == index));
    let addresses = netlink.addresses()?;
    let first_of = |link: &Link| {
        let global = addresses.iter().filter(|a| a.ifindex == link.index && a.is_global);
        global.filter_map(|a| v4(a.address.addr())).next()
    };
    let found = match choice {
        Choice::DefaultRoute => default_link().and_then(|link| {
            let preferred = default.and_then(|(_, src)| src);
            Some((link, preferred.or_else(|| first_of(link))?))
        }),
        Choice::Device(name) => {
            links.iter().find(|link| link.name == *name).and_then(|link| Some((link, first_of(link)?)))
        }
        Choice::Address(address) => {
            let owner = addresses.iter().find(|a| a.address.addr() == IpAddr::V4(*address));
            let link = owner.and_then(|owner| links.iter().find(|link| link.index == owner.ifindex));
            // A router's address on `lo` goes out by whatever interface routes lead to.
            let way_out = |link| if is_loopback(link) { default_link().unwrap_or(link) } else { link };
            link.map(|link| (way_out(link), *address))
        }
    };
    Ok(found.map(|(link, address)| Underlay {
        device: link.name.clone(),
        address,
        ip_mtu: u16::try_from(link.ip_mtu.min(MAX_IP_PACKET)).unwrap_or(u16::MAX),
    }))
}

/// MTU of the interface the default route leads over.
pub(crate) fn default_mtu() -> Result<Option<u32>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let Some((index, _)) = default_route(&mut netlink)? else { return Ok(None) };
    Ok(netlink.links()?.into_iter().find(|link| link.index == index).map(|link| link.ip_mtu))
}

/// Interface and preferred source of the IPv4 default route.
fn default_route(netlink: &mut Netlink) -> Result<Option<(u32, Option<Ipv4Addr>)>, NetlinkError> {
    let routes = netlink.routes()?;
    let default = routes.iter().find(|r| r.dst.prefix_len() == 0 && matches!(r.dst, IpNet::V4(_)));
    Ok(default.map(|route| (route.ifindex, route.src.and_then(v4))))
}

fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn is_loopback(link: &Link) -> bool {
    link.name == "lo"
}
