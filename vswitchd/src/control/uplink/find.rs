//! Which of the node's interfaces leads outside, and with which address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netdev::netlink::{Address, Link, NetlinkError, Route};
use netdev::{Netlink, sysctl};
use protocol::Mac;

use super::UplinkError;
use crate::config::{Config, Uplink};

/// The ports of connections that the node's own stack makes.
const LOCAL_PORTS: &str = "net.ipv4.ip_local_port_range";

/// The way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) device: String,
    pub(super) ifindex: u32,
    pub(super) mac: Mac,
    pub(super) ip_mtu: u16,
    /// It is up, and its cable plugged in.
    pub(super) is_up: bool,
    pub(super) address: Ipv4Addr,
    pub(super) subnet: Ipv4Net,
    pub(super) gateway: Option<Ipv4Addr>,
}

/// What `uplink` means just now; `None` if it is to be found and there is none.
pub(super) fn find(config: &Config, uplink: &Uplink) -> Result<Option<Found>, UplinkError> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?;
    let addresses = netlink.addresses()?;
    let routes: Vec<Route> = netlink.routes()?;
    let Some(link) = link(config, uplink, &links, &addresses, &routes)? else { return Ok(None) };
    let default = routes.iter().find(|route| is_default(route) && route.ifindex == link.index);
    let found = complete(uplink, link, default, &addresses)?;
    check_ranges(config, &found)?;
    check_local_ports(uplink)?;
    Ok(Some(found))
}

fn is_default(route: &Route) -> bool {
    route.dst.prefix_len() == 0 && matches!(route.dst, IpNet::V4(_))
}

fn link<'a>(
    config: &Config,
    uplink: &Uplink,
    links: &'a [Link],
    addresses: &[Address],
    routes: &[Route],
) -> Result<Option<&'a Link>, UplinkError> {
    let by_index = |index| links.iter().find(|link| link.index == index);
    if let Some(name) = &uplink.device {
        let link = links.iter().find(|link| link.name == *name);
        return link.map(Some).ok_or_else(|| UplinkError::NoDevice(name.clone()));
    }
    let is_not_ours = |link: &&Link| link.name != config.gateway_device;
    if let Some(wanted) = uplink.address {
        let owner = addresses.iter().find(|address| address.address.addr() == IpAddr::V4(wanted));
        let link = owner.and_then(|owner| by_index(owner.ifindex)).filter(is_not_ours);
        return link.map(Some).ok_or(UplinkError::NoAddress(wanted));
    }
    let default = routes.iter().find(|route| is_default(route));
    Ok(default.and_then(|route| by_index(route.ifindex)).filter(is_not_ours))
}

fn complete(
    uplink: &Uplink,
    link: &Link,
    default: Option<&Route>,
    addresses: &[Address],
) -> Result<Found, UplinkError> {
    let own: Vec<Ipv4Net> = addresses
        .iter()
        .filter(|address| address.ifindex == link.index && address.is_global)
        .filter_map(|address| v4_net(address.address))
        .collect();
    let preferred = default.and_then(|route| route.src).and_then(v4);
    let address = match uplink.address.or(preferred) {
        Some(wanted) => own.iter().find(|net| net.addr() == wanted),
        None => own.first(),
    };
    let net = match (address, uplink.address) {
        (Some(net), _) => *net,
        (None, Some(wanted)) => {
            return Err(UplinkError::NotThere { device: link.name.clone(), address: wanted });
        }
        (None, None) => return Err(UplinkError::NoAddressOf(link.name.clone())),
    };
    let mac = link.mac.filter(|mac| mac.is_valid_source());
    Ok(Found {
        device: link.name.clone(),
        ifindex: link.index,
        mac: mac.ok_or_else(|| UplinkError::NotEthernet(link.name.clone()))?,
        ip_mtu: u16::try_from(link.ip_mtu).unwrap_or(u16::MAX),
        is_up: link.up && link.carrier,
        address: net.addr(),
        subnet: net.trunc(),
        gateway: default.and_then(|route| route.via).and_then(v4),
    })
}

/// The datapath would refuse such an uplink, and everything else with it.
fn check_ranges(config: &Config, found: &Found) -> Result<(), UplinkError> {
    for (key, range) in [("cluster_cidr", config.cluster_cidr), ("service_cidr", config.service_cidr)] {
        for address in [Some(found.address), found.gateway].into_iter().flatten() {
            if range.contains(&IpAddr::V4(address)) {
                return Err(UplinkError::InsideCluster { address, key, range });
            }
        }
    }
    Ok(())
}

fn check_local_ports(uplink: &Uplink) -> Result<(), UplinkError> {
    let text = sysctl::read(LOCAL_PORTS)?;
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<u16>().ok());
    let (Some(first), Some(last)) = (numbers.next(), numbers.next()) else { return Ok(()) };
    let ours = &uplink.source_ports;
    if *ours.start() <= last && first <= *ours.end() {
        return Err(UplinkError::LocalPorts { first, last, ours: ours.clone() });
    }
    Ok(())
}

fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn v4_net(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(v4) => Some(v4),
        IpNet::V6(_) => None,
    }
}

impl From<NetlinkError> for UplinkError {
    fn from(error: NetlinkError) -> Self {
        Self::Netlink(error)
    }
}
