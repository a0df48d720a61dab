//! Hash to slot: buckets of one cache line each.

/// Entries of a bucket: a tag and a slot number each, together one cache line.
pub(super) const WAYS: usize = 8;

/// Flows per bucket when the table is full, rounded down to a power of two of buckets. Then one bucket
/// in 50 would hold more than [`WAYS`] (Poisson), and under one flow in 100 has no place; half full, it
/// is one bucket in 4,000. Twice as many buckets cost more in the caches than these evictions do.
const FLOWS_PER_BUCKET: u32 = 4;

/// No entry. Never the tag of a hash.
const EMPTY: u32 = 0;

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    // INVARIANT: a power of two of them.
    buckets: Box<[Bucket]>,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u32; WAYS],
    slots: [u32; WAYS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Index {
    /// Room for `flows` flows.
    pub(super) fn new(flows: u32) -> Self {
        let buckets = flows.div_ceil(FLOWS_PER_BUCKET).max(1).next_power_of_two();
        let empty = Bucket { tags: [EMPTY; WAYS], slots: [0; WAYS] };
        Self { buckets: vec![empty; buckets as usize].into_boxed_slice() }
    }

    /// The slots that `hash` may be in: mostly none or the right one.
    pub(super) fn candidates(&self, hash: u64) -> Candidates {
        match self.bucket(hash) {
            Some(bucket) => Candidates { ways: bucket.matching(tag(hash)), slots: bucket.slots },
            None => Candidates { ways: 0, slots: [0; WAYS] },
        }
    }

    /// The first of [`Self::candidates`], read from one cache line without a branch on what is in it.
    pub(super) fn first_candidate(&self, hash: u64) -> Option<u32> {
        let bucket = self.bucket(hash)?;
        let way = bucket.matching(tag(hash)).trailing_zeros() as usize;
        bucket.slots.get(way).copied()
    }

    /// Loads the bucket of `hash`, for its effect on the cache; what comes back is of no other use.
    pub(super) fn touch(&self, hash: u64) -> u32 {
        self.bucket(hash).and_then(|bucket| bucket.tags.first()).copied().unwrap_or_default()
    }

    /// Every slot in the bucket of `hash`, if there is no room for another.
    pub(super) fn full_bucket(&self, hash: u64) -> Option<[u32; WAYS]> {
        let bucket = self.bucket(hash)?;
        (bucket.matching(EMPTY) == 0).then_some(bucket.slots)
    }

    /// Enters `slot`; nothing happens when the bucket is full.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let Some(bucket) = self.bucket_mut(hash) else { return };
        let mut places = bucket.tags.iter_mut().zip(&mut bucket.slots);
        if let Some((place, number)) = places.find(|(place, _)| **place == EMPTY) {
            (*place, *number) = (tag(hash), slot);
        }
    }

    /// Takes `slot` out.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let Some(bucket) = self.bucket_mut(hash) else { return };
        for (place, number) in bucket.tags.iter_mut().zip(&bucket.slots) {
            if *place != EMPTY && *number == slot {
                *place = EMPTY;
            }
        }
    }

    fn bucket(&self, hash: u64) -> Option<&Bucket> {
        self.buckets.get(self.position(hash))
    }

    fn bucket_mut(&mut self, hash: u64) -> Option<&mut Bucket> {
        let position = self.position(hash);
        self.buckets.get_mut(position)
    }

    /// The low bits choose the bucket.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    const fn position(&self, hash: u64) -> usize {
        hash as usize & self.buckets.len().wrapping_sub(1)
    }
}

impl Bucket {
    /// A bit for each way with this tag.
    fn matching(&self, tag: u32) -> u32 {
        // All ways, without leaving early: eight comparisons are two vector instructions.
        self.tags.iter().enumerate().fold(0, |ways, (way, other)| ways | u32::from(*other == tag) << way)
    }
}

/// The high bits tell flows of one bucket apart.
const fn tag(hash: u64) -> u32 {
    // Never `EMPTY`.
    (hash >> 32) as u32 | 1
}

/// Slots with the right tag.
#[derive(Debug)]
pub(super) struct Candidates {
    ways: u32,
    slots: [u32; WAYS],
}

impl Iterator for Candidates {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let slot = self.slots.get(self.ways.trailing_zeros() as usize).copied()?;
        self.ways &= self.ways - 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_holds_as_many_as_it_has_ways_and_finds_each_by_tag() {
        let mut index = Index::new(1);
        let hash = |n: u64| n << 33;
        for n in 0..8 {
            assert_eq!(index.full_bucket(0), None);
            index.insert(hash(n), 100 + u32::try_from(n).unwrap());
        }
        assert_eq!(index.full_bucket(0), Some([100, 101, 102, 103, 104, 105, 106, 107]));
        index.insert(hash(9), 109);
        assert_eq!(index.first_candidate(hash(9)), None);
        assert_eq!(index.first_candidate(hash(5)), Some(105));
        index.remove(hash(5), 105);
        assert_eq!(index.candidates(hash(5)).next(), None);
        // Two slots of one tag: the index cannot tell them apart, and says both.
        index.insert(hash(4), 200);
        assert_eq!(index.candidates(hash(4)).collect::<Vec<_>>(), [104, 200]);
    }
}
