//! TAP devices: the switch's end of a pod's `eth0` and of the gateway `vpod0`.
//!
//! [`VnetTap`] is what vpod uses; [`PlainTap`] is the fallback where the kernel refuses the
//! virtio-net header, and the baseline of benchmarks. [`Tap`] is either.
//!
//! The device appears in the namespace in which `/dev/net/tun` is *opened*: that of the calling
//! thread, so callers wrap creation in [`crate::Netns::run`]. The descriptor then works from any
//! thread and pins that namespace: a namespace deleted by name lives on until the last descriptor
//! of a TAP made inside it is closed.
//!
//! Kernel facts the code relies on, each proved in `tests/tap.rs` and `tests/tap_frames.rs` (`drivers/net/tun.c`, 6.18):
//! - the offload mask belongs to the device and survives a re-attach, so every attach sets it;
//! - attaching with other flags *changes* the device's header mode;
//! - a second attach to a single-queue device is EBUSY; other queue flags are EINVAL.

mod plain;
mod vnet;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use protocol::link::DeviceKind;
use protocol::{Mac, Offloads};

use crate::device::{Device, DeviceError, Sent};
use crate::netlink::{LinkChange, Netlink, NetlinkError};
use crate::netns::Netns;
use crate::sys;

pub use plain::PlainTap;
pub use vnet::VnetTap;

/// Where TAP devices come from.
const TUN_PATH: &str = "/dev/net/tun";

/// How a TAP is made. Whoever creates one sets carrier and link state afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapOptions {
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// Largest IP packet.
    pub ip_mtu: u16,
    /// Address of the interface.
    pub mac: Mac,
    /// Frames the kernel holds for us; the rest is dropped and counted as `tx_dropped`.
    pub txqueuelen: u32,
    /// Outlives its last descriptor.
    pub persistent: bool,
    /// Takes more than one descriptor. A device keeps the mode it was created with.
    pub multi_queue: bool,
}

