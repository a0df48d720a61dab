//! The gateway: a TAP in the node's own namespace with the first address of its Pod CIDR, and the
//! routes that lead to it.
//!
//! It is persistent, so that the node's connections to pods survive a restart of the daemon. It is
//! recognised by its name, kind and address; anything else of that name is left alone.

use ipnet::IpNet;
use netdev::netlink::{Link, NetlinkError, Route};
use netdev::{Netlink, Tap, TapError, sysctl};
use protocol::Mac;
use protocol::link::DeviceKind;
use store::desired::{GATEWAY_PORT, GatewayDevice};

use super::pods::network::{create_tap, tap_options};
use super::switch::Switch;
use super::uplink::Interface;
use crate::config::{Config, TapKind};

/// Why the node has no way to its pods.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatewayError {
    /// The name is taken.
    #[error(
        "interface {name} exists and is not vpod's gateway; remove it, or set gateway_device to another name"
    )]
    Foreign { name: String },
    /// Somebody else's route leads there.
    #[error(
        "{key} {dst} is routed over interface {device} already; remove that route, or choose another range"
    )]
    Routed { key: &'static str, dst: IpNet, device: String },
    #[error(transparent)]
    Tap(#[from] TapError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
}

/// Whether the device is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Created,
    Found,
}

/// Makes the gateway complete, with its carrier off: takes the descriptor the datapath had, or
/// attaches to the device an earlier run left, or creates one.
pub(crate) fn open(
    config: &Config,
    ip_mtu: u16,
    switch: &Switch,
) -> Result<(GatewayDevice, Origin), GatewayError> {
    let mut netlink = Netlink::open()?;
    refuse_foreign_routes(config, &mut netlink)?;
    let name = &config.gateway_device;
    let found = netlink.find_link(name)?;
    if let Some(link) = &found
        && !is_ours(link, config)
    {
        return Err(GatewayError::Foreign { name: name.clone() });
    }
    let options = tap_options(name, ip_mtu, Mac::for_gateway_tap(config.gateway()), config.txqueuelen);
    let origin = if found.is_some() { Origin::Found } else { Origin::Created };
    if found.is_none() {
        // A descriptor of a device that is gone is of no use.
        drop(switch.take_device(GATEWAY_PORT));
        let tap = create_tap(config.tap, &options)?;
        tap.set_carrier(false)?;
        switch.add_device(GATEWAY_PORT, tap);
    } else if !switch.has_device(GATEWAY_PORT) {
        let kind = match config.tap {
            TapKind::Auto | TapKind::Vnet => DeviceKind::VnetTap,
            TapKind::Plain => DeviceKind::PlainTap,
        };
        switch.add_device(GATEWAY_PORT, Tap::attach(kind, &options)?);
    }
    let index = configure(config, &mut netlink, ip_mtu)?;
    switch.edge().set_gateway(Interface { name: name.clone(), index });
    let device = switch.with_tap(GATEWAY_PORT, |tap| GatewayDevice {
        device: tap.device_kind(),
        offloads: netdev::Device::offloads(tap),
        ip_mtu,
    });
    device.map(|device| (device, origin)).ok_or_else(|| GatewayError::Foreign { name: name.clone() })
}

fn is_ours(link: &Link, config: &Config) -> bool {
    link.kind.as_deref() == Some("tun") && link.mac == Some(Mac::for_gateway_tap(config.gateway()))
}

/// Ranges that lead to the gateway, with their keys. The node's own range comes with the address.
fn ranges(config: &Config) -> [(&'static str, IpNet); 2] {
    [("cluster_cidr", config.cluster_cidr), ("service_cidr", config.service_cidr)]
}

fn refuse_foreign_routes(config: &Config, netlink: &mut Netlink) -> Result<(), GatewayError> {
    let links = netlink.links()?;
    let own = links.iter().find(|link| link.name == config.gateway_device).map(|link| link.index);
    let all = ranges(config).into_iter().chain([("pod_cidr", config.pod_cidr)]);
    let routes = netlink.routes()?;
    for (key, dst) in all {
        if let Some(route) = routes.iter().find(|r| r.dst == dst && Some(r.ifindex) != own) {
            let device = links.iter().find(|link| link.index == route.ifindex);
            let device = device.map_or_else(|| route.ifindex.to_string(), |link| link.name.clone());
            return Err(GatewayError::Routed { key, dst, device });
        }
    }
    Ok(())
}

fn configure(config: &Config, netlink: &mut Netlink, ip_mtu: u16) -> Result<u32, GatewayError> {
    let link = netlink.link_by_name(&config.gateway_device)?;
    if link.ip_mtu != u32::from(ip_mtu) {
        netlink.set_mtu(link.index, ip_mtu.into())?;
    }
    // Pods have IPv4 only: the node's router solicitations would all be dropped.
    let key = format!("net/ipv6/conf/{}/disable_ipv6", config.gateway_device);
    sysctl::write_if_present(&key, "1")?;
    accept_own_addresses(&config.gateway_device)?;
    netlink.set_up(link.index)?;
    let gateway = config.gateway();
    let address = IpNet::new(gateway, config.pod_cidr.prefix_len()).unwrap_or(gateway.into());
    netlink.add_address(link.index, address)?;
    for (_, dst) in ranges(config) {
        if dst != config.pod_cidr {
            let route = Route { dst, via: None, ifindex: link.index, src: Some(gateway), mtu: None };
            netlink.replace_route(route)?;
        }
    }
    Ok(link.index)
}

/// What the switch answers in the node's place, at its NodePorts, comes to the node from its own address. Only the switch can send so:
/// no pod may use an address of the node.
fn accept_own_addresses(device: &str) -> Result<(), sysctl::SysctlError> {
    sysctl::write(&format!("net/ipv4/conf/{device}/accept_local"), "1")?;
    let strictness = format!("net/ipv4/conf/{device}/rp_filter");
    if sysctl::read(&strictness)? == "1" {
        sysctl::write(&strictness, "2")?;
    }
    Ok(())
}

/// Removes the device, and its routes with it; done if there is none.
pub(crate) fn remove(config: &Config) -> Result<(), GatewayError> {
    let mut netlink = Netlink::open()?;
    match netlink.find_link(&config.gateway_device)? {
        Some(link) if is_ours(&link, config) => Ok(netlink.delete_link(link.index)?),
        Some(_) | None => Ok(()),
    }
}

/// Gives the device another MTU; done if it is gone.
pub(crate) fn set_mtu(config: &Config, ip_mtu: u16) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::open()?;
    match netlink.find_link(&config.gateway_device)? {
        Some(link) => netlink.set_mtu(link.index, ip_mtu.into()),
        None => Ok(()),
    }
}

/// The node's own addresses: those that mean something beyond its links, except the gateway's.
pub(crate) fn node_addresses(config: &Config) -> Result<Vec<std::net::IpAddr>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let gateway = netlink.find_link(&config.gateway_device)?.map(|link| link.index);
    let mut addresses: Vec<_> = netlink
        .addresses()?
        .into_iter()
        .filter(|a| a.is_global && Some(a.ifindex) != gateway)
        .map(|a| a.address.addr())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}
