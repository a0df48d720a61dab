//! What is known from other servers, for as long as they said.
//!
//! Bounds: 64 shards, each of its share of `cache_entries`, each behind a lock that is held for one look. What was put in first goes first,
//! but what was asked for again since gets another turn (the *second chance* of paging): a flood of names that nobody asks for
//! twice takes no place from those that are in use.
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
/// Entries that get another turn before one goes: so long a lock is held at most.
const CHANCES: usize = 16;
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
    /// Entries with records, and those that say that there are none.
    kept: [AtomicUsize; 2],
    /// Answers from here: with records, and without.
    pub hits: [AtomicU64; 2],
    /// Questions that had none here.
    pub misses: AtomicU64,
    /// Answers that were too old.
    pub stale: AtomicU64,
    /// Answers that went for others: with records, and without.
    pub evictions: [AtomicU64; 2],
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
            kept: Default::default(),
            hits: Default::default(),
            misses: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            evictions: Default::default(),
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
        let entry = self.lookup(key).filter(|entry| entry.is_fresh(now))?;
        entry.want();
        Some(entry)
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
        count(&self.kept, &entry).fetch_add(1, Ordering::Relaxed);
        if let Some(old) = shard.entries.insert(key.clone(), Arc::clone(&entry)) {
            count(&self.kept, &old).fetch_sub(1, Ordering::Relaxed);
            if old.was_wanted() {
                entry.want();
            }
            return;
        }
        shard.order.push_back(key);
        if shard.order.len() > self.per_shard
            && let Some(gone) = shard.evict()
        {
            count(&self.kept, &gone).fetch_sub(1, Ordering::Relaxed);
            count(&self.evictions, &gone).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many answers with records are kept, and how many without.
    #[must_use]
    pub fn kept(&self) -> [usize; 2] {
        self.kept.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// How many answers are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept().iter().sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shard {
    /// Takes out the first that nobody asked for since its last turn, or the first after [`CHANCES`] others.
    fn evict(&mut self) -> Option<Arc<Entry>> {
        for turn in 0..=CHANCES {
            let key = self.order.pop_front()?;
            if turn < CHANCES && self.entries.get(&key).is_some_and(|entry| entry.was_wanted()) {
                self.order.push_back(key);
            } else {
                return self.entries.remove(&key);
            }
        }
        None
    }
}

/// Of two counters, the one for answers like `entry`.
pub(crate) fn count<'c, T>([success, denial]: &'c [T; 2], entry: &Entry) -> &'c T {
    if entry.is_denial() { denial } else { success }
}

#[cfg(test)]
mod tests;
