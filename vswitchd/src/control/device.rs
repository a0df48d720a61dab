//! The descriptors of a port, as this process keeps them whatever becomes of the datapath.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netdev::{PacketSocket, Tap, UdpTunnel};
use protocol::link::{DeviceKind, PortConfig};

/// A port's device.
#[derive(Debug)]
pub(crate) enum Held {
    /// A pod's `eth0`, or the gateway.
    Tap(Tap),
    /// Sockets that carry VXLAN.
    Tunnel(UdpTunnel),
    /// On the node's own interface.
    Uplink(PacketSocket),
}

impl Held {
    /// What the descriptors of the port `config` are; `None` if they are not as many as it has.
    pub(crate) fn from_fds(config: &PortConfig, mut fds: Vec<OwnedFd>) -> Option<Self> {
        match config.device {
            DeviceKind::VnetTap | DeviceKind::PlainTap => {
                let fd = fds.pop().filter(|_| fds.is_empty())?;
                Some(Self::Tap(Tap::from_fd(config.device, fd, config.offloads)))
            }
            DeviceKind::UdpTunnel => UdpTunnel::from_fds(fds).map(Self::Tunnel),
            DeviceKind::PacketSocket => {
                let fd = fds.pop().filter(|_| fds.is_empty())?;
                Some(Self::Uplink(PacketSocket::from_fd(fd, config.offloads)))
            }
        }
    }

    /// In the order in which they are passed on.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Tap(tap) => vec![tap.as_fd()],
            Self::Tunnel(tunnel) => tunnel.fds().collect(),
            Self::Uplink(socket) => vec![socket.as_fd()],
        }
    }

    pub(crate) const fn tap(&self) -> Option<&Tap> {
        match self {
            Self::Tap(tap) => Some(tap),
            Self::Tunnel(_) | Self::Uplink(_) => None,
        }
    }

    pub(crate) const fn uplink(&self) -> Option<&PacketSocket> {
        match self {
            Self::Uplink(socket) => Some(socket),
            Self::Tap(_) | Self::Tunnel(_) => None,
        }
    }

    pub(crate) const fn tunnel(&self) -> Option<&UdpTunnel> {
        match self {
            Self::Tap(_) | Self::Uplink(_) => None,
            Self::Tunnel(tunnel) => Some(tunnel),
        }
    }
}

impl From<Tap> for Held {
    fn from(tap: Tap) -> Self {
        Self::Tap(tap)
    }
}

impl From<UdpTunnel> for Held {
    fn from(tunnel: UdpTunnel) -> Self {
        Self::Tunnel(tunnel)
    }
}

impl From<PacketSocket> for Held {
    fn from(socket: PacketSocket) -> Self {
        Self::Uplink(socket)
    }
}
