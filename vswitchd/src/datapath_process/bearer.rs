//! What is behind a port: a pod's or the node's TAP, or the sockets of the tunnel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use netdev::{Tap, UdpTunnel};
use protocol::link::{DeviceKind, PortConfig};

/// See the module.
#[derive(Debug)]
pub(super) enum Bearer {
    Tap(Tap),
    Tunnel(UdpTunnel),
}

impl Bearer {
    /// Takes over the descriptors of a port, of which there are [`DeviceKind::descriptors`]; `None` if
    /// there are not.
    pub(super) fn from_fds(config: &PortConfig, mut fds: Vec<OwnedFd>) -> Option<Self> {
        match config.device {
            kind @ (DeviceKind::VnetTap | DeviceKind::PlainTap) => {
                let fd = fds.pop().filter(|_| fds.is_empty())?;
                Some(Self::Tap(Tap::from_fd(kind, fd, config.offloads)))
            }
            DeviceKind::UdpTunnel => UdpTunnel::from_fds(fds).map(Self::Tunnel),
            DeviceKind::PacketSocket => None,
        }
    }

    /// Duplicates of the descriptors, in the order they came in.
    pub(super) fn duplicate_fds(&self) -> io::Result<Vec<OwnedFd>> {
        match self {
            Self::Tap(tap) => Ok(vec![tap.as_fd().try_clone_to_owned()?]),
            Self::Tunnel(tunnel) => tunnel.duplicate_fds(),
        }
    }
}

impl AsRawFd for Bearer {
    /// The one to poll.
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tap(tap) => tap.as_raw_fd(),
            Self::Tunnel(tunnel) => tunnel.as_raw_fd(),
        }
    }
}
