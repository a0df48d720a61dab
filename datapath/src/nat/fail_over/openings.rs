//! Copies of SYNs that were sent to a backend and not answered yet.
//!
//! Shared by all workers, as the answer may be read by another one than the question. Found by the connection's slot: sets of a
//! few copies, each set behind a lock that is held for one copy. What makes room is first a copy of a connection that is answered or
//! gone, which most are; then the oldest of the same port; then the oldest. So who floods the table with SYNs has one copy in each
//! full set, and whoever loses a copy is as badly off as without fail-over, no worse.

use protocol::{PeerId, PortId};

use crate::conntrack::{ConnectionId, End, Lock};
use crate::frame::{ETHERNET_HDR_LEN, Frame, VNET_HDR_LEN};
use crate::service::Origin;
use crate::time::Instant;

/// Backends that a SYN is offered to, after the first: whoever finds four in a row dead is to hear of it. Each client's SYN so makes the
/// switch send a bounded number of packets, whatever backends answer.
pub(super) const MAX_OTHERS: usize = 3;

/// Virtio header, Ethernet, IPv4 without options, TCP with all the options there is room for. A SYN with more, or with data, is
/// not kept.
pub(super) const MAX_LEN: usize = VNET_HDR_LEN + ETHERNET_HDR_LEN + 20 + 60;

/// Copies: 2048 connections that wait for an answer at one time, in 360 KiB: with backends a millisecond away two million new
/// connections a second, with one that is silent two thousand.
const SETS: usize = 512;
const WAYS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Openings {
    sets: Box<[Lock<Set>]>,
}

type Set = [Option<(ConnectionId, Opening)>; WAYS];

/// A SYN, and whom it was offered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(super) ingress: PortId,
    pub(super) peer: Option<PeerId>,
    pub(super) origin: Origin,
    /// When the present backend got it.
    pub(super) since: Instant,
    pub(super) tried: Tried,
    /// Its sequence number.
    pub(super) sequence: u32,
    len: u8,
    bytes: [u8; MAX_LEN],
}

/// Backends that refused, or did not answer: by address and port, as slots mean something else after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tried([Option<End>; MAX_OTHERS]);

impl Openings {
    /// None is kept yet.
    pub(crate) fn new() -> Self {
        Self { sets: (0..SETS).map(|_| Lock::new([None; WAYS])).collect() }
    }

    /// Keeps none: for decisions that are only tried.
    pub(crate) fn nothing() -> Self {
        Self { sets: Box::default() }
    }

    /// Keeps the SYN of a connection. `is_of_use`: whether that of another may still be wanted.
    pub(super) fn put(&self, id: ConnectionId, opening: &Opening, is_of_use: impl Fn(ConnectionId) -> bool) {
        let Some(set) = self.set(id) else { return };
        let mut set = set.hold();
        let rank = |place: &Option<(ConnectionId, Opening)>| match place {
            None => (0, opening.since),
            Some((known, _)) if *known == id => (0, opening.since),
            Some((known, old)) if !is_of_use(*known) => (1, old.since),
            Some((_, old)) if old.ingress == opening.ingress => (2, old.since),
            Some((_, old)) => (3, old.since),
        };
        if let Some(place) = set.iter_mut().min_by_key(|place| rank(place)) {
            *place = Some((id, *opening));
        }
    }

    /// The SYN of a connection.
    pub(super) fn lookup(&self, id: ConnectionId) -> Option<Opening> {
        let set = self.set(id)?.hold();
        set.iter().flatten().find(|(known, _)| *known == id).map(|(_, opening)| *opening)
    }

    fn set(&self, id: ConnectionId) -> Option<&Lock<Set>> {
        self.sets.get(id.slot() as usize % SETS)
    }
}

impl Opening {
    /// Of the frame as it came in; `None` if it is too long to be kept.
    pub(super) fn new(
        ingress: PortId,
        origin: Origin,
        sequence: u32,
        frame: &Frame,
        now: Instant,
    ) -> Option<Self> {
        let mut bytes = [0; MAX_LEN];
        let len = u8::try_from(frame.bytes().len()).ok()?;
        bytes.get_mut(..frame.bytes().len())?.copy_from_slice(frame.bytes());
        let (peer, tried) = (frame.peer(), Tried::default());
        Some(Self { ingress, peer, origin, since: now, tried, sequence, len, bytes })
    }

    /// Offered to the next backend, when these had it before.
    pub(super) fn offered_after(&self, tried: Tried, now: Instant) -> Self {
        Self { tried, since: now, ..*self }
    }

    /// Makes the frame what it was.
    pub(super) fn restore(&self, frame: &mut Frame) {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        if let Some(place) = frame.receive_area().get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
        frame.set_received(bytes.len());
        if let Some(peer) = self.peer {
            frame.set_origin(peer, 1, frame.ethernet_len());
        }
    }

    /// Whether a reset with this acknowledgement is about it. A SYN that is kept has no data, so one number is right (RFC 9293 §3.10.7.3).
    pub(super) const fn is_acknowledged_by(&self, acknowledgment: u32) -> bool {
        acknowledgment == self.sequence.wrapping_add(1)
    }
}

impl Tried {
    /// With one more; `None` if these are enough.
    pub(super) fn with(mut self, backend: End) -> Option<Self> {
        let place = self.0.iter_mut().find(|place| place.is_none())?;
        *place = Some(backend);
        Some(self)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = End> + '_ {
        self.0.iter().copied().flatten()
    }
}
