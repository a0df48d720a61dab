//! The devices of all ports, which every worker may write to, and those of them that this one reads.
//!
//! A port's number is its index, so that finding the device of a frame's egress port is one array
//! access. A device that is gone stays here, unread, only until the batch at hand is done
//! ([`Ports::take_gone`]); what fails twice while being written is reported once.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use datapath::{Egress, Transmit};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netdev::{Device, DeviceError, Sent, Tap};
use protocol::PortId;

use super::capture::{Captures, Direction};
use super::share::Share;

/// The devices, by port number.
pub(super) struct Ports {
    /// What this worker reads.
    share: Share,
    taps: Box<[Option<Arc<Tap>>]>,
    attached: u32,
    /// Found gone while writing; at most one entry per port, so this never grows in a batch.
    gone: Vec<(PortId, DeviceError)>,
    /// Shared by all workers.
    pub(super) captures: Arc<Captures>,
}

impl Ports {
    pub(super) fn new(share: Share, captures: Arc<Captures>) -> Self {
        let mut taps = Vec::new();
        taps.resize_with(PortId::MAX_PORTS as usize, || None);
        Self {
            share,
            taps: taps.into_boxed_slice(),
            attached: 0,
            gone: Vec::with_capacity(PortId::MAX_PORTS as usize),
            captures,
        }
    }

    /// Ports with a device.
    pub(super) const fn attached(&self) -> u32 {
        self.attached
    }

    /// Whether `port` has a device.
    pub(super) fn contains(&self, port: PortId) -> bool {
        self.taps.get(port.index()).is_some_and(Option::is_some)
    }

    /// The device of `port`, beside the captures that may want its frames.
    pub(super) fn device_and_captures(&self, port: PortId) -> Option<(&Tap, &Captures)> {
        Some((self.taps.get(port.index())?.as_ref()?, &self.captures))
    }

    /// Whether `device` is that of `port`.
    pub(super) fn is_device(&self, port: PortId, device: &Arc<Tap>) -> bool {
        let known = self.taps.get(port.index()).and_then(Option::as_ref);
        known.is_some_and(|known| Arc::ptr_eq(known, device))
    }

    /// Takes `tap` as `port`, in place of what was there, and polls it if this worker is to read it.
    ///
    /// # Errors
    /// It cannot be polled, but it is there.
    pub(super) fn insert(&mut self, registry: &Registry, port: PortId, tap: Arc<Tap>) -> std::io::Result<()> {
        self.remove(registry, port);
        let Some(slot) = self.taps.get_mut(port.index()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        let fd = tap.as_raw_fd();
        *slot = Some(tap);
        self.attached += 1;
        if !self.share.owns(port) {
            return Ok(());
        }
        registry.register(&mut SourceFd(&fd), Token(port.index()), Interest::READABLE)
    }

    /// Stops polling `port` and gives its device back; it is closed when no worker has it any more.
    pub(super) fn remove(&mut self, registry: &Registry, port: PortId) -> Option<Arc<Tap>> {
        let owns = self.share.owns(port);
        if owns {
            self.captures.remove(registry, port);
        }
        let tap = self.taps.get_mut(port.index())?.take()?;
        self.attached -= 1;
        if owns
            // A duplicate of the descriptor in the control process keeps the open file alive, so
            // closing ours would leave it in the epoll set for ever, reporting its error.
            && let Err(e) = registry.deregister(&mut SourceFd(&tap.as_raw_fd()))
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%port, "cannot stop polling the port: {e}");
        }
        Some(tap)
    }

    /// A duplicate of the port's descriptor.
    pub(super) fn duplicate(&self, port: PortId) -> Option<std::io::Result<OwnedFd>> {
        let tap = self.taps.get(port.index())?.as_ref()?;
        Some(tap.as_fd().try_clone_to_owned())
    }

    /// A port whose device was found gone.
    pub(super) fn take_gone(&mut self) -> Option<(PortId, DeviceError)> {
        self.gone.pop()
    }

    /// Notes that the device of `port` is gone.
    pub(super) fn on_gone(&mut self, port: PortId, error: DeviceError) {
        if !self.gone.iter().any(|(known, _)| *known == port) {
            self.gone.push((port, error));
        }
    }
}

impl Egress for Ports {
    fn transmit(&mut self, port: PortId, frame: &[u8]) -> Transmit {
        let Some((mut tap, captures)) = self.device_and_captures(port) else { return Transmit::Gone };
        match tap.send(frame) {
            Ok(Sent::Sent) => {
                captures.on_frame(port, frame, Direction::Outbound);
                Transmit::Sent
            }
            Ok(Sent::Full) => Transmit::QueueFull,
            Err(error @ DeviceError::Gone { .. }) => {
                self.on_gone(port, error);
                Transmit::Gone
            }
            // An interface that is down, or a frame the kernel will not have: the frame is lost,
            // the port stays.
            Err(DeviceError::Down { .. } | DeviceError::Refused { .. } | DeviceError::Io { .. }) => {
                Transmit::QueueFull
            }
        }
    }
}
