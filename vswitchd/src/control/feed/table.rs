//! A feed's state: what is so of each key, and in which order it became so.
//!
//! How it works: every change takes the next sequence number, which its key then has alone, so the keys in order of their numbers are
//! the changes that a follower has missed, each key once and as it is now. A key that is gone keeps its number, so that its going can
//! be told; of those only the latest [`MAX_REMEMBERED`] are kept. Who has not come as far as the last one forgotten starts from scratch.
//! A change costs a few steps in two trees, whatever the feed's size; waiting costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use protocol::feed::{FeedChange, FeedPosition, NameChange, RouteChange};
use protocol::message::{Kind, PodRef};
use protocol::{Namespace, ObjectName};

/// Keys that are gone and can still be told to be: a follower asks again at once, so this is what can happen while it reads an answer.
const MAX_REMEMBERED: usize = 1 << 14;
/// Who may wait at one feed at a time: a node has one DNS server and one ingress, and both have a successor during an upgrade.
pub(crate) const MAX_FOLLOWERS: usize = 16;

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FeedKey {
    Namespace(Namespace),
    Service(Namespace, ObjectName),
    Pod(Namespace, ObjectName),
    Object(Kind, Option<Namespace>, ObjectName),
    Backends(Namespace, ObjectName),
}

impl FeedKey {
    /// What is told when it is gone.
    pub(crate) fn gone(&self) -> FeedChange {
        match self.clone() {
            Self::Namespace(namespace) => FeedChange::Name(NameChange::NamespaceGone(namespace)),
            Self::Service(namespace, name) => FeedChange::Name(NameChange::ServiceGone { namespace, name }),
            Self::Pod(namespace, name) => FeedChange::Name(NameChange::PodGone(PodRef { namespace, name })),
            Self::Object(kind, namespace, name) => {
                FeedChange::Route(RouteChange::ObjectGone { kind, namespace, name })
            }
            Self::Backends(namespace, name) => {
                FeedChange::Route(RouteChange::BackendsGone { namespace, name })
            }
        }
    }
}

/// What a follower is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    /// This is everything there is.
    pub(crate) from_scratch: bool,
    /// In order.
    pub(crate) changes: Vec<Arc<FeedChange>>,
    /// Of each of them, when this process heard of what it is about, where it knows.
    pub(crate) heard: Vec<Option<Instant>>,
    /// Where it has come to then.
    pub(crate) position: FeedPosition,
}

/// See the module.
pub(crate) struct FeedTable {
    instance: u64,
    /// Keys that are gone and not forgotten, at most.
    remembered: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// INVARIANT: `order` has every key of `entries` at its sequence, and nothing else; `gone` holds the sequences of entries that are gone.
#[derive(Default)]
struct State {
    is_complete: bool,
    sequence: u64,
    entries: BTreeMap<FeedKey, Entry>,
    order: BTreeMap<u64, FeedKey>,
    gone: BTreeSet<u64>,
    /// Sequence of the last key that was forgotten.
    forgotten: u64,
    followers: BTreeMap<u32, usize>,
}

struct Entry {
    sequence: u64,
    change: Arc<FeedChange>,
    heard: Option<Instant>,
}

impl FeedTable {
    pub(super) fn new(instance: u64) -> Self {
        Self::remembering(instance, MAX_REMEMBERED)
    }

    /// As [`FeedTable::new`], with another limit.
    pub(super) fn remembering(instance: u64, remembered: usize) -> Self {
        Self { instance, remembered, state: Mutex::default(), changed: Condvar::new() }
    }

    /// `change` is what there is to say of `key` from now on.
    pub(crate) fn set(&self, key: FeedKey, change: FeedChange) {
        self.set_heard(key, change, None);
    }

    /// As [`FeedTable::set`], of what was heard of at a time.
    pub(crate) fn set_heard(&self, key: FeedKey, change: FeedChange, heard: Option<Instant>) {
        let mut state = self.state.lock();
        if state.entries.get(&key).is_some_and(|known| *known.change == change) {
            return;
        }
        state.put(key, change, heard, false);
        drop(state);
        self.changed.notify_all();
    }

    /// There is nothing to say of `key` any more.
    pub(crate) fn remove(&self, key: &FeedKey) {
        let mut state = self.state.lock();
        let is_there = state.entries.get(key).is_some_and(|known| !state.gone.contains(&known.sequence));
        if !is_there {
            return;
        }
        state.put(key.clone(), key.gone(), None, true);
        state.forget(self.remembered);
        drop(state);
        self.changed.notify_all();
    }

