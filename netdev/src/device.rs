//! What every device offers: whole frames in, whole frames out, never blocking.
//!
//! INVARIANT: what crosses this seam always starts with a 12-byte `virtio_net_hdr_v1` (virtio 1.2
//! §5.1.6.1, little-endian fields), followed by the Ethernet frame. A device without such headers
//! prepends zeroes, which say "complete checksums, no segmentation".

use std::io;
use std::sync::Arc;

use nix::errno::Errno;
use protocol::Offloads;

/// Length of `struct virtio_net_hdr_v1`: the 10 bytes of the legacy header and `num_buffers`.
pub const VNET_HDR_LEN: usize = 12;

/// Something frames come from and go to.
pub trait Device {
    /// Fills `buf` with the next frame and says how long it is, or `None` if none is waiting.
    /// `buf` should hold the largest superframe: what does not fit is cut off by the kernel.
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError>;

    /// Gives `frame` to the device. [`Sent::Full`] means it was not taken.
    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError>;

    /// What the device does with frames given to [`Device::send`].
    fn offloads(&self) -> Offloads;
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The device took it.
    Sent,
    /// No room or memory just now; the frame is still the caller's.
    Full,
}

/// Why a device did not take or give a frame. The variants are what a poll loop does about it.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device or its namespace was deleted. It never comes back on this descriptor, and a
    /// level-triggered poll would fire for ever: stop polling it.
    #[error("device {device} is gone")]
    Gone {
        /// Which.
        device: Arc<str>,
        /// What the kernel said.
        source: io::Error,
    },
    /// Administratively down: the frame is lost, the device may come up again.
    #[error("device {device} is down")]
    Down {
        /// Which.
        device: Arc<str>,
        /// What the kernel said.
        source: io::Error,
    },
    /// This frame is not acceptable; the next one may be.
    #[error("device {device} refused a frame")]
    Refused {
        /// Which.
        device: Arc<str>,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("device {device} failed")]
    Io {
        /// Which.
        device: Arc<str>,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Calls `read`, which asks the kernel for one frame, until it has said something: a length, or nothing there.
pub(crate) fn received(mut read: impl FnMut() -> nix::Result<usize>) -> nix::Result<Option<usize>> {
    loop {
        match read() {
            Ok(len) => return Ok(Some(len)),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Calls `write`, which gives the kernel one frame, until it has said something: taken, or no room.
pub(crate) fn sent(mut write: impl FnMut() -> nix::Result<usize>) -> nix::Result<Sent> {
    loop {
        match write() {
            Ok(_) => return Ok(Sent::Sent),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => return Ok(Sent::Full),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

impl DeviceError {
    /// What `errno` from a read or write of a TAP descriptor means (`drivers/net/tun.c`).
    ///
    /// Allocates nothing: a pod can take its interface down and have frames sent to it.
    pub(crate) fn from_tap(device: &Arc<str>, errno: Errno) -> Self {
        let device = Arc::clone(device);
        let source = io::Error::from(errno);
        match errno {
            // tun_get() found no device behind the file.
            Errno::EBADFD => Self::Gone { device, source },
            // tun_get_user() on a device without IFF_UP.
            Errno::EIO => Self::Down { device, source },
            // Frame shorter than its headers, or a vnet header the kernel does not believe.
            Errno::EINVAL | Errno::EMSGSIZE => Self::Refused { device, source },
            _ => Self::Io { device, source },
        }
    }

    /// The device will not come back.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// The device's name.
    #[must_use]
    pub fn device(&self) -> &str {
        match self {
            Self::Gone { device, .. }
            | Self::Down { device, .. }
            | Self::Refused { device, .. }
            | Self::Io { device, .. } => device,
        }
    }
}
