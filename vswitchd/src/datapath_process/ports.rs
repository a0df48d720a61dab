//! The devices of this worker's ports, and writing to them.
//!
//! A port's number is its index, so that finding the device of a frame's egress port is one array
//! access. A device that is gone stays here, unread, only until the batch at hand is done
//! ([`Ports::take_gone`]); what fails twice while being written is reported once.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use datapath::{Egress, Transmit};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netdev::{Device, DeviceError, Sent, Tap};
use protocol::PortId;

use super::capture::{Captures, Direction};

/// The devices, by port number.
pub(super) struct Ports {
    taps: Box<[Option<Tap>]>,
    attached: u32,
    /// Found gone while writing; at most one entry per port, so this never grows in a batch.
    gone: Vec<(PortId, DeviceError)>,
    pub(super) captures: Captures,
}

impl Ports {
    pub(super) fn new() -> Self {
        let mut taps = Vec::new();
        taps.resize_with(PortId::MAX_PORTS as usize, || None);
        Self {
            taps: taps.into_boxed_slice(),
            attached: 0,
            gone: Vec::with_capacity(PortId::MAX_PORTS as usize),
            captures: Captures::new(),
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
    pub(super) fn device_and_captures(&mut self, port: PortId) -> Option<(&mut Tap, &mut Captures)> {
        let tap = self.taps.get_mut(port.index())?.as_mut()?;
        Some((tap, &mut self.captures))
    }

    /// Starts polling `tap` as `port`, in place of what was there.
    pub(super) fn insert(&mut self, registry: &Registry, port: PortId, tap: Tap) -> std::io::Result<()> {
        self.remove(registry, port);
        let Some(slot) = self.taps.get_mut(port.index()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        registry.register(&mut SourceFd(&tap.as_raw_fd()), Token(port.index()), Interest::READABLE)?;
        *slot = Some(tap);
        self.attached += 1;
        Ok(())
    }

    /// Stops polling `port` and closes its device.
    pub(super) fn remove(&mut self, registry: &Registry, port: PortId) {
        if let Some(tap) = self.taps.get_mut(port.index()).and_then(Option::take) {
            self.attached -= 1;
            // A duplicate of the descriptor in the control process keeps the open file alive, so
            // closing ours would leave it in the epoll set for ever, reporting its error.
            if let Err(e) = registry.deregister(&mut SourceFd(&tap.as_raw_fd())) {
                tracing::warn!(%port, "cannot stop polling the port: {e}");
            }
        }
        self.captures.remove(registry, port);
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
        let Some((tap, captures)) = self.device_and_captures(port) else { return Transmit::Gone };
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
