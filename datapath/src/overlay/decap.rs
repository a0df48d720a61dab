//! The way in: datagrams become frames of the tunnel port.
//!
//! Each datagram of a train is looked at by itself, because a train says nothing but that the outer
//! headers are alike. What is in order and continues the packet before it is merged with it, by the rules
//! of [`Merge`]: checksums are verified on the way, so a superframe reaches the pod's kernel as one
//! that need not be summed again. What a segment of a flow costs here is a look at its headers, the sum
//! and the copy.
//!
//! The frames then go through the same pipeline as a pod's, with the peer they came from beside them.

use protocol::{PeerId, PortId};

use super::{Datagram, ecn, keep_alive, mss, vxlan};
use crate::Egress;
use crate::batch::Batch;
use crate::frame::Frame;
use crate::offload::merge::Merge;
use crate::offload::{checksum, gso};
use crate::pool::Pool;
use crate::received::Received;
use crate::switch::Switch;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ipv4::Ipv4;
use crate::wire::l4::L4;
use crate::wire::vnet::{Checksum, Offload, SegmentKind, Segments};
use crate::wire::{Body, Packet, ethernet};

/// What was in a datagram.
enum Inner<'a> {
    Packet { peer: PeerId, ethernet: &'a [u8], received: Received },
    KeepAlive { peer: PeerId, message: keep_alive::Message },
}

/// A frame that may still grow.
struct Run {
    frame: Frame,
    received: Received,
    merge: Option<Merge>,
    peer: PeerId,
    packets: u32,
    bytes: usize,
}

impl Run {
    fn start(mut frame: Frame, peer: PeerId, ethernet: &[u8], received: Received) -> Self {
        frame.fill(ethernet);
        received.describe(&mut frame);
        let merge = Merge::start(&frame, &received);
        Self { frame, received, merge, peer, packets: 1, bytes: ethernet.len() }
    }

    fn append(&mut self, peer: PeerId, ethernet: &[u8], received: &Received) -> bool {
        let Some(merge) = self.merge.as_mut().filter(|_| self.peer == peer) else { return false };
        let taken = merge.append(&mut self.frame, &self.received, ethernet, received);
        if taken {
            self.packets += 1;
            self.bytes += ethernet.len();
        }
        taken
    }

    fn finish(mut self) -> Frame {
        if let Some(merge) = self.merge {
            merge.finish(&mut self.frame, &mut self.received);
        }
        self.frame.set_origin(self.peer, self.packets, self.bytes);
        self.frame
    }
}

