//! A pod's namespace and its `eth0`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netdev::netlink::Route;
use netdev::{Netlink, Netns, Tap, TapError, TapOptions, netns, sysctl};
use protocol::Mac;
use protocol::link::DeviceKind;
use store::record::PodRecord;

use super::place;
use crate::config::TapKind;

/// A pod's interface, as Kubernetes names it.
pub(crate) const DEVICE: &str = "eth0";

/// For the kernel to make `eth0` ready once its carrier is on: under a millisecond, longer while others
/// hold its lock on network devices.
const READY_LIMIT: Duration = Duration::from_secs(5);
const READY_POLL: Duration = Duration::from_micros(200);

/// How an interface begins that is not to speak IPv6 by itself.
const QUIET_IPV6: [(&str, &str); 2] =
    [("net.ipv6.conf.default.disable_ipv6", "1"), ("net.ipv6.conf.default.accept_ra", "0")];

/// Why a pod has no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error(transparent)]
    Netns(#[from] netns::NetnsError),
    #[error(transparent)]
    Tap(#[from] TapError),
    #[error(transparent)]
    Netlink(#[from] netdev::netlink::NetlinkError),
    #[error(transparent)]
    Sysctl(#[from] sysctl::SysctlError),
    #[error("{0} is not ready to send {READY_LIMIT:?} after its carrier was switched on")]
    NotReady(String),
}

/// What the interface should be.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    /// With the prefix length of the node's range.
    pub(crate) pod_cidr: IpNet,
    pub(crate) gateway: IpAddr,
    pub(crate) mac: Mac,
    pub(crate) ip_mtu: u16,
    pub(crate) txqueuelen: u32,
    pub(crate) kind: TapKind,
}

impl Interface {
    fn tap_options(&self) -> TapOptions {
        tap_options(&self.name, self.ip_mtu, self.mac, self.txqueuelen)
    }
}

pub(crate) fn tap_options(name: &str, ip_mtu: u16, mac: Mac, txqueuelen: u32) -> TapOptions {
    TapOptions { name: name.to_owned(), ip_mtu, mac, txqueuelen, persistent: true, multi_queue: false }
}

/// Creates a TAP of the configured kind in the calling thread's namespace.
pub(crate) fn create_tap(kind: TapKind, options: &TapOptions) -> Result<Tap, TapError> {
    match kind {
        TapKind::Auto => Tap::create_best(options),
        TapKind::Vnet => netdev::VnetTap::create(options).map(Tap::Vnet),
        TapKind::Plain => netdev::PlainTap::create(options).map(Tap::Plain),
    }
}

/// Makes the namespace with `lo` and a complete `eth0` in it, carrier off.
pub(crate) fn create(name: &str, interface: &Interface) -> Result<(Netns, Tap), NetworkError> {
    let netns = netns::create(name)?;
    let tap = netns.run(|| {
        // Whoever runs in a pod has its ports to itself, as with containerd and Docker.
        sysctl::write_if_present("net.ipv4.ip_unprivileged_port_start", "0")?;
        configure(interface, None)
    })??;
    Ok((netns, tap))
}

/// Makes the interface in a namespace that is a container runtime's, carrier off. What else is in there, and how its next
/// interfaces begin, stays as it is.
pub(crate) fn join(netns: &Netns, interface: &Interface) -> Result<Tap, NetworkError> {
    netns.run(|| {
        if Netlink::open()?.find_link(&interface.name)?.is_some() {
            return Err(TapError::Exists { name: interface.name.clone() }.into());
        }
        let before = QUIET_IPV6.map(|(key, _)| sysctl::read(key).ok());
        let tap = configure(interface, None);
        for ((key, _), value) in QUIET_IPV6.iter().zip(before) {
            value.map_or(Ok(()), |value| sysctl::write(key, &value))?;
        }
        tap
    })?
}

/// There is an interface of that name.
pub(crate) fn exists(netns: &Netns, device: &str) -> Result<bool, NetworkError> {
    netns.run(|| Ok(Netlink::open()?.find_link(device)?.is_some()))?
}

/// Attaches again to the persistent interface that [`join`] made, and leaves what plugins have done with it since.
pub(crate) fn rejoin(netns: &Netns, interface: &Interface, kind: DeviceKind) -> Result<Tap, NetworkError> {
    netns.run(|| Ok(Tap::attach(kind, &interface.tap_options())?))?
}

/// Attaches to the persistent `eth0` of an existing namespace, or makes a new one if somebody removed
/// it, and sets everything about it again.
pub(crate) fn restore(
    name: &str,
    interface: &Interface,
    kind: DeviceKind,
) -> Result<(Netns, Tap), NetworkError> {
    let netns = netns::open(name)?;
    let tap = netns.run(|| {
        let exists = Netlink::open()?.find_link(&interface.name)?.is_some();
        configure(interface, exists.then_some(kind))
    })??;
    Ok((netns, tap))
}

/// Runs inside the pod's namespace.
fn configure(interface: &Interface, existing: Option<DeviceKind>) -> Result<Tap, NetworkError> {
    let mut netlink = Netlink::open()?;
    let lo = netlink.link_by_name("lo")?;
    netlink.set_up(lo.index)?;
    if existing.is_none() {
        // Before `eth0` exists, so that it never sends a router solicitation. `lo` keeps ::1.
        for (key, value) in QUIET_IPV6 {
            sysctl::write_if_present(key, value)?;
        }
    }
    let options = interface.tap_options();
    let tap = match existing {
        Some(kind) => Tap::attach(kind, &options)?,
        None => create_tap(interface.kind, &options)?,
    };
    tap.set_carrier(false)?;
    let eth0 = netlink.link_by_name(&interface.name)?;
    netlink.set_up(eth0.index)?;
    let address = IpNet::new(interface.ip, interface.pod_cidr.prefix_len()).unwrap_or(interface.ip.into());
    netlink.add_address(eth0.index, address)?;
    netlink.replace_route(Route {
        dst: default_route(interface.gateway),
        via: Some(interface.gateway),
        ifindex: eth0.index,
        src: None,
        mtu: None,
    })?;
    Ok(tap)
}

/// Waits until `eth0`, whose carrier is on, is ready to send. The kernel does that in the background; what
/// a program sends before, such as the first ARP request, is thrown away and sent again a second later.
pub(crate) fn wait_until_ready(netns: &Netns, device: &str) -> Result<(), NetworkError> {
    netns.run(|| {
        let mut netlink = Netlink::open()?;
        let began = Instant::now();
        while !netlink.link_by_name(device)?.operational {
            if began.elapsed() > READY_LIMIT {
                return Err(NetworkError::NotReady(device.to_owned()));
            }
            std::thread::sleep(READY_POLL);
        }
        Ok(())
    })?
}

fn default_route(gateway: IpAddr) -> IpNet {
    match gateway {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// Gives the pod's interface another MTU; done if it, or the namespace, is gone.
pub(crate) fn set_mtu(record: &PodRecord, ip_mtu: u16) -> Result<(), NetworkError> {
    let Some(netns) = place::open(record)? else { return Ok(()) };
    netns.run(|| {
        let mut netlink = Netlink::open()?;
        match netlink.find_link(place::device(record))? {
            Some(link) => Ok(netlink.set_mtu(link.index, ip_mtu.into())?),
            None => Ok(()),
        }
    })?
}

/// Removes the pod's interface, for when no descriptor of it is left here; done if it, or the namespace, is gone.
pub(crate) fn delete_device(record: &PodRecord) -> Result<(), NetworkError> {
    let Some(netns) = place::open(record)? else { return Ok(()) };
    netns.run(|| {
        let mut netlink = Netlink::open()?;
        match netlink.find_link(place::device(record))? {
            Some(link) if link.kind.as_deref() == Some("tun") => Ok(netlink.delete_link(link.index)?),
            Some(_) | None => Ok(()),
        }
    })?
}

/// Takes the namespace's name away; done if it is gone.
pub(crate) fn delete_netns(name: &str) -> Result<(), NetworkError> {
    match netns::delete(name) {
        Err(netns::NetnsError::NotFound { .. }) | Ok(()) => Ok(()),
        Err(other) => Err(other.into()),
    }
}
