//! The devices of all ports, which every worker may write to, and those of them that this one reads.
//!
//! A port's number is its index, so that finding the device of a frame's egress port is one array
//! access. A device that is gone stays here, unread, only until the batch at hand is done
//! ([`Ports::take_gone`]); what fails twice while being written is reported once.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use datapath::{Egress, Train, Transmit};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netdev::VNET_HDR_LEN;
use netdev::udp_tunnel::{self, TunnelSent};
use netdev::{DeviceError, Sent};
use protocol::PortId;

use super::bearer::Bearer;
use super::capture::{Captures, Direction};
use super::share::Share;

/// Bytes of a VXLAN header (RFC 7348 §5).
const VXLAN_LEN: usize = 8;

/// The devices, by port number.
pub(super) struct Ports {
    /// What this worker reads.
    share: Share,
    bearers: Box<[Option<Arc<Bearer>>]>,
    /// One packet of the tunnel, for its capture.
    packet: Vec<u8>,
    attached: u32,
    /// Found gone while writing; at most one entry per port, so this never grows in a batch.
    gone: Vec<(PortId, DeviceError)>,
    /// Shared by all workers.
    pub(super) captures: Arc<Captures>,
}

impl Ports {
    pub(super) fn new(share: Share, captures: Arc<Captures>) -> Self {
        let mut bearers = Vec::new();
        bearers.resize_with(PortId::MAX_PORTS as usize, || None);
        Self {
            share,
            bearers: bearers.into_boxed_slice(),
            packet: Vec::new(),
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
        self.bearers.get(port.index()).is_some_and(Option::is_some)
    }

    /// The device of `port`, beside the captures that may want its frames.
    pub(super) fn device_and_captures(&self, port: PortId) -> Option<(&Bearer, &Captures)> {
        Some((self.bearers.get(port.index())?.as_ref()?, &self.captures))
    }

    /// Whether `port` is a tunnel.
    pub(super) fn is_tunnel(&self, port: PortId) -> bool {
        matches!(self.bearers.get(port.index()).and_then(Option::as_deref), Some(Bearer::Tunnel(_)))
    }

    /// Whether `device` is that of `port`.
    pub(super) fn is_device(&self, port: PortId, device: &Arc<Bearer>) -> bool {
        let known = self.bearers.get(port.index()).and_then(Option::as_ref);
        known.is_some_and(|known| Arc::ptr_eq(known, device))
    }

    /// Takes `bearer` as `port`, in place of what was there, and polls it if this worker is to read it.
    ///
    /// # Errors
    /// It cannot be polled, but it is there.
    pub(super) fn insert(
        &mut self,
        registry: &Registry,
        port: PortId,
        bearer: Arc<Bearer>,
    ) -> std::io::Result<()> {
        self.remove(registry, port);
        let Some(slot) = self.bearers.get_mut(port.index()) else {
            return Err(std::io::ErrorKind::InvalidInput.into());
        };
        let fd = bearer.as_raw_fd();
        *slot = Some(bearer);
        self.attached += 1;
        if !self.share.owns(port) {
            return Ok(());
        }
        registry.register(&mut SourceFd(&fd), Token(port.index()), Interest::READABLE)
    }

    /// Stops polling `port` and gives its device back; it is closed when no worker has it any more.
    pub(super) fn remove(&mut self, registry: &Registry, port: PortId) -> Option<Arc<Bearer>> {
        let owns = self.share.owns(port);
        if owns {
            self.captures.remove(registry, port);
        }
        let bearer = self.bearers.get_mut(port.index())?.take()?;
        self.attached -= 1;
        if owns
            // A duplicate of the descriptor in the control process keeps the open file alive, so
            // closing ours would leave it in the epoll set for ever, reporting its error.
            && let Err(e) = registry.deregister(&mut SourceFd(&bearer.as_raw_fd()))
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%port, "cannot stop polling the port: {e}");
        }
        Some(bearer)
    }

    /// Duplicates of the port's descriptors.
    pub(super) fn duplicate(&self, port: PortId) -> Option<std::io::Result<Vec<OwnedFd>>> {
        Some(self.bearers.get(port.index())?.as_ref()?.duplicate_fds())
    }

    /// Shows the capture of a tunnel port what came or goes, packet by packet, without what surrounds
    /// it between the nodes: a capture of the node's interface has that.
    pub(super) fn capture_packets<'a>(
        &mut self,
        port: PortId,
        packets: impl Iterator<Item = [&'a [u8]; 2]>,
        direction: Direction,
    ) {
        for [headers, payload] in packets {
            self.packet.clear();
            self.packet.extend_from_slice(&[0; VNET_HDR_LEN]);
            self.packet.extend_from_slice(headers.get(VXLAN_LEN..).unwrap_or_default());
            self.packet.extend_from_slice(payload);
            if self.packet.len() > VNET_HDR_LEN {
                self.captures.on_frame(port, &self.packet, direction);
            }
        }
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
        let Some((bearer, captures)) = self.device_and_captures(port) else { return Transmit::Gone };
        // The switch sends nothing by a tunnel but trains.
        let Some(sent) = bearer.send(frame) else { return Transmit::Unreachable };
        match sent {
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

    fn transmit_tunnel(&mut self, port: PortId, train: &Train<'_>) -> Transmit {
        let Some((bearer, captures)) = self.device_and_captures(port) else { return Transmit::Gone };
        let Bearer::Tunnel(tunnel) = bearer else { return Transmit::Gone };
        let Train { to, tos, entropy, headers, header_len, payload, payload_size } = *train;
        let captured = captures.wants(port);
        let sent =
            tunnel.send(&udp_tunnel::Train { to, tos, entropy, headers, header_len, payload, payload_size });
        match sent {
            Ok(TunnelSent::Sent) => {
                if captured {
                    let packets = headers.chunks(header_len).zip(payload.chunks(payload_size));
                    let packets = packets.map(|(headers, payload)| [headers, payload]);
                    self.capture_packets(port, packets, Direction::Outbound);
                }
                Transmit::Sent
            }
            Ok(TunnelSent::TooBig) => Transmit::TooBig,
            Ok(TunnelSent::Unreachable) => Transmit::Unreachable,
            // Nothing that sending a datagram returns.
            Ok(TunnelSent::Full) | Err(_) => Transmit::QueueFull,
        }
    }
}
