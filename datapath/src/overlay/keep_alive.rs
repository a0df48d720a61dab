//! Keep-alives on the wire, and when they are sent.
//!
//! ```text
//! | peer router's MAC | our router's MAC | 0x88B5 | version: 8 | kind: 8 | zero: 16 | nonce: 64 | padding
//! ```
//!
//! A frame of an EtherType for local experiments (IEEE 802), inside the tunnel: so it takes the way the
//! packets take, through the same sockets and filters. A request is answered by a frame that repeats its
//! nonce and has no padding, so nobody can have more sent than he sends. Nonces are random: an answer
//! proves that the request arrived.
//!
//! A round a second for each peer that is a daemon, spread over the second: with thousands of peers a
//! call sends to [`TICKS`]th of them. Only the first worker sends; any may hear an answer, which it tells
//! to the others ([`crate::replication`]).

use std::time::Duration;

use protocol::{Mac, PeerId, PortId};

use super::{Overlay, Train, vxlan};
use crate::frame::ETHERNET_HDR_LEN;
use crate::ports::Port;
use crate::replication::{Known, News};
use crate::switch::Switch;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::{Egress, Transmit};

/// IEEE 802 local experimental EtherType 1.
pub(crate) const ETHER_TYPE: u16 = 0x88b5;
/// Bytes without padding.
const LEN: usize = ETHERNET_HDR_LEN + 12;
const VERSION: u8 = 1;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// IPv4, UDP and VXLAN headers: what an outer IP packet has more than the inner frame.
const OUTER: usize = 20 + 8 + vxlan::LEN;
/// Time between two rounds to a peer.
const ROUND: Duration = Duration::from_secs(1);
/// Calls the peers of a round are spread over, if there are as many.
const TICKS: usize = 100;
/// Internetwork control (RFC 2474 §4.2.2.2: class selector 6): what decides about a path should not be
/// the first to be lost on it.
const TOS: u8 = 0xc0;

/// A message, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    Request { nonce: u64 },
    Reply { nonce: u64 },
}

impl Message {
    /// Reads a frame of [`ETHER_TYPE`].
    pub(crate) fn parse(frame: &[u8]) -> Verdict<Self> {
        let body = frame.get(ETHERNET_HDR_LEN..LEN).ok_or(DropReason::KeepAliveInvalid)?;
        let (&[version, kind, _, _], nonce) =
            body.split_first_chunk::<4>().ok_or(DropReason::KeepAliveInvalid)?;
        let nonce = u64::from_be_bytes(nonce.try_into().map_err(|_| DropReason::KeepAliveInvalid)?);
        match (version, kind) {
            (VERSION, REQUEST) => Ok(Self::Request { nonce }),
            (VERSION, REPLY) => Ok(Self::Reply { nonce }),
            _ => Err(DropReason::KeepAliveInvalid),
        }
    }

    /// Writes a frame, `None` where it does not fit.
    fn write(self, frame: &mut [u8], to: Mac, from: Mac) -> Option<()> {
        let (kind, nonce) = match self {
            Self::Request { nonce } => (REQUEST, nonce),
            Self::Reply { nonce } => (REPLY, nonce),
        };
        frame.get_mut(..6)?.copy_from_slice(&to.0);
        frame.get_mut(6..12)?.copy_from_slice(&from.0);
        frame.get_mut(12..14)?.copy_from_slice(&ETHER_TYPE.to_be_bytes());
        frame.get_mut(14..18)?.copy_from_slice(&[VERSION, kind, 0, 0]);
        frame.get_mut(18..LEN)?.copy_from_slice(&nonce.to_be_bytes());
        frame.get_mut(LEN..)?.fill(0);
        Some(())
    }
}

/// Whose turn it is, and when.
#[derive(Debug)]
pub(crate) struct Rounds {
    sends: bool,
    random: u64,
    next: usize,
    due: Option<Instant>,
}

impl Rounds {
    pub(super) const fn new(seed: u64, worker: u32) -> Self {
        Self { sends: worker == 0, random: seed, next: 0, due: None }
    }

    /// Whether this worker sends, and waits for answers.
    pub(crate) const fn is_sender(&self) -> bool {
        self.sends
    }

    /// When there is something to send.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// SplitMix64: each state is another number, and none tells the next to who does not know the seed
    /// of this process.
    const fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

impl Overlay {
    /// Begins or ends the rounds, as the configuration has it.
    pub(crate) fn schedule_rounds(&mut self, now: Instant) {
        let has_work = self.rounds.sends && self.port.is_some() && !self.peers.daemons().is_empty();
        self.rounds.due = has_work.then(|| self.rounds.due.unwrap_or(now));
    }

