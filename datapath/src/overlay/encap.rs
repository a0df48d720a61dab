//! The way out: a packet for a peer becomes a train of datagrams.
//!
//! A superframe stays where it was read. Its segments' headers, each behind a VXLAN header, are written
//! one after the other into one buffer, with complete checksums; the device gathers header and payload.
//! So payload is read once here, to be summed, and copied once, by the kernel.

use protocol::PeerId;

use super::{Overlay, Train, vxlan};
use crate::action::{Forward, Refusal};
use crate::frame::{ETHERNET_HDR_LEN, Frame, VNET_HDR_LEN};
use crate::offload::{fragment, gso};
use crate::ports::Port;
use crate::received::Received;
use crate::rewrite::Translation;
use crate::switch::Switch;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Body;
use crate::wire::icmp::IcmpError;
use crate::wire::ipv4::{Fragment, Ipv4};
use crate::wire::l4::L4;
use crate::wire::vnet::MAX_TCP_SEGMENTS;
use crate::{Egress, Transmit};

/// Headers of the most segments a superframe can ask for, with all options there can be.
pub(super) const HEADERS_BYTES: usize = MAX_TCP_SEGMENTS * (vxlan::LEN + ETHERNET_HDR_LEN + 60 + 60);

impl Switch {
    /// Carries out a decision that leads to a peer.
    pub(crate) fn encapsulate(
        &mut self,
        id: PeerId,
        forward: &Forward,
        translation: Option<&Translation>,
        frame: &mut Frame,
        received: &mut Received,
        egress: &mut impl Egress,
    ) -> Result<(), Refusal> {
        let to = self.ports.get_mut(forward.egress).ok_or(DropReason::PortGone)?;
        let overlay = &mut self.slow_path.overlay;
        let ip_mtu = overlay.peers.get(id).ok_or(DropReason::NoRoute)?.ip_mtu();
        let mut fits = true;
        if let (Body::Ipv4(ip), Some(rewrite)) = (&mut received.packet.body, &forward.rewrite) {
            if rewrite.counts_hop && ip.ttl <= 1 {
                return Err(Refusal::with_error(DropReason::TtlExpired, IcmpError::TimeExceeded));
            }
            fits = received.offload.ip_len(ip) <= usize::from(ip_mtu);
            if !fits && !fragment::may_cut(received.offload, ip) {
                let error = IcmpError::FragmentationNeeded { next_hop_mtu: ip_mtu };
                return Err(Refusal::with_error(DropReason::PacketTooBig, error));
            }
            rewrite.apply(frame.ethernet_mut(), ip, received.offload.checksum, translation);
            if overlay.clamps_mss() {
                super::mss::clamp(frame.ethernet_mut(), ip, received.offload.checksum, ip_mtu);
            }
        }
        if fits {
            Ok(overlay.send(id, to, frame, received, egress)?)
        } else {
            let entropy = overlay.entropy_of_fragments(&received.packet.body);
            Ok(self.output.cut(frame, received, ip_mtu.into(), |fragment| {
                let ethernet = fragment.get(VNET_HDR_LEN..).unwrap_or_default();
                overlay.send_bytes(id, to, ethernet, entropy, egress)
            })?)
        }
    }

