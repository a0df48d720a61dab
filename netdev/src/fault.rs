//! A device that loses, corrupts, duplicates, reorders and delays what passes through it, by a
//! seed, so that a failing run can be run again.
//!
//! Delay counts frames, not time: a delayed frame is let go after a number of later ones. When
//! nothing more comes, nothing stays behind: [`Device::recv`] releases what it held once the inner
//! device is empty, and [`FaultInjector::flush`] does so for what was being sent.

use std::collections::VecDeque;

use protocol::Offloads;

use crate::device::{Device, DeviceError, Sent, VNET_HDR_LEN};

/// Frames held back at most per direction; more delays pass undelayed.
const MAX_HELD_FRAMES: usize = 256;
/// Rates are shares of this.
pub const RATE_SCALE: u32 = 10_000;

/// How often each fault happens, out of [`RATE_SCALE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultRates {
    /// Lost.
    pub drop: u32,
    /// One bit behind the virtio-net header flipped.
    pub corrupt: u32,
    /// Sent twice in a row.
    pub duplicate: u32,
    /// Overtaken by the next frame.
    pub reorder: u32,
    /// Overtaken by the next `delay_frames`.
    pub delay: u32,
    /// See `delay`.
    pub delay_frames: u32,
}

/// What happened so far in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounts {
    /// Frames that came in.
    pub frames: u64,
    /// Lost.
    pub dropped: u64,
    /// With a flipped bit.
    pub corrupted: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Overtaken by the next.
    pub reordered: u64,
    /// Overtaken by several.
    pub delayed: u64,
}

/// A frame on its way and how many later frames it still lets pass.
#[derive(Debug)]
struct Held {
    frame: Vec<u8>,
    remaining: u32,
}

/// One direction.
#[derive(Debug)]
struct Line {
    rates: FaultRates,
    counts: FaultCounts,
    random: SplitMix,
    held: Vec<Held>,
    ready: VecDeque<Vec<u8>>,
}

impl Line {
    fn new(rates: FaultRates, seed: u64) -> Self {
        Self {
            rates,
            counts: FaultCounts::default(),
            random: SplitMix(seed),
            held: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// Takes a frame; what is to go on now ends up in `ready`, in order.
    fn admit(&mut self, frame: &[u8]) {
        self.counts.frames += 1;
        // Every fault draws every time, so that one rate does not shift the others' sequence.
        let rates = self.rates;
        let [drop, corrupt, duplicate, reorder, delay] =
            [rates.drop, rates.corrupt, rates.duplicate, rates.reorder, rates.delay]
                .map(|rate| self.happens(rate));
        let position = self.random.next();
        if drop {
            self.counts.dropped += 1;
            return;
        }
        let mut frame = frame.to_vec();
        if corrupt && flip_bit(&mut frame, position) {
            self.counts.corrupted += 1;
        }
        let overtaken_by = match (reorder, delay) {
            (_, true) => rates.delay_frames,
            (true, false) => 1,
            (false, false) => 0,
        };
        if overtaken_by > 0 && self.held.len() < MAX_HELD_FRAMES {
            self.counts.delayed += u64::from(delay);
            self.counts.reordered += u64::from(!delay);
            self.pass();
            self.held.push(Held { frame, remaining: overtaken_by });
            return;
        }
        if duplicate {
            self.counts.duplicated += 1;
            self.ready.push_back(frame.clone());
        }
        self.ready.push_back(frame);
        self.pass();
    }

    /// One frame has gone past those held.
    fn pass(&mut self) {
        for held in &mut self.held {
            held.remaining = held.remaining.saturating_sub(1);
        }
        for held in self.held.extract_if(.., |held| held.remaining == 0) {
            self.ready.push_back(held.frame);
        }
    }

    fn release(&mut self) {
        self.ready.extend(self.held.drain(..).map(|held| held.frame));
    }

    fn happens(&mut self, rate: u32) -> bool {
        self.random.next() % u64::from(RATE_SCALE) < u64::from(rate)
    }
}

/// Flips one bit of the Ethernet frame; false if there is none.
fn flip_bit(frame: &mut [u8], position: u64) -> bool {
    let Some(ethernet) = frame.get_mut(VNET_HDR_LEN..).filter(|bytes| !bytes.is_empty()) else {
        return false;
    };
    let bits = u64::try_from(ethernet.len()).unwrap_or(u64::MAX).saturating_mul(8);
    let bit = usize::try_from(position % bits).unwrap_or(0);
    ethernet[bit / 8] ^= 1 << (bit % 8);
    true
}

/// Sebastiano Vigna's SplitMix64: one word of state, any seed is good.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct FaultInjector<D> {
    inner: D,
    receiving: Line,
    sending: Line,
}

impl<D: Device> FaultInjector<D> {
    /// Wraps `inner` with rates for each direction.
    pub fn new(inner: D, seed: u64, receiving: FaultRates, sending: FaultRates) -> Self {
        let mut seeds = SplitMix(seed);
        let (receive_seed, send_seed) = (seeds.next(), seeds.next());
        Self { inner, receiving: Line::new(receiving, receive_seed), sending: Line::new(sending, send_seed) }
    }

    /// What happened to frames received.
    pub fn receive_counts(&self) -> FaultCounts {
        self.receiving.counts
    }

    /// What happened to frames sent.
    pub fn send_counts(&self) -> FaultCounts {
        self.sending.counts
    }

    /// Sends what is held back.
    pub fn flush(&mut self) -> Result<Sent, DeviceError> {
        self.sending.release();
        self.drain()
    }

    /// The wrapped device.
    pub fn into_inner(self) -> D {
        self.inner
    }

    fn drain(&mut self) -> Result<Sent, DeviceError> {
        while let Some(frame) = self.sending.ready.front() {
            match self.inner.send(frame)? {
                Sent::Sent => drop(self.sending.ready.pop_front()),
                Sent::Full => return Ok(Sent::Full),
            }
        }
        Ok(Sent::Sent)
    }
}

impl<D: Device> Device for FaultInjector<D> {
    fn recv(&mut self, buf: &mut [u8]) -> Result<Option<usize>, DeviceError> {
        loop {
            if let Some(frame) = self.receiving.ready.pop_front() {
                let len = frame.len().min(buf.len());
                buf[..len].copy_from_slice(&frame[..len]);
                return Ok(Some(len));
            }
            match self.inner.recv(buf)? {
                Some(len) => self.receiving.admit(&buf[..len]),
                None if self.receiving.held.is_empty() => return Ok(None),
                None => self.receiving.release(),
            }
        }
    }

    fn send(&mut self, frame: &[u8]) -> Result<Sent, DeviceError> {
        // Frames that did not fit the last time come first; until they do, nothing new is taken.
        if self.drain()? == Sent::Full {
            return Ok(Sent::Full);
        }
        self.sending.admit(frame);
        // Taken, whether or not the inner device has room for all of it now.
        self.drain()?;
        Ok(Sent::Sent)
    }

    fn offloads(&self) -> Offloads {
        self.inner.offloads()
    }
}
