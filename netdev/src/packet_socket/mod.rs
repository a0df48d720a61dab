//! The switch's hold on the node's own interface: an `AF_PACKET` socket beside the kernel's stack.
//!
//! # How it works
//!
//! The socket gets a copy of what a [`PacketFilter`] passes of the frames that arrive, superframes whole, and what is written
//! to it leaves as if the node had sent it. `PACKET_VNET_HDR` puts the kernel's 10-byte virtio header before each frame; the
//! 12 bytes of [`Device`] are made of it by scattering around `num_buffers` (`PACKET_VNET_HDR_SZ`, which would
//! do the same, came with Linux 6.4). What the interface cannot segment or checksum, the kernel does on the way out.
//!
//! Bound to all protocols, so that it sees frames before the `ingress` hook of nftables does: what is hidden from the
//! node's stack there is seen here. What is sent, by us or by the node, never comes back (`PACKET_IGNORE_OUTGOING`).
//!
//! A socket outlives its interface: it then fails once with `ENETDOWN`, and is bound to nothing. An interface that
//! only goes down gives its frames to the same socket again later.

mod filter;

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::uio::{readv, writev};
use protocol::Offloads;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::buffers;
use crate::device::{Device, DeviceError, Sent, VNET_HDR_LEN, received, sent};
use crate::sys;
use crate::sys::udp::set_option;

pub use filter::PacketFilter;

/// `struct virtio_net_hdr`, which lacks the `num_buffers` of its successor.
const KERNEL_HDR_LEN: usize = 10;

/// Segmentation of UDP by a virtio header came with Linux 6.2.
const USO_SINCE: (u32, u32) = (6, 2);

/// Why there is no socket, or not as it should be.
#[derive(Debug, thiserror::Error)]
#[error("packet socket on {device}: cannot {step}")]
pub struct PacketSocketError {
    /// Interface.
    pub device: Arc<str>,
    /// What was tried.
    pub step: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// See the module.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    name: Arc<str>,
    offloads: Offloads,
}

impl PacketSocket {
    /// Opens a socket on interface `ifindex` of the calling thread's namespace, called `name` in messages.
    ///
    /// # Errors
    /// Names the step: there is no such interface, or it may not be used (`CAP_NET_RAW`), or an option is unknown.
    pub fn open(name: &str, ifindex: u32, filter: &PacketFilter) -> Result<Self, PacketSocketError> {
        let name: Arc<str> = name.into();
        let failed = |step| {
            let device = Arc::clone(&name);
            move |source| PacketSocketError { device, step, source }
        };
        // Protocol 0 receives nothing until it is bound, by when the filter is there.
        let kind = Type::RAW.cloexec().nonblocking();
        let socket =
            Socket::new(Domain::PACKET, kind, Some(Protocol::from(0))).map_err(failed("open a socket"))?;
        let fd = socket.as_fd();
        buffers::enlarge(fd).map_err(failed("set the buffer size"))?;
        for (option, step) in [
            (libc::PACKET_VNET_HDR, "ask for virtio headers"),
            (libc::PACKET_IGNORE_OUTGOING, "leave out what is sent"),
        ] {
            set_option(fd, libc::SOL_PACKET, option, 1).map_err(failed(step))?;
        }
        attach(fd, filter).map_err(failed("attach the filter"))?;
        sys::packet::bind(fd, ifindex).map_err(failed("bind"))?;
        // Of an interface that is down this is said at once; it may come up.
        let _ = socket.take_error();
        Ok(Self { fd: socket.into(), name, offloads: offloads() })
    }

