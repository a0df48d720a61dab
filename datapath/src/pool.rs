//! A bounded LIFO pool of frames.
//!
//! Last in, first out: the buffer just written is the one still in the cache, and at idle the
//! rest stays cold. The pool never allocates after `new` and never grows, so the memory of all
//! frames is fixed when the daemon starts.

use crate::frame::Frame;

/// Frames waiting to be filled.
#[derive(Debug)]
pub struct Pool {
    frames: Vec<Frame>,
    // `Vec::capacity` may be larger than asked for; this is the bound.
    size: usize,
}

impl Pool {
    /// A pool of `frames` empty frames.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self { frames: (0..frames).map(|_| Frame::new()).collect(), size: frames }
    }

    /// The frame returned last, or `None` when all are in use: read no further until some return.
    pub fn take(&mut self) -> Option<Frame> {
        self.frames.pop()
    }

    /// Returns a frame. One too many (it came from another pool) is freed instead of kept.
    pub fn put(&mut self, frame: Frame) {
        if self.frames.len() < self.size {
            self.frames.push(frame);
        }
    }

    /// Frames that can be taken now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_is_lifo_and_never_grows() {
        let mut pool = Pool::new(2);
        let mut first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert!(pool.take().is_none());
        first.set_received(33);
        pool.put(second);
        pool.put(first);
        assert_eq!(pool.available(), 2);
        pool.put(Pool::new(1).take().unwrap());
        assert_eq!(pool.available(), 2);
        assert_eq!(pool.take().unwrap().bytes().len(), 33);
    }
}
