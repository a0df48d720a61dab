//! What a station sends: a port that has used up its rate is not read until it has some again.
//!
//! Each port is read by one worker, so its bucket is that worker's own. Frames count when they were read, whatever becomes of them,
//! as they would on a slower cable.

use protocol::PortId;

use super::wire_bytes;
use crate::frame::Frame;
use crate::switch::Switch;
use crate::time::Instant;
use crate::window::Seen;

/// Whether a port may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayRead {
    /// As much as there is.
    Anything,
    /// Until so many bytes are read.
    Bytes(usize),
    /// Not before.
    NotBefore(Instant),
}

impl Switch {
    /// Whether any port has a limit of what it sends; without, [`Self::may_read`] need not be asked.
    #[must_use]
    pub const fn limits_senders(&self) -> bool {
        self.ports.limits_senders()
    }

    /// Whether `port` has one.
    #[must_use]
    pub fn limits_sender(&self, port: PortId) -> bool {
        self.ports.get(port).is_some_and(|port| port.sends.is_some())
    }

    /// Whether `port` may be read. A refusal is counted: the port is paused until then.
    pub fn may_read(&mut self, port: PortId, now: Instant) -> MayRead {
        let Some(port) = self.ports.get_mut(port) else { return MayRead::Anything };
        let Some(bucket) = &port.sends else { return MayRead::Anything };
        match bucket.empty_until(now) {
            Some(until) => {
                port.counters.paused();
                MayRead::NotBefore(until)
            }
            None => MayRead::Bytes(bucket.holds(now)),
        }
    }

    /// Takes what was read from their ports' buckets.
    #[inline(never)]
    pub(crate) fn charge_senders(&mut self, frames: &[(PortId, Frame)], seen: &[Seen], now: Instant) {
        for ((ingress, _), seen) in frames.iter().zip(seen) {
            if let Some(bucket) = self.ports.get_mut(*ingress).and_then(|port| port.sends.as_mut()) {
                let bytes = match &seen.received {
                    Ok(received) => wire_bytes(received, seen.bytes),
                    Err(_) => seen.bytes.saturating_sub(crate::frame::ETHERNET_HDR_LEN),
                };
                bucket.take(now, bytes);
            }
        }
    }
}
