//! Hash to slot and direction, read without a lock.
//!
//! A bucket is one cache line of seven ways, each one word: tag, slot, direction. A key is in its home
//! bucket or, if that was full, in one of the next [`MAX_REACH`]; the home's eighth word says how far its keys
//! went, so that nearly every lookup, a miss too, ends with one line. Keys never move, so a reader beside a writer
//! sees a key or not, never somewhere else; what it finds is a hint, to be compared with the entry's key.
//!
//! Writers hold the table's lock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use zerocopy::FromZeros;

use super::key::Direction;

const WAYS: usize = 7;

/// Keys per bucket when the table is full, rounded down to a power of two of buckets. Then one bucket in 20 is over-full
/// (Poisson) and the next ones have room.
const KEYS_PER_BUCKET: usize = 4;

/// How far from home. That so many in a row are full does not happen below the cap.
const MAX_REACH: usize = 32;

/// No entry. Never a way in use, as its tag is odd.
const EMPTY: u64 = 0;

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    // INVARIANT: a power of two of them.
    buckets: Box<[Bucket]>,
}

#[derive(Debug, FromZeros)]
#[repr(C, align(64))]
struct Bucket {
    /// Tag : 32, slot : 31, direction : 1.
    ways: [AtomicU64; WAYS],
    /// Keys of this home that are elsewhere : 56, how far at most : 8.
    elsewhere: AtomicU64,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Index {
    /// Room for `keys` keys.
    pub(super) fn new(keys: usize) -> Self {
        let count = keys.div_ceil(KEYS_PER_BUCKET).max(1).next_power_of_two();
        // Zeroed by the allocator: what is not used yet is not backed by memory.
        let buckets = <[Bucket]>::new_box_zeroed_with_elems(count).unwrap_or_default();
        Self { buckets }
    }

    /// The first place of `hash` that `check` accepts.
    pub(super) fn find<T>(&self, hash: u64, mut check: impl FnMut(u32, Direction) -> Option<T>) -> Option<T> {
        let home = self.bucket(hash, 0)?;
        if let Some(found) = home.find(hash, &mut check) {
            return Some(found);
        }
        let (_, reach) = unpack(home.elsewhere.load(Acquire));
        (1..=reach).find_map(|distance| self.bucket(hash, distance)?.find(hash, &mut check))
    }

    /// Loads the home of `hash`, for its effect on the cache; what comes back is of no other use.
    pub(super) fn touch(&self, hash: u64) -> u64 {
        self.bucket(hash, 0).map_or(0, |bucket| bucket.elsewhere.load(Relaxed))
    }

    /// The slot that `hash` is likely in, without a branch on what the line holds.
    pub(super) fn first_candidate(&self, hash: u64) -> Option<u32> {
        let ways = &self.bucket(hash, 0)?.ways;
        ways.iter().map(|way| way.load(Relaxed)).find(|way| way >> 32 == tag(hash)).map(slot)
    }

    /// Enters a key; `false` if there is no place within reach.
    pub(super) fn insert(&self, hash: u64, slot: u32, direction: Direction) -> bool {
        let word = tag(hash) << 32 | u64::from(slot) << 1 | direction as u64;
        let free = (0..=MAX_REACH).find_map(|distance| {
            let ways = &self.bucket(hash, distance)?.ways;
            Some((distance, ways.iter().find(|way| way.load(Relaxed) == EMPTY)?))
        });
        let Some((distance, way)) = free else { return false };
        if distance > 0
            && let Some(home) = self.bucket(hash, 0)
        {
            // Before the key, so that whoever sees it there looks there.
            let (count, reach) = unpack(home.elsewhere.load(Relaxed));
            home.elsewhere.store(pack(count + 1, reach.max(distance)), Release);
        }
        way.store(word, Release);
        true
    }

    /// Takes a key out.
    pub(super) fn remove(&self, hash: u64, slot: u32, direction: Direction) {
        let word = tag(hash) << 32 | u64::from(slot) << 1 | direction as u64;
        let place = (0..=MAX_REACH).find_map(|distance| {
            let ways = &self.bucket(hash, distance)?.ways;
            Some((distance, ways.iter().find(|way| way.load(Relaxed) == word)?))
        });
        let Some((distance, way)) = place else { return };
        way.store(EMPTY, Release);
        if distance > 0
            && let Some(home) = self.bucket(hash, 0)
        {
            let (count, reach) = unpack(home.elsewhere.load(Relaxed));
            let left = count.saturating_sub(1);
            home.elsewhere.store(pack(left, if left == 0 { 0 } else { reach }), Release);
        }
    }

    /// The low bits choose the home.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    fn bucket(&self, hash: u64, distance: usize) -> Option<&Bucket> {
        let position = (hash as usize).wrapping_add(distance) & self.buckets.len().wrapping_sub(1);
        self.buckets.get(position)
    }
}

