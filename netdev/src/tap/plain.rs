//! A TAP without virtio-net header, made by the `tun-tap` crate: bare frames, no offload.
//!
//! The crate neither sets `O_NONBLOCK` nor takes over descriptors, so its descriptor is
//! duplicated and used directly; both share one open file, and with it the device.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd;
use protocol::Offloads;
use tun_tap::{Iface, Mode};

use super::{TapError, TapOptions};
use crate::device::{Device, DeviceError, Sent, VNET_HDR_LEN, received, sent};
use crate::netns::Netns;
use crate::sys;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is for the device to complete.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_ECN`, a modifier rather than a kind of segmentation.
const GSO_ECN: u8 = 0x80;

/// See the [module](super).
#[derive(Debug)]
pub struct PlainTap {
    fd: OwnedFd,
    name: Arc<str>,
}

impl PlainTap {
    /// Makes a new device in the calling thread's namespace: down, configured, carrier on.
    pub fn create(options: &TapOptions) -> Result<Self, TapError> {
        super::check_name(&options.name)?;
        // tun-tap cannot pass IFF_TUN_EXCL. Between this question and the creation only somebody
        // else with CAP_NET_ADMIN in this namespace could get in.
        if super::interface_exists(&options.name)? {
            return Err(TapError::Exists { name: options.name.clone() });
        }
        let tap = Self::open(options)?;
        super::configure(options)?;
        if options.persistent {
            tap.set_persistent(true)?;
        }
        Ok(tap)
    }

    /// Attaches to an existing device of the calling thread's namespace, which loses its
    /// virtio-net header and offloads if it had any. MTU, addresses and link state stay.
    pub fn attach(options: &TapOptions) -> Result<Self, TapError> {
        super::check_name(&options.name)?;
        if !super::interface_exists(&options.name)? {
            return Err(TapError::NotFound { name: options.name.clone() });
        }
        Self::open(options)
    }

    /// Takes over a descriptor made by another process.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        let name = super::name_of(fd.as_fd()).into();
        Self { fd, name }
    }

    fn open(options: &TapOptions) -> Result<Self, TapError> {
        let name = &options.name;
        if options.multi_queue {
            return Err(TapError::refused(name, "tun-tap makes no multi-queue device", Errno::EINVAL.into()));
        }
        // The crate's error does not say which step failed; this one is the open.
        drop(super::open_tun(name)?);
        let iface = Iface::without_packet_info(name, Mode::Tap)
            .map_err(|source| super::interface_error(name, source))?;
        let fd = duplicate(&iface).map_err(|source| TapError::refused(name, "dup", source.into()))?;
        drop(iface);
        // The mask is device-wide and sticks: a device that once was a `VnetTap` would go on
        // handing out superframes with partial checksums.
        sys::tun::set_offload(fd.as_fd(), Offloads::NONE.0)
            .map_err(|source| TapError::refused(name, "TUNSETOFFLOAD", source))?;
        Ok(Self { fd, name: name.as_str().into() })
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

/// A close-on-exec, non-blocking descriptor of the same open file.
fn duplicate(iface: &Iface) -> nix::Result<OwnedFd> {
    let fd = sys::fd::duplicate(iface.as_raw_fd())?;
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(fd)
}

impl Device for PlainTap {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        (&*self).recv(buf)
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        (&*self).send(frame)
    }

    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }
}

/// The kernel keeps frames whole, whoever reads and writes at the same time.
impl Device for &PlainTap {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        let Some((header, frame)) = buf.split_at_mut_checked(VNET_HDR_LEN) else {
            return Err(DeviceError::from_tap(&self.name, Errno::EINVAL));
        };
        header.fill(0);
        received(|| unistd::read(&self.fd, frame))
            .map(|len| len.map(|len| VNET_HDR_LEN + len))
            .map_err(|errno| DeviceError::from_tap(&self.name, errno))
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        // The header cannot be passed on, so a frame that depends on it must not go out.
        let bare = match frame.split_at_checked(VNET_HDR_LEN) {
            Some((&[flags, gso_type, ..], bare)) if flags & NEEDS_CSUM == 0 && gso_type & !GSO_ECN == 0 => {
                bare
            }
            _ => return Err(DeviceError::from_tap(&self.name, Errno::EINVAL)),
        };
        sent(|| unistd::write(&self.fd, bare)).map_err(|errno| DeviceError::from_tap(&self.name, errno))
    }

    fn offloads(&self) -> Offloads {
        (**self).offloads()
    }
}

impl AsFd for PlainTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PlainTap {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<PlainTap> for OwnedFd {
    fn from(tap: PlainTap) -> Self {
        tap.fd
    }
}
