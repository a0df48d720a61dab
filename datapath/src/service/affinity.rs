//! Session affinity: which backend a client had last (`sessionAffinity: ClientIP`).
//!
//! A fixed array of plain numbers, shared by all workers and without a lock, so that it can lie in memory that a
//! successor process finds: an entry names its backend by address and port, which still mean something there, and says
//! in seconds of the monotonic clock when it was last used. Two words:
//!
//! ```text
//! word 1   backend's address : 32   its port : 16                           low half of the time : 16
//! word 0  (service : 16   client's address : 32) xor (upper 48 of word 1)   high half of the time : 16
//! ```
//!
//! How it works: a key belongs to one set of [`WAYS`] entries, a cache line. Workers write both words without
//! coordination; an entry read half old and half new fails the exclusive or and is nobody's (Hyatt and Mann, "A lock-less
//! transposition table", 2002). Whoever reads decides whether the backend may still be used and whether the entry is too
//! old for the service, so nothing needs to be removed. A full set gives up the entry that was unused for longest: who
//! has many addresses makes others lose their place, but no more than that.

use std::hash::BuildHasher;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use protocol::ServiceId;
use zerocopy::FromZeros;

use super::shared::SharedServices;
use crate::time::Instant;

/// Clients remembered at most: of each of a thousand services 128. 2 MiB.
const ENTRIES: usize = 1 << 17;

/// Entries of a set: one cache line.
const WAYS: usize = 4;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Affinity {
    words: Box<[AtomicU64]>,
    hasher: SeedableRandomState,
    /// Entries that gave way to others while they may have been of use.
    evictions: AtomicU64,
    /// Knows what is not here, for choices that are only tried.
    below: Option<Arc<SharedServices>>,
}

impl Affinity {
    /// Knows what `below` knows, and changes nothing of it.
    pub(super) fn above(below: &Arc<SharedServices>) -> Self {
        Self { below: Some(Arc::clone(below)), ..Self::new(0) }
    }

    pub(super) fn new(seed: u64) -> Self {
        Self {
            words: <[AtomicU64]>::new_box_zeroed_with_elems(2 * ENTRIES).unwrap_or_default(),
            // Nothing of the process's own in it: a successor that is given the seed finds the entries.
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            evictions: AtomicU64::new(0),
            below: None,
        }
    }

    /// The backend the client had, if that is less than `timeout_seconds` ago.
    pub(super) fn lookup(
        &self,
        service: ServiceId,
        client: Ipv4Addr,
        timeout_seconds: u32,
        now: Instant,
    ) -> Option<(Ipv4Addr, u16)> {
        let key = key(service, client);
        let found = self.set(key)?.map(Entry::load).find(|entry| entry.key == key && entry.time != 0);
        let Some(entry) = found else {
            let below = self.below.as_ref()?;
            return below.affinity.lookup(service, client, timeout_seconds, now);
        };
        (seconds(now).saturating_sub(entry.time) < timeout_seconds).then(|| entry.backend())
    }

    /// The client has a new connection to this backend.
    pub(super) fn remember(
        &self,
        service: ServiceId,
        client: Ipv4Addr,
        backend: (Ipv4Addr, u16),
        now: Instant,
    ) {
        let key = key(service, client);
        let backend = u64::from(backend.0.to_bits()) << 16 | u64::from(backend.1);
        let new = Entry { key, backend, time: seconds(now) };
        let Some(set) = self.set(key) else { return };
        let mut oldest = None;
        for place in set {
            let entry = Entry::load(place);
            if entry.key == key {
                // A client that connects a thousand times a second writes once.
                if entry != new {
                    new.store(place);
                }
                return;
            }
            if oldest.is_none_or(|(_, time)| entry.time < time) {
                oldest = Some((place, entry.time));
            }
        }
        if let Some((place, time)) = oldest {
            if time != 0 {
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
            new.store(place);
        }
    }

    /// Entries that made room for others.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    fn set(&self, key: u64) -> Option<impl Iterator<Item = &[AtomicU64; 2]>> {
        const { assert!(ENTRIES.is_power_of_two() && ENTRIES / WAYS <= 1 << 32) };
        let sets = ENTRIES / WAYS;
        let set = usize::try_from(self.hasher.hash_one(key) >> 32).ok()? & (sets - 1);
        let words = self.words.get(set * 2 * WAYS..(set + 1) * 2 * WAYS)?;
        Some(words.as_chunks::<2>().0.iter())
    }
}

