//! What is asked of the node's kernel for the uplink, so that tests can put another one in its place.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netdev::netlink::{NetlinkError, Route, ruleset_generation};
use netdev::sysctl::SysctlError;
use netdev::{Netlink, sysctl};

use super::hidden::Interface;
use super::nft::{self, NftError};

/// See the module.
pub(super) trait Kernel: Send + Sync {
    /// Loads a script of nftables, whole or not at all.
    fn load(&self, script: &str) -> Result<(), NftError>;

    /// Whether the table is there.
    fn has_table(&self) -> Result<bool, NftError>;

    /// Changes with every change of rules, whoever makes it.
    fn generation(&self) -> Result<u32, NetlinkError>;

    /// Has the node reach these addresses, and no other single ones, over `gateway`, as `source`.
    fn route(
        &self,
        gateway: &Interface,
        source: Ipv4Addr,
        addresses: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), NetlinkError>;

    /// Has the node take packets from and for 127.0.0.1 that come by `gateway`. Only the switch can send such there.
    fn accept_loopback(&self, gateway: &Interface) -> Result<(), SysctlError>;
}

/// The kernel of this process's namespace.
pub(super) struct Host;

impl Kernel for Host {
    fn load(&self, script: &str) -> Result<(), NftError> {
        nft::load(script)
    }

    fn has_table(&self) -> Result<bool, NftError> {
        nft::has_table()
    }

    fn generation(&self) -> Result<u32, NetlinkError> {
        ruleset_generation()
    }

    fn route(
        &self,
        gateway: &Interface,
        source: Ipv4Addr,
        addresses: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), NetlinkError> {
        let mut netlink = Netlink::open()?;
        let single = |address: Ipv4Addr| Route {
            dst: IpNet::V4(Ipv4Net::from(address)),
            via: None,
            ifindex: gateway.index,
            src: Some(IpAddr::V4(source)),
            mtu: None,
        };
        let wanted: Vec<Route> = addresses.iter().copied().map(single).collect();
        let there: Vec<Route> = netlink.routes()?.into_iter().filter(|r| is_single(r, gateway)).collect();
        for route in there.iter().filter(|route| !wanted.contains(route)) {
            match netlink.delete_route(*route) {
                Err(error) if !error.is_not_found() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        for route in wanted.into_iter().filter(|route| !there.contains(route)) {
            // Somebody else's to that address is not replaced.
            netlink.add_route(route)?;
        }
        Ok(())
    }

    fn accept_loopback(&self, gateway: &Interface) -> Result<(), SysctlError> {
        sysctl::write(&format!("net/ipv4/conf/{}/route_localnet", gateway.name), "1")
    }
}

/// One of those that [`Kernel::route`] makes; nobody else's business leads there.
fn is_single(route: &Route, gateway: &Interface) -> bool {
    route.ifindex == gateway.index
        && route.via.is_none()
        && matches!(route.dst, IpNet::V4(net) if net.prefix_len() == 32)
}
