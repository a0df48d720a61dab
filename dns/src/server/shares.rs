//! Fair shares of places that there is a limited number of: connections, questions that wait for another server.
//!
//! # How it works
//! Who asks for a place gets one if it holds fewer than are free, times a factor (the *dynamic threshold* of shared buffers,
//! Choudhury and Hahne 1998). With factor 1, one greedy source holds half of all places, two hold a third each, and `n` of them leave
//! one part in `n + 1` free: whoever comes then finds a place. Nobody's place is taken away, and a source alone is
//! not held to what many would have.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// See the module's text. `K` is who holds places.
pub struct Shares<K> {
    capacity: usize,
    /// Of one, however many are free.
    most_of_one: usize,
    factor: usize,
    held: Mutex<Held<K>>,
    refused: AtomicU64,
}

/// INVARIANT: `total` is the sum of `of`, in which no number is zero; so `of` has `capacity` keys at most.
struct Held<K> {
    of: HashMap<K, usize, RandomState>,
    total: usize,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    /// `capacity` places, of which one may hold `most_of_one`, and `factor` times as many as are free.
    #[must_use]
    pub fn new(capacity: usize, most_of_one: usize, factor: usize) -> Arc<Self> {
        let held = Mutex::new(Held { of: HashMap::default(), total: 0 });
        Arc::new(Self { capacity, most_of_one, factor, held, refused: AtomicU64::new(0) })
    }

    /// A place for `key`; `None` if there is none for it.
    #[must_use]
    pub fn take(self: &Arc<Self>, key: K) -> Option<Place<K>> {
        let mut held = self.held.lock();
        let free = self.capacity.saturating_sub(held.total);
        let of_one = held.of.get(&key).copied().unwrap_or_default();
        if of_one >= self.most_of_one.min(free.saturating_mul(self.factor)) {
            drop(held);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        held.of.insert(key, of_one + 1);
        held.total += 1;
        drop(held);
        Some(Place { shares: Arc::clone(self), key })
    }

    /// Places that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.lock().total
    }

    /// How many hold some.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.held.lock().of.len()
    }

    /// How often there was no place.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// A place; given back when dropped.
pub struct Place<K: Copy + Eq + Hash> {
    shares: Arc<Shares<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        held.total = held.total.saturating_sub(1);
        if let Some(count) = held.of.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.of.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_greedy_share_and_leave_room_for_others() {
        for greedy in 1..20_u32 {
            let shares = Shares::new(1000, usize::MAX, 1);
            let mut places = Vec::new();
            for round in 0..4000 {
                places.extend(shares.take(round % greedy));
            }
            let fair = 1000 / (usize::try_from(greedy).unwrap() + 1);
            assert!(shares.held() <= 1000 - fair + 1, "{greedy}: {}", shares.held());
            assert!(shares.held() >= 1000 - 2 * fair, "{greedy}: {}", shares.held());
            let polite: Vec<_> = (0..fair / 2).map_while(|_| shares.take(1_000_000)).collect();
            assert_eq!(polite.len(), fair / 2, "{greedy} leave room");
        }
    }

    #[test]
    fn one_may_hold_so_many_and_gives_them_back() {
        let shares = Shares::new(512, 128, 1);
        let places: Vec<_> = (0..200).filter_map(|_| shares.take(1)).collect();
        assert_eq!((places.len(), shares.refused()), (128, 72));
        drop(places);
        assert_eq!((shares.held(), shares.holders()), (0, 0));
        assert!(Shares::new(0, 1, 1).take(1).is_none());
    }

    proptest! {
        #[test]
        fn places_are_neither_lost_nor_made(steps in proptest::collection::vec((0_u8..5, any::<bool>()), 0..300)) {
            let shares = Shares::new(20, 12, 2);
            let mut places: Vec<(u8, Place<u8>)> = Vec::new();
            for (key, takes) in steps {
                let of_one = places.iter().filter(|(of, _)| *of == key).count();
                if takes {
                    let fits = of_one < 12.min((20 - places.len()) * 2);
                    let place = shares.take(key);
                    prop_assert_eq!(place.is_some(), fits);
                    places.extend(place.map(|place| (key, place)));
                } else if let Some(at) = places.iter().position(|(of, _)| *of == key) {
                    places.swap_remove(at);
                }
                prop_assert_eq!(shares.held(), places.len());
                let keys: std::collections::BTreeSet<_> = places.iter().map(|(of, _)| *of).collect();
                prop_assert_eq!(shares.holders(), keys.len());
            }
        }
    }
}
