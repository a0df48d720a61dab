//! Frames read in one turn of the poll loop, in order of arrival.
//!
//! [`crate::Switch::process`] decides and writes all of them and leaves the frames in the batch;
//! [`Batch::recycle`] gives them back to the pool. Nothing is queued in between: a frame is hot in
//! the cache when it is written.

use protocol::PortId;

use crate::frame::Frame;
use crate::pool::Pool;

/// A bounded list of (ingress port, frame).
#[derive(Debug)]
pub struct Batch {
    entries: Vec<(PortId, Frame)>,
    max_frames: usize,
    bytes: usize,
}

impl Batch {
    /// An empty batch for at most `max_frames` frames.
    #[must_use]
    pub fn new(max_frames: usize) -> Self {
        Self { entries: Vec::with_capacity(max_frames), max_frames, bytes: 0 }
    }

    /// Adds a frame read from `ingress`; gives it back when the batch is full.
    ///
    /// # Errors
    /// The frame, when the batch [`is_full`](Self::is_full).
    pub fn push(&mut self, ingress: PortId, frame: Frame) -> Result<(), Frame> {
        if self.is_full() {
            return Err(frame);
        }
        self.bytes += frame.ethernet_len();
        self.entries.push((ingress, frame));
        Ok(())
    }

    /// Frames in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// No frame in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes in it, from the Ethernet headers on; for a caller's byte budget.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// No further frame fits.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.entries.len() >= self.max_frames
    }

    /// Empties the batch into the pool.
    pub fn recycle(&mut self, pool: &mut Pool) {
        // From the end, so that the pool, last in first out, hands them out in the same order again.
        while let Some((_, frame)) = self.entries.pop() {
            pool.put(frame);
        }
        self.bytes = 0;
    }

    /// The frames in order, at most `frames` at a time.
    pub(crate) fn windows_mut(&mut self, frames: usize) -> impl Iterator<Item = &mut [(PortId, Frame)]> {
        self.entries.chunks_mut(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_batch_gives_the_frame_back_and_recycling_returns_all() {
        let mut pool = Pool::new(2);
        let mut batch = Batch::new(1);
        let mut frame = pool.take().unwrap();
        frame.set_received(12 + 60);
        batch.push(PortId(3), frame).unwrap();
        assert!(batch.is_full());
        assert_eq!((batch.len(), batch.bytes()), (1, 60));
        let refused = batch.push(PortId(3), pool.take().unwrap()).unwrap_err();
        pool.put(refused);
        batch.recycle(&mut pool);
        assert!(batch.is_empty());
        assert_eq!((batch.bytes(), pool.available()), (0, 2));
    }
}
