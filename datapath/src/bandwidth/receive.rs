//! What comes to a station: it passes while the port's bucket holds something, and waits in the port's queue while it does not.
//!
//! Frames for a port may be read by any worker. The bucket is common to all; each has a queue of its own, and what one of them reads
//! keeps its order. A frame waits as it is written in the end, decided and rewritten, and is counted when it leaves: until then it is
//! nobody's, neither forwarded nor dropped.
//!
//! What the switch itself says to a station (ICMP errors, its questions) does not wait, and a flooded frame, which others get
//! at once, passes or not.

use std::sync::Arc;

use protocol::PortId;
use protocol::object::Rate;

use super::backlog::{Backlog, Waiting};
use super::meter::{Buckets, SharedBucket};
use super::wire_bytes;
use crate::frame::{ETHERNET_HDR_LEN, Frame, VNET_HDR_LEN};
use crate::output::{Egress, Takes, transmit};
use crate::ports::Port;
use crate::received::Received;
use crate::switch::{Done, Switch};
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};

/// A queue's room in time: what it lets pass meanwhile.
const QUEUE_PER_SECOND: u64 = 20;
/// A queue's room at least: four superframes, so that TCP can lose one and go on.
const LEAST_QUEUE: usize = 256 * 1024;
/// ... and at most, for each worker.
const MOST_QUEUE: usize = 1024 * 1024;

/// A port's limit of what comes to it.
#[derive(Debug)]
pub(crate) struct Shaper {
    rate: Rate,
    bucket: SharedBucket,
    backlog: Backlog,
    /// It is among [`Delayed`].
    is_listed: bool,
}

/// A frame on its last step.
pub(crate) struct Leaving<'a> {
    pub(crate) ingress: PortId,
    pub(crate) frame: &'a mut Frame,
    pub(crate) received: &'a mut Received,
    /// It need not be cut for the port.
    pub(crate) fits: bool,
}

impl Shaper {
    /// A full bucket and an empty queue; allocates.
    pub(crate) fn new(rate: Rate, port: PortId, buckets: &Arc<Buckets>) -> Self {
        let room = usize::try_from(rate.bits_per_second / 8 / QUEUE_PER_SECOND).unwrap_or(MOST_QUEUE);
        Self {
            rate,
            bucket: SharedBucket::new(rate, port, buckets),
            backlog: Backlog::new(room.clamp(LEAST_QUEUE, MOST_QUEUE)),
            is_listed: false,
        }
    }

    /// Goes on with another rate, and with what waits.
    pub(crate) fn set_rate(&mut self, rate: Rate, port: PortId, buckets: &Arc<Buckets>) {
        if rate != self.rate {
            (self.rate, self.bucket) = (rate, SharedBucket::new(rate, port, buckets));
        }
    }

    /// Nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Whether a frame that cannot wait passes.
    pub(crate) fn passes(&self, now: Instant, received: &Received, frame: &Frame) -> bool {
        let bytes = wire_bytes(received, frame.ethernet_len());
        self.backlog.is_empty() && self.bucket.take(now, bytes).is_ok()
    }

    /// When the first that waits may go, which is the earliest time to ask again.
    fn due(&self, now: Instant) -> Option<Instant> {
        (!self.backlog.is_empty()).then(|| self.bucket.empty_until(now).unwrap_or(now))
    }

    /// Writes the first that waits, if it may go: gives whose it is, as what it counts, and its verdict.
    fn release_one(
        &mut self,
        to: &mut Port,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Option<(Waiting, Verdict)> {
        let (waiting, bytes) = self.backlog.first()?;
        self.bucket.take(now, waiting.wire_bytes).ok()?;
        let verdict = to.check_egress().and_then(|()| transmit(to, bytes, egress));
        to.counters.delayed(1, bytes.len().saturating_sub(VNET_HDR_LEN));
        self.backlog.pop();
        Some((waiting, verdict))
    }
}

/// Ports at which frames wait.
#[derive(Debug, Default)]
pub(crate) struct Delayed {
    ports: Vec<PortId>,
    due: Option<Instant>,
}

impl Delayed {
    /// Makes room for all ports that may be in it; allocates.
    pub(crate) fn reserve(&mut self, ports: usize) {
        self.ports.reserve(ports.saturating_sub(self.ports.len()));
    }

    /// Forgets a port.
    pub(crate) fn forget(&mut self, port: PortId) {
        self.ports.retain(|listed| *listed != port);
    }