    fn send_message(
        &mut self,
        to: &mut Port,
        id: PeerId,
        message: Message,
        size: usize,
        egress: &mut impl Egress,
    ) -> Verdict {
        let header = vxlan::header(self.vni());
        let peer = self.peers.get_mut(id).ok_or(DropReason::NoRoute)?;
        let len = size.saturating_sub(OUTER).clamp(LEN, self.keep_alive.len());
        let frame = self.keep_alive.get_mut(..len).unwrap_or_default();
        message.write(frame, peer.config.router_mac, self.router_mac).ok_or(DropReason::KeepAliveInvalid)?;
        let train = Train {
            to: peer.socket(),
            tos: TOS,
            entropy: id.0,
            headers: &header,
            header_len: vxlan::LEN,
            payload: frame,
            payload_size: len,
        };
        match egress.transmit_tunnel(to.config.id, &train) {
            Transmit::Sent => {
                to.counters.sent(1, len);
                to.counters.originated();
                Ok(())
            }
            // A probe may well be larger than what the interface takes: that is its answer.
            Transmit::QueueFull | Transmit::TooBig | Transmit::Unreachable => {
                to.counters.refused();
                Err(DropReason::PortQueueFull)
            }
            Transmit::Gone => Err(DropReason::PortGone),
        }
    }
}

impl Switch {
    /// Sends the rounds that are due, for a bounded number of peers.
    pub(crate) fn send_keep_alives(&mut self, now: Instant, egress: &mut impl Egress) {
        let overlay = &mut self.slow_path.overlay;
        let Some(due) = overlay.rounds.due.filter(|due| *due <= now) else { return };
        let to = overlay.port.and_then(|port| self.ports.get_mut(port));
        let Some(to) = to.filter(|to| to.check_egress().is_ok()) else {
            overlay.rounds.due = Some(now + ROUND);
            return;
        };
        let count = overlay.peers.daemons().len().max(1);
        let batch = count.div_ceil(TICKS);
        for _ in 0..batch {
            overlay.rounds.next = (overlay.rounds.next + 1) % count;
            let Some(&id) = overlay.peers.daemons().get(overlay.rounds.next) else { continue };
            let nonce = overlay.rounds.random();
            let Some(peer) = overlay.peers.get_mut(id) else { continue };
            let before = peer.path.mtu();
            let round = peer.path.begin_round(nonce, now);
            let mtu = peer.path.mtu();
            for (nonce, size) in round.messages() {
                // What is not taken counts as lost, which is what the round finds out.
                let _ = overlay.send_message(to, id, Message::Request { nonce }, size.into(), egress);
            }
            // Now and then although nothing changed: telling may fail.
            if let Some(mtu) = mtu.filter(|_| mtu != before || nonce.is_multiple_of(8)) {
                self.slow_path.outbox.push(News::Fresh, Known::PathMtu { peer: id, mtu });
            }
        }
        let overlay = &mut self.slow_path.overlay;
        let interval = ROUND * u32::try_from(batch).unwrap_or(1) / u32::try_from(count).unwrap_or(u32::MAX);
        // A worker that was late sends no burst to catch up.
        overlay.rounds.due = Some((due + interval).max(now));
    }

    /// A message of `peer` came in by `port`.
    pub(crate) fn on_keep_alive(
        &mut self,
        port: PortId,
        peer: PeerId,
        message: Message,
        now: Instant,
        egress: &mut impl Egress,
    ) {
        match message {
            Message::Request { nonce } => {
                if let Some(to) = self.ports.get_mut(port) {
                    let reply = Message::Reply { nonce };
                    let _ = self.slow_path.overlay.send_message(to, peer, reply, 0, egress);
                }
            }
            Message::Reply { nonce } if self.slow_path.overlay.rounds.is_sender() => {
                self.on_answer(peer, nonce, now);
            }
            Message::Reply { nonce } => {
                self.slow_path.outbox.push(News::Fresh, Known::Answer { peer, nonce });
            }
        }
    }

    /// A peer answered, here or at another worker.
    pub(crate) fn on_answer(&mut self, id: PeerId, nonce: u64, now: Instant) {
        let Some(peer) = self.slow_path.overlay.peers.get_mut(id) else { return };
        if peer.path.on_answer(nonce, now) == Some(true)
            && let Some(mtu) = peer.path.mtu()
        {
            self.slow_path.outbox.push(News::Fresh, Known::PathMtu { peer: id, mtu });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_and_nothing_else_is_one() {
        let (to, from) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        for message in [Message::Request { nonce: 1 << 63 | 7 }, Message::Reply { nonce: 0 }] {
            let mut frame = [0xff; 100];
            message.write(&mut frame, to, from).unwrap();
            assert_eq!(Message::parse(&frame), Ok(message));
            for len in 0..LEN {
                assert_eq!(Message::parse(&frame[..len]), Err(DropReason::KeepAliveInvalid));
                let mut short = frame;
                assert_eq!(message.write(&mut short[..len], to, from), None);
            }
            for (at, value) in [(14, 2), (15, 0), (15, 3)] {
                let mut other = frame;
                other[at] = value;
                assert_eq!(Message::parse(&other), Err(DropReason::KeepAliveInvalid));
            }
        }
    }
}
