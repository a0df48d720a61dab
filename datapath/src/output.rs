//! The last step: fit a frame to what the destination's device can do, write it, count it.

use protocol::link::PortConfig;
use protocol::object::PortKind;
use protocol::{Offloads, PortId};

use crate::frame::{FRAME_SIZE, Frame, VNET_HDR_LEN};
use crate::offload::{fragment, gso};
use crate::overlay::Train;
use crate::ports::Port;
use crate::received::Received;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Body;
use crate::wire::icmp::MAX_ERROR_FRAME_LEN;
use crate::wire::vnet::{Checksum, SegmentKind, Segments};

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmit {
    /// Written.
    Sent,
    /// The device's queue is full; the frame is lost, the next may pass.
    QueueFull,
    /// The device no longer exists.
    Gone,
    /// Larger than the node's own interface takes; only of tunnels.
    TooBig,
    /// The node has no way there; only of tunnels.
    Unreachable,
}

/// Where frames go: the poll loop's devices, a vector in tests.
pub trait Egress {
    /// Writes one frame, virtio header first, to the device of `port`.
    fn transmit(&mut self, port: PortId, frame: &[u8]) -> Transmit;

    /// Sends datagrams to another node by the device of the tunnel port `port`: none of them, or at
    /// least the first. Devices that are no tunnel have none.
    fn transmit_tunnel(&mut self, port: PortId, train: &Train<'_>) -> Transmit {
        let _ = (port, train);
        Transmit::Gone
    }
}

/// Buffers for frames that are not the received one.
#[derive(Debug)]
pub(crate) struct Output {
    /// One segment of a superframe, at most as large as the superframe.
    segment: Box<[u8]>,
    /// One ICMP error.
    pub(crate) error: Box<[u8]>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            segment: vec![0; FRAME_SIZE].into_boxed_slice(),
            error: vec![0; MAX_ERROR_FRAME_LEN].into_boxed_slice(),
        }
    }

    /// Writes a frame to one port, in software whatever its device does not do. A superframe that is
    /// split counts as written when at least one segment was; the others are `tx_refused`.
    ///
    /// Completing a checksum changes the frame: the same frame written to further ports, when flooded,
    /// is then complete for them too.
    pub(crate) fn write(
        &mut self,
        to: &mut Port,
        frame: &mut Frame,
        received: &mut Received,
        egress: &mut impl Egress,
    ) -> Verdict {
        let takes = Takes::of(&to.config);
        self.fit(takes, frame, received, |bytes| transmit(to, bytes, egress))
    }

    /// Hands the frame, virtio header first, to `write`, or what it becomes in software: its segments until that fails.
    pub(crate) fn fit(
        &mut self,
        takes: Takes,
        frame: &mut Frame,
        received: &mut Received,
        mut write: impl FnMut(&[u8]) -> Verdict,
    ) -> Verdict {
        if let (Body::Ipv4(ip), Some(segments)) = (&received.packet.body, received.offload.segments)
            && !takes.segments(segments)
        {
            let mut verdict = Err(DropReason::PortQueueFull);
            gso::split(frame.ethernet(), ip, segments, &mut self.segment, |segment| {
                let written = write(segment);
                if written.is_ok() || verdict.is_err() {
                    verdict = written;
                }
                written.is_ok()
            });
            return verdict;
        }
        if received.offload.checksum == Checksum::Partial && !takes.offloads.contains(Offloads::CSUM) {
            received.complete_checksum(frame);
        }
        write(frame.bytes())
    }
}

impl Output {
    /// Writes a packet that is larger than its link in fragments. As with segments, it counts as written when at least one was.
    pub(crate) fn write_fragments(
        &mut self,
        to: &mut Port,
        frame: &mut Frame,
        received: &mut Received,
        egress: &mut impl Egress,
    ) -> Verdict {
        let mtu = to.ip_mtu();
        self.cut(frame, received, mtu, |fragment| transmit(to, fragment, egress))
    }

    /// Hands the fragments of a packet, virtio header first, to `write` until that fails.
    pub(crate) fn cut(
        &mut self,
        frame: &mut Frame,
        received: &mut Received,
        mtu: usize,
        mut write: impl FnMut(&[u8]) -> Verdict,
    ) -> Verdict {
        received.complete_checksum(frame);
        let mut verdict = Err(DropReason::PortQueueFull);
        if let Body::Ipv4(ip) = &received.packet.body {
            fragment::cut(frame.ethernet(), ip, mtu, &mut self.segment, |fragment| {
                let written = write(fragment);
                if written.is_ok() || verdict.is_err() {
                    verdict = written;
                }
                written.is_ok()
            });
        }
        verdict
    }
}

/// Writes bytes as they are.
pub(crate) fn transmit(to: &mut Port, bytes: &[u8], egress: &mut impl Egress) -> Verdict {
    match egress.transmit(to.config.id, bytes) {
        Transmit::Sent => {
            to.counters.sent(1, bytes.len().saturating_sub(VNET_HDR_LEN));
            Ok(())
        }
        Transmit::QueueFull | Transmit::TooBig | Transmit::Unreachable => {
            to.counters.refused();
            Err(DropReason::PortQueueFull)
        }
        Transmit::Gone => {
            to.counters.refused();
            Err(DropReason::PortGone)
        }
    }
}

/// What a port's device takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Takes {
    offloads: Offloads,
    is_tunnel: bool,
}

impl Takes {
    pub(crate) fn of(port: &PortConfig) -> Self {
        Self { offloads: port.offloads, is_tunnel: port.kind == PortKind::Tunnel }
    }

    /// Such superframes, whole.
    pub(crate) const fn segments(self, segments: Segments) -> bool {
        // Whatever it is, the tunnel makes it segments.
        if self.is_tunnel {
            return true;
        }
        // The kernel offers no segmentation without checksums; a configuration might.
        let needed = Offloads::CSUM.union(match segments.kind {
            SegmentKind::Tcp { .. } => Offloads::TSO4,
            SegmentKind::Udp => Offloads::USO4,
        });
        self.offloads.contains(needed)
    }
}