    /// What is said of `key`.
    pub(crate) fn get(&self, key: &FeedKey) -> Option<Arc<FeedChange>> {
        let state = self.state.lock();
        let entry = state.entries.get(key)?;
        (!state.gone.contains(&entry.sequence)).then(|| Arc::clone(&entry.change))
    }

    /// Those that something is said of.
    pub(crate) fn keys(&self, is_wanted: impl Fn(&FeedKey) -> bool) -> Vec<FeedKey> {
        let state = self.state.lock();
        let there = state.entries.iter().filter(|(_, entry)| !state.gone.contains(&entry.sequence));
        there.map(|(key, _)| key).filter(|key| is_wanted(key)).cloned().collect()
    }

    /// All there is has been said; followers are answered from now on.
    pub(crate) fn set_complete(&self) {
        let mut state = self.state.lock();
        if !state.is_complete {
            state.is_complete = true;
            self.changed.notify_all();
        }
    }

    /// What has changed after a position; waits for it for `patience` at most. `None` while the feed is incomplete.
    pub(crate) fn news(&self, after: Option<FeedPosition>, patience: Duration) -> Option<News> {
        let until = Instant::now() + patience;
        let mut state = self.state.lock();
        loop {
            if state.is_complete && state.has_news(self.instance, after) {
                return Some(state.news(self.instance, after));
            }
            if self.changed.wait_until(&mut state, until).timed_out() {
                return state.is_complete.then(|| state.news(self.instance, after));
            }
        }
    }

    /// A place among the followers, of a user; `None` if there is none left for it. Half of them are at most one user's, unless it is root.
    pub(crate) fn admit(&self, uid: u32) -> Option<Follower<'_>> {
        let mut state = self.state.lock();
        let all: usize = state.followers.values().sum();
        let own = state.followers.get(&uid).copied().unwrap_or_default();
        if all >= MAX_FOLLOWERS || (uid != 0 && own >= MAX_FOLLOWERS / 2) {
            return None;
        }
        *state.followers.entry(uid).or_default() += 1;
        Some(Follower { table: self, uid })
    }
}

impl State {
    fn put(&mut self, key: FeedKey, change: FeedChange, heard: Option<Instant>, is_gone: bool) {
        self.sequence += 1;
        let sequence = self.sequence;
        let entry = Entry { sequence, change: Arc::new(change), heard };
        if let Some(old) = self.entries.insert(key.clone(), entry) {
            self.order.remove(&old.sequence);
            self.gone.remove(&old.sequence);
        }
        self.order.insert(sequence, key);
        if is_gone {
            self.gone.insert(sequence);
        }
    }

    /// Of the keys that are gone, the oldest ones over the limit.
    fn forget(&mut self, remembered: usize) {
        while self.gone.len() > remembered {
            let Some(sequence) = self.gone.pop_first() else { return };
            if let Some(key) = self.order.remove(&sequence) {
                self.entries.remove(&key);
            }
            self.forgotten = sequence;
        }
    }

    /// Whether what a follower lacks can be told without the rest.
    fn knows(&self, instance: u64, after: Option<FeedPosition>) -> Option<u64> {
        let after = after.filter(|after| after.instance == instance)?;
        (self.forgotten..=self.sequence).contains(&after.sequence).then_some(after.sequence)
    }

    fn has_news(&self, instance: u64, after: Option<FeedPosition>) -> bool {
        self.knows(instance, after).is_none_or(|after| after < self.sequence)
    }

    fn news(&self, instance: u64, after: Option<FeedPosition>) -> News {
        let known = self.knows(instance, after);
        let since = self.order.range(known.map_or(0, |known| known + 1)..);
        let told = since.filter(|(sequence, _)| known.is_some() || !self.gone.contains(sequence));
        let entries = told.filter_map(|(_, key)| self.entries.get(key));
        let (changes, heard) = entries.map(|entry| (Arc::clone(&entry.change), entry.heard)).unzip();
        News {
            from_scratch: known.is_none(),
            changes,
            heard,
            position: FeedPosition { instance, sequence: self.sequence },
        }
    }
}

/// A place among the followers, given back when dropped.
pub(crate) struct Follower<'a> {
    table: &'a FeedTable,
    uid: u32,
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        let mut state = self.table.state.lock();
        if let Some(count) = state.followers.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                state.followers.remove(&self.uid);
            }
        }
    }
}