/// Why there is no TAP.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// `/dev/net/tun` does not exist or has no driver.
    #[error("cannot open TAP {name}: /dev/net/tun is not available (load the \"tun\" module)")]
    NoDriver {
        /// Wanted interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// `/dev/net/tun` or the device is not ours to use.
    #[error("cannot open TAP {name}: not permitted (needs CAP_NET_ADMIN and access to /dev/net/tun)")]
    NotPermitted {
        /// Wanted interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not a name an interface can have.
    #[error("\"{name}\" is not an interface name: want 1 to 15 bytes without '/', ':' or white space")]
    BadName {
        /// What was given.
        name: String,
    },
    /// An interface of that name exists.
    #[error("interface {name} exists already")]
    Exists {
        /// Wanted interface.
        name: String,
    },
    /// There is no interface of that name to attach to.
    #[error("there is no interface {name} to attach to")]
    NotFound {
        /// Wanted interface.
        name: String,
    },
    /// Another descriptor holds the single-queue device.
    /// May pass: a child between fork and exec holds a copy of every descriptor for a moment.
    #[error("TAP {name} is in use by another process")]
    Busy {
        /// Wanted interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refuses one step.
    #[error("kernel refuses TAP {name}: {step}")]
    Refused {
        /// Wanted interface.
        name: String,
        /// Which step.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// MTU, address or queue length could not be set.
    #[error("cannot configure TAP {name}")]
    Configure {
        /// Wanted interface.
        name: String,
        /// What the kernel said.
        source: NetlinkError,
    },
}

impl TapError {
    /// The kernel does not offer what [`VnetTap`] needs, so [`PlainTap`] is worth a try.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    fn refused(name: &str, step: &'static str, source: io::Error) -> Self {
        Self::Refused { name: name.to_owned(), step, source }
    }
}

/// A TAP of either kind.
#[derive(Debug)]
pub enum Tap {
    /// With virtio-net header and offloads.
    Vnet(VnetTap),
    /// Bare frames.
    Plain(PlainTap),
}

impl Tap {
    /// Creates the best device this kernel supports.
    pub fn create_best(options: &TapOptions) -> Result<Self, TapError> {
        match VnetTap::create(options) {
            Ok(tap) => Ok(Self::Vnet(tap)),
            Err(refused) if refused.is_unsupported() => PlainTap::create(options).map(Self::Plain),
            Err(other) => Err(other),
        }
    }

    /// Attaches to an existing device as what it was created as.
    pub fn attach(kind: DeviceKind, options: &TapOptions) -> Result<Self, TapError> {
        match kind {
            DeviceKind::VnetTap => VnetTap::attach(options).map(Self::Vnet),
            DeviceKind::PlainTap => PlainTap::attach(options).map(Self::Plain),
            DeviceKind::UdpTunnel | DeviceKind::PacketSocket => {
                let source = io::ErrorKind::InvalidInput.into();
                Err(TapError::refused(&options.name, "a tunnel's sockets are no TAP", source))
            }
        }
    }

    /// Takes over a descriptor another process made. A tunnel's belong to
    /// [`UdpTunnel::from_fds`](crate::UdpTunnel::from_fds); as a TAP they fail at the first read.
    #[must_use]
    pub fn from_fd(kind: DeviceKind, fd: OwnedFd, offloads: Offloads) -> Self {
        match kind {
            DeviceKind::VnetTap => Self::Vnet(VnetTap::from_fd(fd, offloads)),
            DeviceKind::PlainTap | DeviceKind::UdpTunnel | DeviceKind::PacketSocket => {
                Self::Plain(PlainTap::from_fd(fd))
            }
        }
    }

    /// Which of the two it is.
    #[must_use]
    pub fn device_kind(&self) -> DeviceKind {
        match self {
            Self::Vnet(_) => DeviceKind::VnetTap,
            Self::Plain(_) => DeviceKind::PlainTap,
        }
    }

    /// Interface name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Vnet(tap) => tap.name(),
            Self::Plain(tap) => tap.name(),
        }
    }

    /// Plugs the cable in or out.
    pub fn set_carrier(&self, on: bool) -> Result<(), TapError> {
        set_carrier(self.as_fd(), self.name(), on)
    }

    /// Lets the device outlive its last descriptor, or not.
    pub fn set_persistent(&self, on: bool) -> Result<(), TapError> {
        set_persistent(self.as_fd(), self.name(), on)
    }

    /// The namespace the device is in.
    pub fn netns(&self) -> Result<Netns, TapError> {
        device_netns(self.as_fd(), self.name())
    }
}

impl Device for Tap {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        (&*self).recv(buf)
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        (&*self).send(frame)
    }

    fn offloads(&self) -> Offloads {
        match self {
            Self::Vnet(tap) => tap.offloads(),
            Self::Plain(tap) => tap.offloads(),
        }
    }
}

/// Several threads may share a TAP, as they may a [`std::fs::File`].
impl Device for &Tap {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        match *self {
            Tap::Vnet(tap) => (&mut &*tap).recv(buf),
            Tap::Plain(tap) => (&mut &*tap).recv(buf),
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        match *self {
            Tap::Vnet(tap) => (&mut &*tap).send(frame),
            Tap::Plain(tap) => (&mut &*tap).send(frame),
        }
    }

    fn offloads(&self) -> Offloads {
        (**self).offloads()
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Vnet(tap) => tap.as_fd(),
            Self::Plain(tap) => tap.as_fd(),
        }
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl From<Tap> for OwnedFd {
    fn from(tap: Tap) -> Self {
        match tap {
            Tap::Vnet(tap) => tap.into(),
            Tap::Plain(tap) => tap.into(),
        }
    }
}

impl From<VnetTap> for Tap {
    fn from(tap: VnetTap) -> Self {
        Self::Vnet(tap)
    }
}

impl From<PlainTap> for Tap {
    fn from(tap: PlainTap) -> Self {
        Self::Plain(tap)
    }
}

fn open_tun(name: &str) -> Result<File, TapError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(TUN_PATH)
        .map_err(|source| open_error(name, source))
}

/// What a failed open of `/dev/net/tun` means.
fn open_error(name: &str, source: io::Error) -> TapError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::ENOTDIR) => {
            TapError::NoDriver { name, source }
        }
        Some(libc::EACCES | libc::EPERM) => TapError::NotPermitted { name, source },
        _ => TapError::refused(&name, "opening /dev/net/tun", source),
    }
}

