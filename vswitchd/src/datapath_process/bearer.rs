//! What is behind a port: a pod's or the node's TAP, the sockets of the tunnel, or that on the node's interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use netdev::{Device, DeviceError, PacketSocket, Sent, Tap, UdpTunnel};
use protocol::link::{DeviceKind, PortConfig};

/// See the module.
#[derive(Debug)]
pub(super) enum Bearer {
    Tap(Tap),
    Tunnel(UdpTunnel),
    Uplink(PacketSocket),
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
            DeviceKind::PacketSocket => {
                let fd = fds.pop().filter(|_| fds.is_empty())?;
                Some(Self::Uplink(PacketSocket::from_fd(fd, config.offloads)))
            }
        }
    }

    /// Duplicates of the descriptors, in the order they came in.
    pub(super) fn duplicate_fds(&self) -> io::Result<Vec<OwnedFd>> {
        match self {
            Self::Tap(tap) => Ok(vec![tap.as_fd().try_clone_to_owned()?]),
            Self::Tunnel(tunnel) => tunnel.duplicate_fds(),
            Self::Uplink(socket) => Ok(vec![socket.as_fd().try_clone_to_owned()?]),
        }
    }

    /// The next frame, as [`Device::recv`]. A tunnel has datagrams instead, and so none.
    pub(super) fn recv(&self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        match self {
            Self::Tap(tap) => (&mut &*tap).recv(buf),
            Self::Uplink(socket) => (&mut &*socket).recv(buf),
            Self::Tunnel(_) => Ok(None),
        }
    }

    /// As [`Device::send`]; `None` for a tunnel, which takes trains only.
    pub(super) fn send(&self, frame: &[u8]) -> Option<Result<Sent, DeviceError>> {
        match self {
            Self::Tap(tap) => Some((&mut &*tap).send(frame)),
            Self::Uplink(socket) => Some((&mut &*socket).send(frame)),
            Self::Tunnel(_) => None,
        }
    }
}

impl AsRawFd for Bearer {
    /// The one to poll.
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tap(tap) => tap.as_raw_fd(),
            Self::Tunnel(tunnel) => tunnel.as_raw_fd(),
            Self::Uplink(socket) => socket.as_raw_fd(),
        }
    }
}
