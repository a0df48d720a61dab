//! A TAP whose frames carry a 12-byte `virtio_net_hdr_v1`, so that superframes of up to 64 KiB
//! with partial checksums pass whole.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd;
use protocol::Offloads;

use super::{TapError, TapOptions};
use crate::device::{Device, DeviceError, Sent, VNET_HDR_LEN, received, sent};
use crate::netns::Netns;
use crate::sys;

/// Offload sets in the order they are tried. USO came with Linux 6.2; the kernel takes it, and
/// TSO, only together with partial checksums.
const OFFLOAD_LADDER: [Offloads; 4] = [
    Offloads::CSUM.union(Offloads::TSO4).union(Offloads::TSO6).union(Offloads::USO4).union(Offloads::USO6),
    Offloads::CSUM.union(Offloads::TSO4).union(Offloads::TSO6),
    Offloads::CSUM,
    Offloads::NONE,
];

/// See the [module](super).
#[derive(Debug)]
pub struct VnetTap {
    fd: OwnedFd,
    name: Arc<str>,
    offloads: Offloads,
}

impl VnetTap {
    /// Makes a new device in the calling thread's namespace: down, configured, carrier on.
    pub fn create(options: &TapOptions) -> Result<Self, TapError> {
        // IFF_TUN_EXCL makes the kernel say EBUSY instead of attaching to what is there.
        let tap = Self::open(options, libc::IFF_TUN_EXCL).map_err(|error| match error {
            TapError::Busy { name, .. } => TapError::Exists { name },
            other => other,
        })?;
        // Not persistent before it is complete: an error on the way removes the device again.
        super::configure(options)?;
        if options.persistent {
            tap.set_persistent(true)?;
        }
        Ok(tap)
    }

    /// Attaches to an existing device of the calling thread's namespace. Of `options` only name
    /// and queue mode count: MTU, addresses and link state stay as they are.
    pub fn attach(options: &TapOptions) -> Result<Self, TapError> {
        super::check_name(&options.name)?;
        if !super::interface_exists(&options.name)? {
            return Err(TapError::NotFound { name: options.name.clone() });
        }
        Self::open(options, 0)
    }

    /// Takes over a descriptor made by another process, with what that process found out.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, offloads: Offloads) -> Self {
        let name = super::name_of(fd.as_fd()).into();
        Self { fd, name, offloads }
    }

    fn open(options: &TapOptions, extra_flags: libc::c_int) -> Result<Self, TapError> {
        let name = &options.name;
        super::check_name(name)?;
        let fd = OwnedFd::from(super::open_tun(name)?);
        let queues = if options.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | queues | extra_flags;
        sys::tun::set_interface(fd.as_fd(), name, flags)
            .map_err(|source| super::interface_error(name, source))?;
        let header_len = libc::c_int::try_from(VNET_HDR_LEN).unwrap_or(libc::c_int::MAX);
        sys::tun::set_vnet_header_len(fd.as_fd(), header_len)
            .map_err(|source| TapError::refused(name, "12-byte vnet header", source))?;
        let offloads = probe_offloads(fd.as_fd(), name)?;
        Ok(Self { fd, name: name.as_str().into(), offloads })
    }

    /// Interface name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Plugs the cable in or out. Attaching plugs it in.
    pub fn set_carrier(&self, on: bool) -> Result<(), TapError> {
        super::set_carrier(self.as_fd(), &self.name, on)
    }

    /// Lets the device outlive its last descriptor, or not.
    pub fn set_persistent(&self, on: bool) -> Result<(), TapError> {
        super::set_persistent(self.as_fd(), &self.name, on)
    }

    /// The namespace the device is in.
    pub fn netns(&self) -> Result<Netns, TapError> {
        super::device_netns(self.as_fd(), &self.name)
    }
}

/// The largest set of offloads the kernel takes.
fn probe_offloads(fd: BorrowedFd<'_>, name: &str) -> Result<Offloads, TapError> {
    let mut last = None;
    for offloads in OFFLOAD_LADDER {
        match sys::tun::set_offload(fd, offloads.0) {
            Ok(()) => return Ok(offloads),
            Err(source) => last = Some(source),
        }
    }
    let source = last.unwrap_or_else(|| Errno::EINVAL.into());
    Err(TapError::refused(name, "TUNSETOFFLOAD", source))
}

impl Device for VnetTap {
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
impl Device for &VnetTap {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        // Older kernels fill the 10 bytes of the legacy header and skip `num_buffers` (6.18 zeroes
        // it); without this the field would hold whatever the buffer held before.
        if let Some(num_buffers) = buf.get_mut(10..VNET_HDR_LEN) {
            num_buffers.fill(0);
        }
        received(|| unistd::read(&self.fd, buf)).map_err(|errno| DeviceError::from_tap(&self.name, errno))
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        sent(|| unistd::write(&self.fd, frame)).map_err(|errno| DeviceError::from_tap(&self.name, errno))
    }

    fn offloads(&self) -> Offloads {
        (**self).offloads()
    }
}

impl AsFd for VnetTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for VnetTap {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<VnetTap> for OwnedFd {
    fn from(tap: VnetTap) -> Self {
        tap.fd
    }
}
