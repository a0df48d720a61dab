//! Which queries over UDP go without an answer while there are more than can be answered.
//!
//! # How it works
//! The kernel's queue is one for all clients: once it is full, a polite client's query is lost as likely as one of a flood. So
//! before that, when half of it is taken, queries of sources that send many are dropped without an answer, but for one in
//! `ANSWERED`; that costs a fraction of an answer, and the queue becomes short again. Who sends few is answered always.
//! A source alone is never dropped from: there is nobody to protect, and the kernel does it as well.
//!
//! Sources are counted in slots by a hash whose seed changes with every window of `WINDOW` queries, so that two that share a slot
//! do so for milliseconds. Nothing is counted, and nothing hashed, while the queue is short.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;

/// Slots that sources are counted in.
const SLOTS: usize = 1024;
/// Queries until counting begins anew.
const WINDOW: u32 = 4096;
/// Of a window's queries, how many one source may send before it sends many.
const FEW: u16 = 64;
/// Of those that send many, one query in so many is answered.
const ANSWERED: u16 = 16;

/// See the module's text. One for each thread.
pub struct Crowd {
    counts: Box<[u16; SLOTS]>,
    hasher: RandomState,
    seen: u32,
    /// The first slot of this window, and whether there are others, in this one and in the one before.
    first: Option<usize>,
    mixed: [bool; 2],
    is_pressed: bool,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            counts: Box::new([0; SLOTS]),
            hasher: RandomState::default(),
            seen: 0,
            first: None,
            mixed: [false; 2],
            is_pressed: false,
        }
    }
}

impl Crowd {
    /// The kernel's queue has `queued` of `limit` bytes. It is pressed from a half on, until an eighth is left.
    pub fn look(&mut self, queued: usize, limit: usize) {
        let was = self.is_pressed;
        self.is_pressed = queued > limit / if was { 8 } else { 2 };
        if self.is_pressed && !was {
            self.mixed = [false; 2];
            self.begin_window();
        }
    }

    /// Whether the queue was long when it was looked at last.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// Whether a query of `source` is to be answered.
    pub fn admits(&mut self, source: IpAddr) -> bool {
        if !self.is_pressed {
            return true;
        }
        if self.seen >= WINDOW {
            self.begin_window();
        }
        self.seen += 1;
        let slot = usize::try_from(self.hasher.hash_one(source) >> 32).unwrap_or_default() % SLOTS;
        self.mixed[0] |= *self.first.get_or_insert(slot) != slot;
        let Some(count) = self.counts.get_mut(slot) else { return true };
        *count = count.saturating_add(1);
        *count <= FEW || !self.mixed.contains(&true) || count.is_multiple_of(ANSWERED)
    }

    fn begin_window(&mut self) {
        self.counts.fill(0);
        self.hasher = RandomState::default();
        self.seen = 0;
        self.first = None;
        self.mixed = [false, self.mixed[0]];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn pressed() -> Crowd {
        let mut crowd = Crowd::default();
        crowd.look(60, 100);
        crowd
    }

    #[test]
    fn pressure_begins_at_a_half_and_ends_at_an_eighth() {
        let mut crowd = Crowd::default();
        for (queued, expected) in
            [(0, false), (50, false), (51, true), (40, true), (13, true), (12, false), (40, false)]
        {
            crowd.look(queued, 100);
            assert_eq!(crowd.is_pressed(), expected, "{queued}");
        }
        for number in 0..100_000 {
            assert!(crowd.admits(source(number % 2)), "without pressure all are answered");
        }
    }

    #[test]
    fn one_alone_is_always_answered() {
        let mut crowd = pressed();
        assert!((0..100_000).all(|_| crowd.admits(source(7))));
    }

    #[test]
    fn floods_are_answered_seldom_and_the_polite_nearly_always() {
        for floods in [1, 3, 10] {
            let mut crowd = pressed();
            let (mut flooded, mut polite, mut asked) = (0, 0, 0);
            for round in 0..200_000_u32 {
                flooded += u32::from(crowd.admits(source(round % floods)));
                if round % 1000 == 0 {
                    asked += 1;
                    polite += u32::from(crowd.admits(source(1_000_000)));
                }
            }
            // The first of each window are answered: 64 of 4096 / floods, and one in 16.
            assert!(flooded < 200_000 / 16 + 49 * 64 * floods + 200_000 / 100, "{floods}: {flooded}");
            // It shares its slot for a window in a hundred, of some fifty.
            assert!(polite + 40 >= asked, "{floods}: {polite} of {asked}");
        }
    }

    proptest! {
        #[test]
        fn whoever_sends_few_is_answered_if_slots_are_not_shared(others in 0_u32..20, own in 1_usize..64) {
            // Of a window with few sources, whose slots differ nearly always: tried again where they do not.
            let served = (0..8).any(|_| {
                let mut crowd = pressed();
                let mut admitted = 0;
                for _ in 0..own {
                    for other in 0..others {
                        crowd.admits(source(other));
                    }
                    admitted += usize::from(crowd.admits(source(1_000_000)));
                }
                admitted == own
            });
            prop_assert!(served);
        }
    }
}