impl Switch {
    /// Takes in what the device of a tunnel port received, and decides, writes and accounts all of it.
    /// `batch` is where frames are collected on the way; it must be empty, and is again afterwards.
    pub fn process_tunnel<'a>(
        &mut self,
        port: PortId,
        datagrams: impl Iterator<Item = Datagram<'a>>,
        pool: &mut Pool,
        batch: &mut Batch,
        now: Instant,
        egress: &mut impl Egress,
    ) {
        let mut run: Option<Run> = None;
        for datagram in datagrams {
            let peer = self.slow_path.overlay.peers.by_address(datagram.source);
            for piece in datagram.bytes.chunks_mut(datagram.segment_size.max(1)) {
                let len = piece.len().saturating_sub(vxlan::LEN);
                match self.open(port, peer, piece, datagram.tos, now) {
                    Ok(Inner::Packet { peer, ethernet, received }) => {
                        if run.as_mut().is_some_and(|run| run.append(peer, ethernet, &received)) {
                            continue;
                        }
                        self.close(port, run.take(), pool, batch, now, egress);
                        let Some(frame) = pool.take() else {
                            self.account(port, 1, len, Err(DropReason::PortQueueFull));
                            continue;
                        };
                        run = Some(Run::start(frame, peer, ethernet, received));
                    }
                    Ok(Inner::KeepAlive { peer, message }) => {
                        self.on_keep_alive(port, peer, message, now, egress);
                        self.account(port, 1, len, Ok(()));
                    }
                    Err(reason) => self.account(port, 1, len, Err(reason)),
                }
            }
        }
        self.close(port, run, pool, batch, now, egress);
        self.process(batch, now, egress);
        batch.recycle(pool);
    }

    /// Puts a run into the batch; makes room first, also for the run that will follow.
    fn close(
        &mut self,
        port: PortId,
        run: Option<Run>,
        pool: &mut Pool,
        batch: &mut Batch,
        now: Instant,
        egress: &mut impl Egress,
    ) {
        let Some(run) = run else { return };
        if let Err(frame) = batch.push(port, run.finish()) {
            // Only if the caller's batch has no room at all.
            pool.put(frame);
        }
        if batch.is_full() || pool.available() == 0 {
            self.process(batch, now, egress);
            batch.recycle(pool);
        }
    }

    /// Checks all that can be checked before a flow is looked up.
    fn open<'a>(
        &mut self,
        port: PortId,
        peer: Option<PeerId>,
        piece: &'a mut [u8],
        outer_tos: u8,
        now: Instant,
    ) -> Verdict<Inner<'a>> {
        self.ports.get(port).ok_or(DropReason::PortDetached)?.check_ingress()?;
        let overlay = &mut self.slow_path.overlay;
        let (vni, router, clamps) = (overlay.vni(), overlay.router_mac, overlay.clamps_mss());
        let id = peer.ok_or(DropReason::UnknownPeer)?;
        let peer = overlay.peers.get_mut(id).ok_or(DropReason::UnknownPeer)?;
        let inner = vxlan::open(piece, vni)?;
        let len = inner.len();
        let (header, _) = ethernet::split(inner)?;
        if header.destination != router && !header.destination.is_multicast() {
            return Err(DropReason::NotForRouter);
        }
        if header.ether_type.0 == keep_alive::ETHER_TYPE {
            let message = keep_alive::Message::parse(inner)?;
            peer.received(1, len, now);
            return Ok(Inner::KeepAlive { peer: id, message });
        }
        let packet = Packet::parse(inner).map_err(|reason| match reason {
            DropReason::VlanTagged => DropReason::InnerVlan,
            other => other,
        })?;
        // What follows is Ethernet padding.
        let inner = inner.get_mut(..packet.frame_len()).ok_or(DropReason::FrameTooShort)?;
        let mut offload = Offload::NONE;
        if let Body::Ipv4(ip) = &packet.body {
            ecn::apply(inner, outer_tos)?;
            offload = finish(inner, ip, peer.ip_mtu());
            if clamps {
                mss::clamp(inner, ip, Checksum::Complete, peer.ip_mtu());
            }
        }
        peer.received(1, len, now);
        let received = Received { packet, offload };
        Ok(Inner::Packet { peer: id, ethernet: inner, received })
    }
}

/// Does what a peer on the same machine left to a NIC that never came, and says what is left after that.
/// Linux leaves the work on what its `vxlan` device sends over a veth or to another virtual machine, and a
/// UDP socket does not tell: checksums, and TCP superframes beyond any MTU, which are cut again to fit.
fn finish(inner: &mut [u8], ip: &Ipv4, ip_mtu: u16) -> Offload {
    if !checksum::is_left(inner, ip) {
        return Offload::NONE;
    }
    let headers = ip.header_len() + ip.l4.header_len();
    if let L4::Tcp { .. } = ip.l4
        && ip.total_len() > usize::from(ip_mtu)
        && let Ok(headers) = u16::try_from(headers)
        && let Some(size) = ip_mtu.checked_sub(headers).filter(|size| *size > 0)
    {
        let ecn = gso::is_cwr(inner, ip);
        let segments = Segments { kind: SegmentKind::Tcp { ecn }, size };
        return Offload { checksum: Checksum::Partial, segments: Some(segments) };
    }
    checksum::complete(inner, ip);
    Offload::NONE
}