/// An entry's fields; all zero in one that was never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Service and client, 48 bits.
    key: u64,
    /// Address and port, 48 bits.
    backend: u64,
    time: u32,
}

impl Entry {
    fn load([first, second]: &[AtomicU64; 2]) -> Self {
        let (first, second) = (first.load(Ordering::Relaxed), second.load(Ordering::Relaxed));
        let backend = second >> 16;
        let time = (first & 0xffff) << 16 | second & 0xffff;
        Self { key: first >> 16 ^ backend, backend, time: u32::try_from(time).unwrap_or_default() }
    }

    fn store(self, [first, second]: &[AtomicU64; 2]) {
        let time = u64::from(self.time);
        first.store((self.key ^ self.backend) << 16 | time >> 16, Ordering::Relaxed);
        second.store(self.backend << 16 | time & 0xffff, Ordering::Relaxed);
    }

    #[expect(clippy::cast_possible_truncation, reason = "unpacks fields at their widths")]
    const fn backend(self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::from_bits((self.backend >> 16) as u32), self.backend as u16)
    }
}

fn key(service: ServiceId, client: Ipv4Addr) -> u64 {
    const { assert!(ServiceId::MAX_SERVICES <= 1 << 16) };
    u64::from(service.0) << 32 | u64::from(client.to_bits())
}

/// Never 0, which no entry in use has. Enough for 136 years after boot.
fn seconds(now: Instant) -> u32 {
    u32::try_from(now.as_nanos() / NANOS_PER_SECOND + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BACKEND: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 244, 1, 255), 65_535);
    const OTHER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 244, 0, 0), 1);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 254);

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_client_is_remembered_for_the_timeout_after_its_last_connection() {
        let table = Affinity::new(1);
        // Beyond 2¹⁶ s, where the time's halves change together.
        for start in [0, 65_530, 10_000_000] {
            let service = ServiceId(65_535);
            assert_eq!(table.lookup(service, CLIENT, 100, at(start)), None);
            table.remember(service, CLIENT, BACKEND, at(start));
            assert_eq!(table.lookup(service, CLIENT, 100, at(start + 99)), Some(BACKEND));
            assert_eq!(table.lookup(service, CLIENT, 100, at(start + 100)), None);
            table.remember(service, CLIENT, OTHER, at(start + 60));
            assert_eq!(table.lookup(service, CLIENT, 100, at(start + 159)), Some(OTHER));
            assert_eq!(table.lookup(ServiceId(0), CLIENT, 100, at(start + 60)), None, "another service");
        }
        assert_eq!(table.evictions(), 0);
    }

    #[test]
    fn a_full_set_gives_up_what_was_unused_longest() {
        let table = Affinity::new(1);
        let clients = |from: u32| (from..).map(Ipv4Addr::from_bits);
        for client in clients(1).take(10 * ENTRIES) {
            table.remember(ServiceId(1), client, BACKEND, at(1));
        }
        assert!(table.evictions() >= 9 * ENTRIES as u64);
        table.remember(ServiceId(2), CLIENT, OTHER, at(2));
        let set = table.set(key(ServiceId(2), CLIENT)).unwrap();
        let times: Vec<_> = set.map(|place| Entry::load(place).time).collect();
        assert_eq!(times.iter().filter(|time| **time == 3).count(), 1, "{times:?}");
        assert_eq!(table.lookup(ServiceId(2), CLIENT, 100, at(2)), Some(OTHER));
    }

    #[test]
    fn half_an_entry_is_nobodys() {
        let table = Affinity::new(1);
        let (mine, service) = (key(ServiceId(1), CLIENT), ServiceId(1));
        table.remember(service, CLIENT, BACKEND, at(5));
        let place = table.set(mine).unwrap().find(|place| Entry::load(place).key == mine).unwrap();
        // As another worker leaves it between its two stores.
        let second = place[1].load(Ordering::Relaxed);
        Entry { key: 77, backend: 99 << 16, time: 5 }.store(place);
        place[1].store(second, Ordering::Relaxed);
        assert_eq!(table.lookup(service, CLIENT, 100, at(5)), None);
        assert_ne!(Entry::load(place).key, 77);
    }
}