impl Bucket {
    fn find<T>(&self, hash: u64, check: &mut impl FnMut(u32, Direction) -> Option<T>) -> Option<T> {
        let words = self.ways.iter().map(|way| way.load(Acquire));
        words.filter(|word| word >> 32 == tag(hash)).find_map(|word| check(slot(word), direction(word)))
    }
}

/// The high bits tell keys of one bucket apart. Odd, so never that of `EMPTY`.
const fn tag(hash: u64) -> u64 {
    hash >> 32 | 1
}

#[expect(clippy::cast_possible_truncation, reason = "unpacks a field at its width")]
const fn slot(word: u64) -> u32 {
    (word as u32) >> 1
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest bit is what is wanted")]
const fn direction(word: u64) -> Direction {
    Direction::from_bit(word as u32)
}

const fn pack(count: u64, reach: usize) -> u64 {
    count << 8 | reach as u64
}

const fn unpack(word: u64) -> (u64, usize) {
    (word >> 8, (word & 0xff) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: Direction = Direction::Original;

    fn slots(index: &Index, hash: u64) -> Vec<u32> {
        let mut slots = Vec::new();
        index.find(hash, |slot, _| {
            slots.push(slot);
            None::<()>
        });
        slots
    }

    #[test]
    fn keys_of_a_full_bucket_are_found_next_to_it_and_leave_no_trace() {
        let index = Index::new(256);
        let hash = |n: u64| n << 33 | 63;
        for n in 0..20u32 {
            assert!(index.insert(hash(n.into()), 100 + n, ORIGINAL));
        }
        for n in 0..20u32 {
            assert_eq!(slots(&index, hash(n.into())), [100 + n]);
        }
        // The last bucket's neighbour is the first; others with that home do not go far.
        assert_eq!(unpack(index.buckets[63].elsewhere.load(Relaxed)), (13, 2));
        for n in 0..20u32 {
            index.remove(hash(n.into()), 100 + n, ORIGINAL);
            assert_eq!(slots(&index, hash(n.into())), [0_u32; 0]);
        }
        assert!(index.buckets.iter().all(|bucket| bucket.elsewhere.load(Relaxed) == 0));
    }

    #[test]
    fn index_without_room_says_so() {
        let index = Index::new(1);
        for n in 0..7 {
            assert!(index.insert(n << 33, 1, ORIGINAL));
        }
        assert!(!index.insert(9 << 33, 1, ORIGINAL));
    }

    #[test]
    fn both_directions_of_one_tag_are_told_apart() {
        let index = Index::new(64);
        assert!(index.insert(5, 9, ORIGINAL) && index.insert(5, 9, Direction::Reply));
        let found = |wanted| index.find(5, |slot, way| (way == wanted).then_some(slot));
        assert_eq!((found(ORIGINAL), found(Direction::Reply)), (Some(9), Some(9)));
        index.remove(5, 9, ORIGINAL);
        assert_eq!((found(ORIGINAL), found(Direction::Reply)), (None, Some(9)));
    }
}
