//! Maglev's table (Eisenbud et al., NSDI 2016, §3.4): hash to backend, little changed when one backend comes or goes.
//!
//! How it works: each backend has a permutation of the table's places, from its address and port alone. In turn, each
//! takes the first place of its permutation that is still free, until all are taken. Who has a greater weight has more
//! turns: a heap says whose is next, so the table is built in `places × log(backends)` whatever the weights are.
//!
//! The hashes have no seed: every node and every successor process has the same table, and sends a client the same way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

use super::rng::{mix, reduce};

/// Sizes of tables: primes, so that every step is a permutation. The smallest with [`PLACES`] places a backend is
/// taken; a service with more backends than the largest has room for is balanced the less evenly.
const SIZES: [u16; 6] = [251, 509, 1021, 2039, 4093, 8191];
const LARGEST: u16 = 16_381;

/// Places for each backend: shares differ by some percent (the paper's §5.3), and a place is two bytes.
const PLACES: usize = 25;

/// See the module.
#[derive(Debug)]
pub(super) struct Maglev {
    /// Which of the backends.
    places: Box<[u16]>,
}

/// A backend's address, port, and weight, not 0.
pub(super) type Member = (Ipv4Addr, u16, u16);

/// A backend while the table is filled.
struct Filling {
    /// Next place of its permutation, and from one to the next.
    at: usize,
    step: usize,
    weight: u64,
    turns: u64,
}

impl Maglev {
    /// The table of these backends, at most 65,535.
    pub(super) fn new(members: &[Member]) -> Self {
        let wanted = members.len() * PLACES;
        let size = SIZES.into_iter().find(|size| usize::from(*size) >= wanted).unwrap_or(LARGEST);
        let len = usize::from(size);
        let heaviest = members.iter().map(|(_, _, weight)| u64::from(*weight)).max().unwrap_or(1);
        let mut filling: Vec<_> = members.iter().map(|member| Filling::new(member, size)).collect();
        // By round, then by position: with equal weights, one after the other.
        let mut turns: BinaryHeap<_> = (0..=u16::MAX).zip(&filling).map(|(n, _)| Reverse((0, n))).collect();
        let mut places: Vec<Option<u16>> = vec![None; len];
        for _ in 0..len {
            let Some(Reverse((_, number))) = turns.pop() else { break };
            let Some(backend) = filling.get_mut(usize::from(number)) else { break };
            // Some place is free, and a permutation visits all.
            while places.get(backend.at).is_some_and(Option::is_some) {
                backend.advance(len);
            }
            if let Some(place) = places.get_mut(backend.at) {
                *place = Some(number);
            }
            backend.turns += 1;
            turns.push(Reverse(((backend.turns * heaviest).div_ceil(backend.weight), number)));
        }
        Self { places: places.into_iter().flatten().collect() }
    }

    /// Which backend a client has; from `hash` on, which others come next.
    pub(super) fn members(&self, hash: u64) -> impl Iterator<Item = u16> {
        let start = reduce(hash, u32::try_from(self.places.len()).unwrap_or(u32::MAX)) as usize;
        let (before, after) = self.places.split_at_checked(start).unwrap_or_default();
        after.iter().chain(before).copied()
    }

    /// Bytes on the heap.
    pub(super) fn heap_size(&self) -> usize {
        size_of_val(&*self.places)
    }
}

impl Filling {
    fn new((address, port, weight): &Member, size: u16) -> Self {
        let hash = mix(u64::from(address.to_bits()) << 16 | u64::from(*port));
        let at = reduce(hash, size.into()) as usize;
        let step = 1 + reduce(mix(hash), u32::from(size) - 1) as usize;
        Self { at, step, weight: u64::from(*weight).max(1), turns: 0 }
    }

    const fn advance(&mut self, size: usize) {
        self.at += self.step;
        if self.at >= size {
            self.at -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(n: u8) -> Vec<Member> {
        (0..n).map(|n| (Ipv4Addr::new(10, 244, n, 7), 8080, 1)).collect()
    }

    fn shares(table: &Maglev, members: usize) -> Vec<usize> {
        (0..members).map(|n| table.places.iter().filter(|place| usize::from(**place) == n).count()).collect()
    }

    #[test]
    fn sizes_are_prime() {
        for size in SIZES.into_iter().chain([LARGEST]) {
            assert!((2..size).take_while(|n| n * n <= size).all(|n| size % n != 0), "{size}");
        }
    }

    #[test]
    fn every_place_is_taken_and_shares_are_equal_to_one() {
        for n in [1, 2, 3, 10, 11, 100, 255] {
            let table = Maglev::new(&members(n));
            let shares = shares(&table, n.into());
            let (min, max) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(max - min <= 1, "{n}: {min} to {max}");
            assert!(SIZES.contains(&u16::try_from(shares.iter().sum::<usize>()).unwrap()));
        }
        assert_eq!(Maglev::new(&[]).members(7).count(), 0);
    }

    #[test]
    fn shares_follow_weights() {
        let weights = [1, 2, 4, 65_535, 0];
        let members: Vec<_> =
            (1..).zip(weights).map(|(n, weight)| (Ipv4Addr::new(10, 0, 0, n), 1, weight)).collect();
        let table = Maglev::new(&members[..3]);
        let shares = shares(&table, 3);
        for (share, weight) in shares.iter().zip(weights) {
            assert!(share.abs_diff(251 * usize::from(weight) / 7) <= 3, "{shares:?}");
        }
        assert_eq!(Maglev::new(&members).places.len(), 251, "extremes end");
    }

    #[test]
    fn one_backend_less_moves_few_clients() {
        let all = members(10);
        let before = Maglev::new(&all);
        for gone in 0..all.len() {
            let mut rest = all.clone();
            rest.remove(gone);
            let after = Maglev::new(&rest);
            let moved = (0..10_000).filter(|client| {
                let hash = mix(*client);
                let old = all[usize::from(before.members(hash).next().unwrap())];
                old != all[gone] && old != rest[usize::from(after.members(hash).next().unwrap())]
            });
            // Of 9,000 that need not move. A hash modulo the number of backends would move 8,000.
            let moved = moved.count();
            assert!(moved < 2_000, "without {gone}, {moved} clients moved");
        }
    }
}
