//! Two in-memory devices joined by a cable, for tests and benchmarks of what sits on a [`Device`].
//!
//! Each end holds a bounded number of frames for the other; a full end says so, as a TAP does.
//! When one end is dropped, the other hands out what is left and is [`DeviceError::Gone`] then.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use protocol::Offloads;

use crate::device::{Device, DeviceError, Sent, VNET_HDR_LEN};

/// Frames on the way to one end.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    /// The end that fills or the end that empties it was dropped.
    closed: bool,
}

/// One end.
#[derive(Debug)]
pub struct Loopback {
    name: Arc<str>,
    incoming: Arc<Mutex<Queue>>,
    outgoing: Arc<Mutex<Queue>>,
    capacity: usize,
    offloads: Offloads,
}

impl Loopback {
    /// Two ends; each holds at most `capacity` frames that the other has not read.
    #[must_use]
    pub fn pair(capacity: usize, offloads: Offloads) -> (Self, Self) {
        let queues = [Arc::new(Mutex::new(Queue::default())), Arc::new(Mutex::new(Queue::default()))];
        let end = |name: &str, incoming: &Arc<_>, outgoing: &Arc<_>| Self {
            name: name.into(),
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
            capacity,
            offloads,
        };
        (end("loopback-a", &queues[0], &queues[1]), end("loopback-b", &queues[1], &queues[0]))
    }

    fn gone(&self) -> DeviceError {
        DeviceError::Gone { device: Arc::clone(&self.name), source: io::Error::from(Errno::EBADFD) }
    }
}

impl Device for Loopback {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        let mut queue = locked(&self.incoming);
        let Some(frame) = queue.frames.pop_front() else {
            return if queue.closed { Err(self.gone()) } else { Ok(None) };
        };
        // Cut off like the kernel does.
        let len = frame.len().min(buf.len());
        buf[..len].copy_from_slice(&frame[..len]);
        Ok(Some(len))
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        if frame.len() < VNET_HDR_LEN {
            return Err(DeviceError::from_tap(&self.name, Errno::EINVAL));
        }
        let mut queue = locked(&self.outgoing);
        if queue.closed {
            return Err(self.gone());
        }
        if queue.frames.len() >= self.capacity {
            return Ok(Sent::Full);
        }
        queue.frames.push_back(frame.to_vec());
        Ok(Sent::Sent)
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        locked(&self.incoming).closed = true;
        locked(&self.outgoing).closed = true;
    }
}

/// A queue is consistent between any two statements, so a panic elsewhere does not spoil it.
fn locked(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8) -> Vec<u8> {
        vec![tag; VNET_HDR_LEN + 14]
    }

    #[test]
    fn frames_cross_in_order_both_ways() {
        let (mut a, mut b) = Loopback::pair(4, Offloads::NONE);
        let mut buf = [0; 64];
        for tag in 1..=3 {
            assert_eq!(a.send(&frame(tag)).expect("send"), Sent::Sent);
        }
        b.send(&frame(9)).expect("send");
        for tag in 1..=3 {
            let len = b.recv(&mut buf).expect("recv").expect("a frame");
            assert_eq!(buf[..len], frame(tag));
        }
        assert_eq!(b.recv(&mut buf).expect("recv"), None);
        assert_eq!(a.recv(&mut buf).expect("recv"), Some(26));
    }

    #[test]
    fn full_end_says_so_and_loses_nothing() {
        let (mut a, mut b) = Loopback::pair(2, Offloads::NONE);
        let mut buf = [0; 64];
        assert_eq!(a.send(&frame(1)).expect("send"), Sent::Sent);
        assert_eq!(a.send(&frame(2)).expect("send"), Sent::Sent);
        assert_eq!(a.send(&frame(3)).expect("send"), Sent::Full);
        b.recv(&mut buf).expect("recv");
        assert_eq!(a.send(&frame(3)).expect("send"), Sent::Sent);
    }

    #[test]
    fn dropped_end_is_gone_after_its_last_frame() {
        let (mut a, mut b) = Loopback::pair(2, Offloads::NONE);
        let mut buf = [0; 64];
        a.send(&frame(1)).expect("send");
        drop(a);
        assert_eq!(b.recv(&mut buf).expect("the frame"), Some(26));
        assert!(b.recv(&mut buf).expect_err("gone").is_gone());
        assert!(b.send(&frame(2)).expect_err("gone").is_gone());
    }

    #[test]
    fn frame_without_header_is_refused() {
        let (mut a, _b) = Loopback::pair(2, Offloads::NONE);
        assert!(matches!(a.send(&[0; 5]), Err(DeviceError::Refused { .. })));
    }
}