    /// When the first of them may go on.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    fn add(&mut self, port: PortId, due: Option<Instant>, is_listed: &mut bool) {
        if !std::mem::replace(is_listed, true) {
            self.ports.push(port);
        }
        self.due = self.due.into_iter().chain(due).min();
    }
}

impl Switch {
    /// Writes a frame to a port with a limit, or keeps it until it may be written.
    #[inline(never)]
    pub(crate) fn write_limited(
        &mut self,
        id: PortId,
        leaving: Leaving<'_>,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Verdict<Done> {
        let Leaving { ingress, frame, received, fits } = leaving;
        // What waits goes first, and makes room.
        self.release_from(id, now, egress);
        let (bytes, len, whole) =
            (wire_bytes(received, frame.ethernet_len()), frame.ethernet_len(), frame.bytes().len());
        let to = self.ports.get_mut(id).ok_or(DropReason::PortGone)?;
        let mtu = to.ip_mtu();
        let Port { config, counters, receives: Some(shaper), .. } = to else {
            return Err(DropReason::PortGone);
        };
        if shaper.backlog.is_empty() && shaper.bucket.take(now, bytes).is_ok() {
            let written = match fits {
                true => self.output.write(to, frame, received, egress),
                false => self.output.write_fragments(to, frame, received, egress),
            };
            return written.map(|()| Done::Forwarded);
        }
        let backlog = &mut shaper.backlog;
        let keep = |piece: &[u8]| {
            let is_whole = piece.len() == whole;
            let bytes =
                if is_whole { bytes } else { piece.len().saturating_sub(VNET_HDR_LEN + ETHERNET_HDR_LEN) };
            if backlog.push(ingress, bytes, piece) { Ok(()) } else { Err(DropReason::RateLimited) }
        };
        let kept = match fits {
            true => self.output.fit(Takes::of(config), frame, received, keep),
            false => self.output.cut(frame, received, mtu, keep),
        };
        if kept.is_err() {
            counters.limited(1, len);
            return Err(DropReason::RateLimited);
        }
        self.delayed.add(id, shaper.due(now), &mut shaper.is_listed);
        Ok(Done::Delayed { port: id })
    }

    /// What the frame that was last kept at `port` counts as.
    pub(crate) fn count_delayed(&mut self, port: PortId, packets: u64, bytes: usize) {
        if let Some(shaper) = self.ports.get_mut(port).and_then(|port| port.receives.as_mut()) {
            shaper.backlog.count_last(packets, bytes);
        }
    }

    /// Writes what may go on now.
    pub(crate) fn release_delayed(&mut self, now: Instant, egress: &mut impl Egress) {
        if self.delayed.due.is_none_or(|due| now < due) {
            return;
        }
        // Nothing is delayed anew meanwhile.
        let mut delayed = std::mem::take(&mut self.delayed);
        delayed.due = None;
        delayed.ports.retain(|port| {
            self.release_from(*port, now, egress);
            let shaper = self.ports.get_mut(*port).and_then(|port| port.receives.as_mut());
            let due = shaper.and_then(|shaper| {
                let due = shaper.due(now);
                shaper.is_listed = due.is_some();
                due
            });
            delayed.due = delayed.due.into_iter().chain(due).min();
            due.is_some()
        });
        self.delayed = delayed;
    }

    /// Writes what waits at `port`, as far as its bucket goes.
    fn release_from(&mut self, port: PortId, now: Instant, egress: &mut impl Egress) {
        loop {
            let Some(to) = self.ports.get_mut(port) else { return };
            let Some(mut shaper) = to.receives.take() else { return };
            let released = shaper.release_one(to, now, egress);
            to.receives = Some(shaper);
            let Some((waiting, verdict)) = released else { return };
            self.account_waiting(waiting, verdict);
        }
    }

    /// Drops what waits at a port that is gone, or another one now.
    pub(crate) fn drop_backlog(&mut self, mut shaper: Shaper) {
        while let Some(waiting) = shaper.backlog.pop() {
            self.account_waiting(waiting, Err(DropReason::PortGone));
        }
    }

    /// Nothing is counted for a piece of a frame but the last, nor for what the switch sent itself.
    fn account_waiting(&mut self, waiting: Waiting, verdict: Verdict) {
        if waiting.packets > 0 {
            self.account(waiting.ingress, waiting.packets, waiting.received_bytes, verdict);
        }
    }
}
