//! Later fragments that wait for their first: a fixed number of buffers.
//!
//! They are looked through one by one: they are few, and only fragments that overtook their first are put here.
//! A frame that waits is counted when it is decided, so at no moment there is one without a verdict.

use std::time::Duration;

use protocol::{PeerId, PortId};

use super::Datagram;
use crate::frame::Frame;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};

/// Buffers, 128 KiB a worker.
const BUFFERS: usize = 64;
/// ... of one port: the fragments of a datagram of 20 KiB. RFC 4787 REQ-14 asks for no number.
const BUFFERS_PER_PORT: usize = BUFFERS / 4;
/// Bytes of one: a frame of an underlay of 1500 bytes. Larger ones do not wait.
const BUFFER_SIZE: usize = 2048;
/// Time to wait: ways of a network differ by milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Held {
    buffers: Box<[Buffer]>,
    /// Orders those that came at one time.
    arrivals: u64,
    len: usize,
}

#[derive(Debug)]
struct Buffer {
    waiting: Option<Waiting>,
    bytes: Box<[u8]>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    datagram: Datagram,
    ingress: PortId,
    peer: Option<PeerId>,
    len: usize,
    received_bytes: usize,
    arrival: u64,
    since: Instant,
}

/// One that waited in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waited {
    pub(super) ingress: PortId,
    /// As it was read.
    pub(super) bytes: usize,
}

impl Held {
    pub(super) fn new() -> Self {
        let buffer = || Buffer { waiting: None, bytes: vec![0; BUFFER_SIZE].into_boxed_slice() };
        Self { buffers: (0..BUFFERS).map(|_| buffer()).collect(), arrivals: 0, len: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether fragments of the datagram wait.
    pub(super) fn has(&self, datagram: Datagram) -> bool {
        self.len > 0 && self.waiting().any(|(_, waiting)| waiting.datagram == datagram)
    }

    /// Puts a frame in, which is copied; gives the one that had to make room.
    pub(super) fn put(
        &mut self,
        datagram: Datagram,
        ingress: PortId,
        frame: &Frame,
        now: Instant,
    ) -> Verdict<Option<Waited>> {
        let len = frame.ethernet_len();
        if len > BUFFER_SIZE {
            return Err(DropReason::FragmentWithoutFirst);
        }
        let evicted = self.make_room(ingress);
        let place = self.buffers.iter_mut().find(|buffer| buffer.waiting.is_none());
        let Some(place) = place else { return Err(DropReason::FragmentWithoutFirst) };
        if let Some(bytes) = place.bytes.get_mut(..len) {
            bytes.copy_from_slice(frame.ethernet());
        }
        self.arrivals += 1;
        self.len += 1;
        place.waiting = Some(Waiting {
            datagram,
            ingress,
            peer: frame.peer(),
            len,
            received_bytes: frame.received_bytes(),
            arrival: self.arrivals,
            since: now,
        });
        Ok(evicted)
    }

    /// Takes the datagram's oldest out into `frame`; gives the port it came in by.
    pub(super) fn take(&mut self, datagram: Datagram, frame: &mut Frame) -> Option<PortId> {
        let of_datagram = |waiting: &Waiting| waiting.datagram == datagram;
        let (position, waiting) = self.oldest(of_datagram)?;
        let bytes = self.buffers.get(position).and_then(|buffer| buffer.bytes.get(..waiting.len))?;
        frame.fill(bytes);
        if let Some(peer) = waiting.peer {
            frame.set_origin(peer, 1, waiting.received_bytes);
        }
        self.remove(position);
        Some(waiting.ingress)
    }

    /// Takes one out that has waited for too long.
    pub(super) fn late(&mut self, now: Instant) -> Option<Waited> {
        if self.len == 0 {
            return None;
        }
        let (position, _) = self.oldest(|waiting| now.saturating_since(waiting.since) >= PATIENCE)?;
        self.remove(position)
    }

    /// A port that has its share loses its oldest; when all are in use, the port with most does.
    fn make_room(&mut self, ingress: PortId) -> Option<Waited> {
        let of = |port: PortId| self.waiting().filter(|(_, waiting)| waiting.ingress == port).count();
        let loser = if of(ingress) >= BUFFERS_PER_PORT {
            ingress
        } else if self.len >= BUFFERS {
            self.waiting().map(|(_, waiting)| waiting.ingress).max_by_key(|port| of(*port))?
        } else {
            return None;
        };
        let (position, _) = self.oldest(|waiting| waiting.ingress == loser)?;
        self.remove(position)
    }

    fn oldest(&self, wanted: impl Fn(&Waiting) -> bool) -> Option<(usize, Waiting)> {
        self.waiting().filter(|(_, waiting)| wanted(waiting)).min_by_key(|(_, waiting)| waiting.arrival)
    }

    fn waiting(&self) -> impl Iterator<Item = (usize, Waiting)> {
        let all = self.buffers.iter().enumerate();
        all.filter_map(|(position, buffer)| buffer.waiting.map(|waiting| (position, waiting)))
    }

    fn remove(&mut self, position: usize) -> Option<Waited> {
        let waiting = self.buffers.get_mut(position)?.waiting.take()?;
        self.len -= 1;
        Some(Waited { ingress: waiting.ingress, bytes: waiting.received_bytes })
    }
}