    /// Takes over a descriptor made by another process, with what that process found out.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, offloads: Offloads) -> Self {
        let name = match bound_to(fd.as_fd()) {
            Some(index) => format!("interface {index}"),
            None => format!("(descriptor {})", fd.as_raw_fd()),
        };
        Self { fd, name: name.into(), offloads }
    }

    /// Has other frames passed from now on, without a gap.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn set_filter(&self, filter: &PacketFilter) -> Result<(), PacketSocketError> {
        let device = Arc::clone(&self.name);
        attach(self.as_fd(), filter).map_err(|source| PacketSocketError {
            device,
            step: "attach the filter",
            source,
        })
    }

    /// Number of its interface; `None` once that is gone.
    #[must_use]
    pub fn ifindex(&self) -> Option<u32> {
        bound_to(self.as_fd())
    }

    /// For messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `errno` from the socket means (`net/packet/af_packet.c`). Allocates nothing.
    fn error(&self, errno: Errno) -> DeviceError {
        let device = Arc::clone(&self.name);
        let source = io::Error::from(errno);
        match errno {
            Errno::ENODEV | Errno::ENXIO => DeviceError::Gone { device, source },
            // Said once, when an interface goes down and when it goes away.
            Errno::ENETDOWN if self.ifindex().is_none() => DeviceError::Gone { device, source },
            Errno::ENETDOWN => DeviceError::Down { device, source },
            // A virtio header the kernel does not believe, or more than the MTU.
            Errno::EINVAL | Errno::EMSGSIZE => DeviceError::Refused { device, source },
            _ => DeviceError::Io { device, source },
        }
    }
}

fn attach(socket: BorrowedFd<'_>, filter: &PacketFilter) -> io::Result<()> {
    let code = |code: u32| u16::try_from(code).unwrap_or(u16::MAX);
    let program: Vec<SockFilter> = filter
        .compile()
        .into_iter()
        .map(|i| SockFilter::new(code(i.code), i.if_true, i.if_false, i.operand))
        .collect();
    SockRef::from(&socket).attach_filter(&program)
}

fn bound_to(socket: BorrowedFd<'_>) -> Option<u32> {
    sys::packet::bound_to(socket).ok().filter(|index| *index > 0).map(i32::cast_unsigned)
}

/// What the kernel does with superframes given to it, by itself where the interface cannot.
fn offloads() -> Offloads {
    let offloads = Offloads::CSUM.union(Offloads::TSO4).union(Offloads::TSO6);
    let release = nix::sys::utsname::uname().ok();
    let version = release.as_ref().and_then(|name| kernel_version(name.release().to_str()?));
    if version.is_some_and(|version| version >= USO_SINCE) {
        offloads.union(Offloads::USO4).union(Offloads::USO6)
    } else {
        offloads
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

impl Device for PacketSocket {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        (&*self).recv(buf)
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        (&*self).send(frame)
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }
}

/// The kernel keeps frames whole, whoever reads and writes at the same time.
impl Device for &PacketSocket {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        let parts = buf.split_at_mut_checked(VNET_HDR_LEN);
        let Some(((header, num_buffers), frame)) =
            parts.and_then(|(header, frame)| Some((header.split_at_mut_checked(KERNEL_HDR_LEN)?, frame)))
        else {
            return Err(self.error(Errno::EINVAL));
        };
        num_buffers.fill(0);
        match received(|| readv(&self.fd, &mut [IoSliceMut::new(&mut *header), IoSliceMut::new(&mut *frame)]))
        {
            Ok(len) => Ok(len.map(|len| VNET_HDR_LEN + len.saturating_sub(KERNEL_HDR_LEN))),
            // A superframe of a kind that this kernel has no virtio header for (UDP before 6.2). It is lost, but
            // not the one behind it; an empty frame stands for it, so that it is counted.
            Err(Errno::EINVAL) => {
                header.fill(0);
                Ok(Some(VNET_HDR_LEN))
            }
            Err(errno) => Err(self.error(errno)),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        let Some((header, bare)) = frame.split_at_checked(VNET_HDR_LEN) else {
            return Err(self.error(Errno::EINVAL));
        };
        let header = header.get(..KERNEL_HDR_LEN).unwrap_or_default();
        sent(|| writev(&self.fd, &[IoSlice::new(header), IoSlice::new(bare)]))
            .map_err(|errno| self.error(errno))
    }

    fn offloads(&self) -> Offloads {
        (**self).offloads()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_release_begins_with_its_version() {
        assert_eq!(kernel_version("6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(kernel_version("7.0"), Some((7, 0)));
        assert_eq!(kernel_version("rolling"), None);
        assert!((6, 18) > USO_SINCE && (6, 1) < USO_SINCE);
    }
}
