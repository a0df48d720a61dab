//! What is known of a prefix, and what changes it. Pure: entries in, changes out.
//!
//! Additions and changes are always applied. What disappears is applied too, unless it is suspicious: more than half of
//! at least four objects gone at once ([`HoldPolicy`]), or anything gone together with the store's
//! revision having gone back. Suspicious objects stay known and are *held*, until
//! they reappear or somebody confirms that they are gone. While anything is held, whatever else is found missing
//! is held with it: a store that comes back piece by piece must not lose the pieces that come last.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::entry::{Batch, Entry, Event, Listing, Revision};

/// A change to make to what is derived from the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An object is new or changed.
    Put(Entry),
    /// An object is gone.
    Delete {
        /// Its key.
        key: String,
    },
}

/// When a disappearance is suspicious.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldPolicy {
    /// Fewer known objects than this may all disappear at once.
    pub at_least: usize,
    /// More than this share of them, in percent, is suspicious; 100 never.
    pub over_percent: u8,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self { at_least: 4, over_percent: 50 }
    }
}

impl HoldPolicy {
    fn suspicious(self, missing: usize, known: usize) -> bool {
        known >= self.at_least && missing * 100 > known * usize::from(self.over_percent)
    }
}

/// See the module's text.
///
/// INVARIANT: `held` is a subset of the keys of `known`.
#[derive(Debug, Clone, Default)]
pub struct Replica {
    policy: HoldPolicy,
    known: BTreeMap<String, Entry>,
    held: BTreeSet<String>,
    /// Of the store when it was last heard.
    revision: Revision,
}

impl Replica {
    /// `known` is what was known before, of `revision`; nothing and 0 at first.
    #[must_use]
    pub fn new(policy: HoldPolicy, known: BTreeMap<String, Entry>, revision: Revision) -> Self {
        Self { policy, known, held: BTreeSet::new(), revision }
    }

    /// Everything known, with what is held.
    #[must_use]
    pub const fn known(&self) -> &BTreeMap<String, Entry> {
        &self.known
    }

    /// Keys that the store no longer has, and that are known all the same.
    #[must_use]
    pub const fn held(&self) -> &BTreeSet<String> {
        &self.held
    }

    /// The store's revision when it was last heard.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The prefix as it is now, in full.
    pub fn on_list(&mut self, listing: Listing) -> Vec<Change> {
        let older = listing.revision < self.revision;
        let present: BTreeSet<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
        let missing: BTreeSet<String> =
            self.known.keys().filter(|key| !present.contains(key.as_str())).cloned().collect();
        let known = self.known.len();
        self.revision = listing.revision;
        let mut changes = self.remove(missing, known, older);
        for entry in listing.entries {
            changes.extend(self.insert(entry));
        }
        changes
    }

    /// One revision's changes, in the order of the store.
    pub fn on_batch(&mut self, batch: Batch) -> Vec<Change> {
        if batch.revision <= self.revision {
            // A watch that begins where the list ended does not repeat anything; a reconnected one might.
            return Vec::new();
        }
        self.revision = batch.revision;
        let known = self.known.len();
        let mut gone = BTreeSet::new();
        let mut changes = Vec::new();
        for event in batch.events {
            match event {
                Event::Put(entry) => changes.extend(self.insert(entry)),
                Event::Delete { key } => {
                    if self.known.contains_key(&key) {
                        gone.insert(key);
                    }
                }
            }
        }
        changes.extend(self.delete(gone, known));
        changes
    }

    /// `keys` are really gone. Those that have reappeared since stay.
    pub fn confirm(&mut self, keys: &BTreeSet<String>) -> Vec<Change> {
        let confirmed: Vec<String> = self.held.intersection(keys).cloned().collect();
        confirmed.into_iter().map(|key| self.forget(key)).collect()
    }

    fn insert(&mut self, entry: Entry) -> Option<Change> {
        self.held.remove(&entry.key);
        let before = self.known.insert(entry.key.clone(), entry.clone());
        // What only changed its revision (a restored store counts anew) is no change.
        let same = before.is_some_and(|before| before.value == entry.value);
        (!same).then_some(Change::Put(entry))
    }

    /// `missing` is everything known that the store has no more.
    fn remove(&mut self, missing: BTreeSet<String>, known: usize, older: bool) -> Vec<Change> {
        let suspicious = older || !self.held.is_empty() || self.policy.suspicious(missing.len(), known);
        if suspicious {
            self.held = missing;
            return Vec::new();
        }
        missing.into_iter().map(|key| self.forget(key)).collect()
    }

    /// `gone` was deleted in one revision, in front of our eyes.
    fn delete(&mut self, gone: BTreeSet<String>, known: usize) -> Vec<Change> {
        if self.policy.suspicious(gone.len(), known) {
            self.held.extend(gone);
            return Vec::new();
        }
        gone.into_iter().map(|key| self.forget(key)).collect()
    }

    fn forget(&mut self, key: String) -> Change {
        self.known.remove(&key);
        self.held.remove(&key);
        Change::Delete { key }
    }
}

#[cfg(test)]
mod tests;