    /// Copies a pod's broadcast or multicast to the peers that have pods, within the budget. `None`
    /// where there is no such peer.
    pub(crate) fn flood_to_peers(
        &mut self,
        frame: &mut Frame,
        received: &mut Received,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Option<Verdict> {
        let overlay = &mut self.slow_path.overlay;
        let to = self.ports.get_mut(overlay.port?)?;
        let count = overlay.peers.with_pods_len();
        let ip_len = match &received.packet.body {
            Body::Ipv4(ip) => received.offload.ip_len(ip),
            Body::Arp(_) => return None,
        };
        to.check_egress().ok()?;
        let mut verdict = None;
        for _ in 0..count {
            if !overlay.bum.take(now) {
                return verdict.or(Some(Err(DropReason::FloodLimited)));
            }
            let id = overlay.peers.with_pods(overlay.bum_from % count)?;
            overlay.bum_from = (overlay.bum_from + 1) % count;
            let fits = overlay.peers.get(id).is_some_and(|peer| ip_len <= usize::from(peer.ip_mtu()));
            let sent = if fits {
                overlay.send(id, to, frame, received, egress)
            } else {
                Err(DropReason::FrameTooBig)
            };
            if verdict.is_none_or(|verdict: Verdict| verdict.is_err()) {
                verdict = Some(sent);
            }
        }
        verdict
    }
}

impl Overlay {
    /// Sends a frame to a peer, as it is but for what was left to a device: checksums, segmentation.
    pub(crate) fn send(
        &mut self,
        id: PeerId,
        to: &mut Port,
        frame: &mut Frame,
        received: &mut Received,
        egress: &mut impl Egress,
    ) -> Verdict {
        let header = vxlan::header(self.vni());
        let seed = self.seed;
        let peer = self.peers.get_mut(id).ok_or(DropReason::NoRoute)?;
        received.complete_checksum_if_whole(frame);
        let ethernet = frame.ethernet();
        let (tos, entropy) = match &received.packet.body {
            // The second byte of the IP header. Copying it is RFC 6040's normal mode.
            Body::Ipv4(ip) => (ethernet.get(ETHERNET_HDR_LEN + 1).copied().unwrap_or(0), entropy(seed, ip)),
            Body::Arp(_) => (0, 0),
        };
        let mut train = Train {
            to: peer.socket(),
            tos,
            entropy,
            headers: &header,
            header_len: vxlan::LEN,
            payload: ethernet,
            payload_size: ethernet.len().max(1),
        };
        if let (Body::Ipv4(ip), Some(segments)) = (&received.packet.body, received.offload.segments) {
            let used = gso::split_headers(ethernet, ip, segments, &header, &mut self.headers)
                .ok_or(DropReason::PortQueueFull)?;
            train.headers = self.headers.get(..used).unwrap_or_default();
            train.header_len = vxlan::LEN + ip.payload_offset();
            train.payload = ethernet.get(ip.payload_offset()..ip.end()).unwrap_or_default();
            train.payload_size = usize::from(segments.size);
        }
        let packets = train.segments();
        let bytes = train.bytes() - packets * vxlan::LEN;
        write(to, &train, packets as u64, bytes, egress)?;
        peer.sent(packets as u64, bytes);
        Ok(())
    }

    /// Fragments go the way of those that come behind them from elsewhere.
    fn entropy_of_fragments(&self, body: &Body) -> u32 {
        match body {
            Body::Ipv4(ip) => {
                let mut fragment = *ip;
                fragment.fragment = Fragment::Later;
                entropy(self.seed, &fragment)
            }
            Body::Arp(_) => 0,
        }
    }

    /// Sends a frame of the switch's own, complete, to a peer.
    pub(crate) fn originate(
        &mut self,
        id: PeerId,
        to: &mut Port,
        ethernet: &[u8],
        egress: &mut impl Egress,
    ) -> Verdict {
        self.send_bytes(id, to, ethernet, id.0, egress)
    }

    fn send_bytes(
        &mut self,
        id: PeerId,
        to: &mut Port,
        ethernet: &[u8],
        entropy: u32,
        egress: &mut impl Egress,
    ) -> Verdict {
        let header = vxlan::header(self.vni());
        let peer = self.peers.get_mut(id).ok_or(DropReason::NoRoute)?;
        let train = Train {
            to: peer.socket(),
            tos: ethernet.get(ETHERNET_HDR_LEN + 1).copied().unwrap_or(0),
            entropy,
            headers: &header,
            header_len: vxlan::LEN,
            payload: ethernet,
            payload_size: ethernet.len().max(1),
        };
        write(to, &train, 1, ethernet.len(), egress)?;
        peer.sent(1, ethernet.len());
        Ok(())
    }
}

fn write(to: &mut Port, train: &Train<'_>, packets: u64, bytes: usize, egress: &mut impl Egress) -> Verdict {
    let reason = match egress.transmit_tunnel(to.config.id, train) {
        Transmit::Sent => {
            to.counters.sent(packets, bytes);
            return Ok(());
        }
        Transmit::QueueFull => DropReason::PortQueueFull,
        Transmit::Gone => DropReason::PortGone,
        Transmit::TooBig => DropReason::UnderlayTooBig,
        Transmit::Unreachable => DropReason::UnderlayUnreachable,
    };
    to.counters.refused();
    Err(reason)
}

/// The same for all packets of a flow, and for all fragments of a datagram, of which only the first has
/// ports.
fn entropy(seed: u64, ip: &Ipv4) -> u32 {
    let ports = match (ip.fragment, ip.l4) {
        (
            Fragment::Whole,
            L4::Tcp { source_port, destination_port, .. } | L4::Udp { source_port, destination_port, .. },
        ) => u64::from(source_port) << 16 | u64::from(destination_port),
        _ => 0,
    };
    let addresses = u64::from(ip.source.to_bits()) << 32 | u64::from(ip.destination.to_bits());
    let mixed = (addresses ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed =
        (mixed ^ mixed >> 32 ^ ports << 8 ^ u64::from(ip.protocol)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 32) as u32
}