/// What a failed `TUNSETIFF` means.
fn interface_error(name: &str, source: io::Error) -> TapError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TapError::NotPermitted { name, source },
        Some(libc::EBUSY) => TapError::Busy { name, source },
        Some(libc::EEXIST) => TapError::Exists { name },
        _ => TapError::refused(&name, "TUNSETIFF", source),
    }
}

/// As `dev_valid_name()` in `net/core/dev.c`; '%' would make the kernel pick a name.
fn check_name(name: &str) -> Result<(), TapError> {
    let valid = !name.is_empty()
        && name.len() <= sys::tun::NAME_MAX_LEN
        && name != "."
        && name != ".."
        && !name.bytes().any(|b| matches!(b, b'/' | b':' | b'%' | 0) || b.is_ascii_whitespace());
    if valid { Ok(()) } else { Err(TapError::BadName { name: name.to_owned() }) }
}

/// Sets what TUNSETIFF cannot, in one request.
fn configure(options: &TapOptions) -> Result<(), TapError> {
    let fail = |source| TapError::Configure { name: options.name.clone(), source };
    let mut netlink = Netlink::open().map_err(fail)?;
    let link = netlink.link_by_name(&options.name).map_err(fail)?;
    let change = LinkChange {
        mac: Some(options.mac),
        ip_mtu: Some(u32::from(options.ip_mtu)),
        txqueuelen: Some(options.txqueuelen),
        ..LinkChange::default()
    };
    netlink.change_link(link.index, &change).map_err(fail)
}

/// Whether an interface `name` exists here. TUNSETIFF would create a missing one.
fn interface_exists(name: &str) -> Result<bool, TapError> {
    let fail = |source| TapError::Configure { name: name.to_owned(), source };
    let mut netlink = Netlink::open().map_err(fail)?;
    Ok(netlink.find_link(name).map_err(fail)?.is_some())
}

fn set_carrier(fd: BorrowedFd<'_>, name: &str, on: bool) -> Result<(), TapError> {
    sys::tun::set_carrier(fd, on).map_err(|source| TapError::refused(name, "TUNSETCARRIER", source))
}

fn set_persistent(fd: BorrowedFd<'_>, name: &str, on: bool) -> Result<(), TapError> {
    sys::tun::set_persist(fd, on).map_err(|source| TapError::refused(name, "TUNSETPERSIST", source))
}

fn device_netns(fd: BorrowedFd<'_>, name: &str) -> Result<Netns, TapError> {
    sys::tun::device_netns(fd)
        .map(Netns::from)
        .map_err(|source| TapError::refused(name, "TUNGETDEVNETNS", source))
}

/// Name of the device behind a descriptor that came without one.
fn name_of(fd: BorrowedFd<'_>) -> String {
    // Without a device behind it the first read will say so.
    sys::tun::interface_name(fd).unwrap_or_else(|_| format!("(descriptor {})", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_driver_and_missing_permission_say_what_to_do() {
        let text = |errno| open_error("eth0", io::Error::from_raw_os_error(errno)).to_string();
        for errno in [libc::ENOENT, libc::ENODEV, libc::ENXIO] {
            assert_eq!(
                text(errno),
                "cannot open TAP eth0: /dev/net/tun is not available (load the \"tun\" module)"
            );
        }
        for errno in [libc::EACCES, libc::EPERM] {
            assert_eq!(
                text(errno),
                "cannot open TAP eth0: not permitted (needs CAP_NET_ADMIN and access to /dev/net/tun)"
            );
        }
    }

    #[test]
    fn only_a_refusal_is_a_reason_to_try_a_plain_device() {
        let error = |errno| interface_error("eth0", io::Error::from_raw_os_error(errno));
        assert!(error(libc::EINVAL).is_unsupported());
        for errno in [libc::EPERM, libc::EBUSY, libc::EEXIST] {
            assert!(!error(errno).is_unsupported(), "{errno}");
        }
        assert!(!open_error("eth0", io::Error::from_raw_os_error(libc::ENOENT)).is_unsupported());
    }
}
