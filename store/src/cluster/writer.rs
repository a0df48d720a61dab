//! Writing many objects for one caller, who is answered when all of them are written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::entry::{Entry, LeaseId, Listing, Revision};
use super::error::ClusterError;
use super::txn::Txn;
use super::{ClusterStore, Watch};

/// A store as the writer of one object sees it: it knows the revision of its last change, and leaves it to its caller to have
/// many changes written to disk at once.
pub struct Writer<'a> {
    store: &'a dyn ClusterStore,
    defers: bool,
    committed: AtomicU64,
}

impl<'a> Writer<'a> {
    /// Each change is on disk when it is made.
    #[must_use]
    pub const fn new(store: &'a dyn ClusterStore) -> Self {
        Self { store, defers: false, committed: AtomicU64::new(0) }
    }

    /// Changes are certain after [`ClusterStore::sync`] only, see [`Txn::deferred`].
    #[must_use]
    pub const fn deferring(store: &'a dyn ClusterStore) -> Self {
        Self { store, defers: true, committed: AtomicU64::new(0) }
    }

    /// The revision of the last change, if there was one.
    #[must_use]
    pub fn committed(&self) -> Option<Revision> {
        Some(self.committed.load(Ordering::Relaxed)).filter(|revision| *revision > 0)
    }
}

impl ClusterStore for Writer<'_> {
    fn get(&self, key: &str) -> Result<Option<Entry>, ClusterError> {
        self.store.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, ClusterError> {
        self.store.list(prefix)
    }

    fn commit(&self, txn: &Txn) -> Result<Revision, ClusterError> {
        let result =
            if self.defers { self.store.commit(&txn.clone().deferred()) } else { self.store.commit(txn) };
        if let Ok(revision) = result {
            self.committed.store(revision, Ordering::Relaxed);
        }
        result
    }

    fn sync(&self) -> Result<(), ClusterError> {
        self.store.sync()
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, ClusterError> {
        self.store.watch(prefix, from)
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, ClusterError> {
        self.store.grant(ttl)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<Duration, ClusterError> {
        self.store.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), ClusterError> {
        self.store.revoke(lease)
    }
}
