//! The node's end of the tunnel: sockets on its underlay address, one set per worker.
//!
//! [`refresh`] makes them be what configuration and underlay ask for, whatever there was before: sockets
//! that an earlier control process made and the datapath has kept are taken over, those of another
//! address, port or number of workers are made anew, and what is as it should be is left alone. So it is
//! called at the start, after each change of the node's network, and after SIGHUP.

use std::net::SocketAddrV4;

use netdev::netlink::NetlinkError;
use netdev::{UdpTunnel, UdpTunnelError, UdpTunnelOptions};
use protocol::link::TunnelConfig;
use protocol::{Offloads, PortId};
use store::desired::{MAX_WORKERS, TunnelFacts, tunnel_port};

use super::node::Control;
use super::underlay;
use crate::config::{Tunnel, Underlay as Choice};

/// Why the node has no way to others.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    #[error(
        "the node has no default route whose interface could carry the tunnel; set tunnel.address or tunnel.device"
    )]
    NoDefaultRoute,
    #[error("tunnel.device: interface {0} does not exist, or has no IPv4 address")]
    NoDevice(String),
    #[error("tunnel.address: no interface has the address {0}")]
    NoAddress(std::net::Ipv4Addr),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Sockets(#[from] UdpTunnelError),
}

/// What is configured, and what is wrong with it just now.
#[derive(Debug, Default)]
pub(crate) struct TunnelState {
    pub(crate) configured: Option<Tunnel>,
    pub(crate) problem: Option<String>,
}

/// Makes the tunnel as it should be, for the datapath's next sync. A failure leaves the tunnel as it was.
pub(crate) fn refresh(control: &Control) -> Result<(), TunnelError> {
    let mut state = control.tunnel.lock();
    let result = match &state.configured {
        Some(tunnel) => open(control, tunnel),
        None => {
            close(control);
            Ok(())
        }
    };
    state.problem = result.as_ref().err().map(|error| super::error::chain(error));
    result
}

fn close(control: &Control) {
    control.switch.set_tunnel(None);
    for port in (0..MAX_WORKERS).map(tunnel_port) {
        drop(control.switch.take_device(port));
    }
}

fn open(control: &Control, tunnel: &Tunnel) -> Result<(), TunnelError> {
    let underlay = underlay::find(&tunnel.underlay)?.ok_or_else(|| match &tunnel.underlay {
        Choice::DefaultRoute => TunnelError::NoDefaultRoute,
        Choice::Device(name) => TunnelError::NoDevice(name.clone()),
        Choice::Address(address) => TunnelError::NoAddress(*address),
    })?;
    let workers = control.workers();
    let wanted = SocketAddrV4::new(underlay.address, tunnel.udp_port);
    if !is_open(control, wanted, workers) {
        let options =
            UdpTunnelOptions { address: underlay.address, port: tunnel.udp_port, reuse_port: workers > 1 };
        replace(control, &options, workers)?;
        tracing::info!(%wanted, device = underlay.device, workers, "tunnel opened");
    }
    control.switch.set_tunnel(Some(TunnelFacts {
        config: TunnelConfig {
            vni: tunnel.vni,
            address: underlay.address,
            udp_port: tunnel.udp_port,
            underlay_mtu: underlay.ip_mtu,
            clamp_mss: tunnel.clamp_mss,
        },
        workers,
        offloads: Offloads::NONE,
    }));
    Ok(())
}

/// Each worker has sockets at `wanted`, and nobody else has any.
fn is_open(control: &Control, wanted: SocketAddrV4, workers: u8) -> bool {
    (0..MAX_WORKERS).all(|worker| {
        let address = control.switch.with_tunnel(tunnel_port(worker), UdpTunnel::local_address);
        match address {
            Some(Ok(address)) => worker < workers && address == wanted,
            Some(Err(_)) => false,
            None => worker >= workers,
        }
    })
}

/// Opens all before it gives any up, unless the old ones are in the way.
fn replace(control: &Control, options: &UdpTunnelOptions, workers: u8) -> Result<(), TunnelError> {
    let bind = || (0..workers).map(|_| UdpTunnel::bind(options)).collect::<Result<Vec<_>, _>>();
    let tunnels = match bind() {
        Err(error) if error.source.kind() == std::io::ErrorKind::AddrInUse && is_ours(control, options) => {
            // Another number of workers at the same address.
            close(control);
            control.sync();
            bind()?
        }
        other => other?,
    };
    let ports: Vec<PortId> = (0..MAX_WORKERS).map(tunnel_port).collect();
    let mut tunnels = tunnels.into_iter();
    for port in ports {
        drop(control.switch.take_device(port));
        if let Some(tunnel) = tunnels.next() {
            control.switch.add_device(port, tunnel);
        }
    }
    Ok(())
}

/// We hold the address and port ourselves.
fn is_ours(control: &Control, options: &UdpTunnelOptions) -> bool {
    let wanted = SocketAddrV4::new(options.address, options.port);
    let held = |worker| control.switch.with_tunnel(tunnel_port(worker), UdpTunnel::local_address);
    (0..MAX_WORKERS).filter_map(held).any(|address| address.is_ok_and(|address| address == wanted))
}

/// [`refresh`] where a failure is to be shown, not returned.
pub(crate) fn follow(control: &Control) {
    let before = control.tunnel.lock().problem.clone();
    if let Err(error) = refresh(control)
        && control.tunnel.lock().problem != before
    {
        tracing::error!("tunnel: {}", super::error::chain(&error));
    }
}
