//! What is known from other servers, for as long as they said.
//!
//! Bounds: 64 shards, each of its share of `cache_entries`, each behind a lock that is held for one look; what was put in first goes first.
//! Entries that are too old stay until their place is needed: they are answers for when nobody else has one (RFC 8767).

mod entry;

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

pub use entry::{Entry, MIN_TTL, NEGATIVE_TTL, POSITIVE_TTL};

const SHARDS: usize = 64;
/// How long an answer that is too old may be given, as CoreDNS's `serve_stale` has it.
pub const STALE: Duration = Duration::from_secs(3600);

/// A question as bytes: name in lower case, type, and what else makes answers differ (DO, CD).
pub type Key = Box<[u8]>;

#[derive(Default)]
struct Shard {
    entries: HashMap<Key, Arc<Entry>, RandomState>,
    /// INVARIANT: the keys of `entries`, each once, in the order they came.
    order: VecDeque<Key>,
}

/// See the module's text.
pub struct Cache {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    per_shard: usize,
    len: AtomicUsize,
    /// Answers from here.
    pub hits: AtomicU64,
    /// Questions that had none here.
    pub misses: AtomicU64,
    /// Answers that were too old.
    pub stale: AtomicU64,
    /// Answers that went for others.
    pub evictions: AtomicU64,
    /// Answers that were asked for again before they were too old.
    pub prefetches: AtomicU64,
}

impl Cache {
    /// Room for `entries`, rounded up to the shards.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            per_shard: entries.div_ceil(SHARDS),
            len: AtomicUsize::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            prefetches: AtomicU64::new(0),
        }
    }

    fn shard(&self, key: &[u8]) -> Option<&Mutex<Shard>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default();
        self.shards.get(hash % SHARDS)
    }

    /// What is known, however old.
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.shard(key)?.lock().entries.get(key).cloned()
    }

    /// What is known and not too old.
    #[must_use]
    pub fn fresh(&self, key: &[u8], now: Instant) -> Option<Arc<Entry>> {
        self.lookup(key).filter(|entry| entry.is_fresh(now))
    }

    /// What is known, too old, but better than nothing.
    #[must_use]
    pub fn stale(&self, key: &[u8], now: Instant) -> Option<Arc<Entry>> {
        let entry = self.lookup(key).filter(|entry| entry.is_usable(now, STALE))?;
        self.stale.fetch_add(1, Ordering::Relaxed);
        Some(entry)
    }

    /// Keeps an answer.
    pub fn insert(&self, key: Key, entry: Arc<Entry>) {
        let Some(shard) = self.shard(&key).filter(|_| self.per_shard > 0) else { return };
        let mut shard = shard.lock();
        if shard.entries.insert(key.clone(), entry).is_some() {
            return;
        }
        shard.order.push_back(key);
        if shard.order.len() <= self.per_shard {
            self.len.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(first) = shard.order.pop_front() {
            shard.entries.remove(&first);
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many answers are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
