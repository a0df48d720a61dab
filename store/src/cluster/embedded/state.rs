//! What is known under the lock: the revision, the leases' time, the history. Each call that changes the file
//! changes this after it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::history::History;
use super::table;
use crate::cluster::entry::{LeaseId, Revision};
use crate::cluster::error::ClusterError;
use crate::cluster::txn::{Op, Txn};
use crate::{Store, StoreError};

/// Most leases at once. Every node has one, and one per daemon start until it ends.
const MAX_LEASES: usize = 16_384;

#[derive(Debug)]
pub(super) struct State {
    /// Whether this is what the file says; not after a failure of it.
    trusted: bool,
    revision: Revision,
    history: History,
    leases: BTreeMap<LeaseId, Lease>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

impl State {
    pub(super) fn new(history: History) -> Self {
        Self { trusted: false, revision: 0, history, leases: BTreeMap::new() }
    }

    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) const fn history(&self) -> &History {
        &self.history
    }

    /// Reads the file where this is not known to be what it says. Returns whether it did.
    pub(super) fn load(&mut self, file: &Store, now: Instant) -> Result<bool, StoreError> {
        if self.trusted {
            return Ok(false);
        }
        let (revision, leases) = file.with_database(|database| table::load(file.path(), database))?;
        self.revision = revision;
        self.history.restart(revision);
        let known = std::mem::take(&mut self.leases);
        for (id, ttl) in leases {
            let ends = known.get(&id).map_or(now + ttl, |lease| lease.ends);
            self.leases.insert(id, Lease { ttl, ends });
        }
        self.trusted = true;
        Ok(true)
    }

    pub(super) fn commit(&mut self, file: &Store, txn: &Txn) -> Result<Revision, ClusterError> {
        for op in &txn.ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.leases.contains_key(lease)
            {
                return Err(ClusterError::LeaseLost { lease: *lease });
            }
        }
        let batch = self.write(file, |database| table::commit(file.path(), database, txn))??;
        if let Some(batch) = batch {
            self.revision = batch.revision;
            self.history.push(batch);
        }
        Ok(self.revision)
    }

    /// Has the disk take what was deferred.
    pub(super) fn sync(&mut self, file: &Store) -> Result<(), StoreError> {
        self.write(file, |database| table::sync(file.path(), database))
    }

    pub(super) fn grant(
        &mut self,
        file: &Store,
        ttl: Duration,
        now: Instant,
    ) -> Result<LeaseId, ClusterError> {
        if self.leases.len() >= MAX_LEASES {
            return Err(ClusterError::TooMany { prefix: "leases".to_owned(), limit: MAX_LEASES });
        }
        let id = self.write(file, |database| table::grant(file.path(), database, ttl))?;
        self.leases.insert(id, Lease { ttl, ends: now + ttl });
        Ok(id)
    }

    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> Option<Duration> {
        let lease = self.leases.get_mut(&lease)?;
        lease.ends = now + lease.ttl;
        Some(lease.ttl)
    }

    pub(super) fn has_lease(&self, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease)
    }

    /// A lease that is over.
    pub(super) fn due(&self, now: Instant) -> Option<LeaseId> {
        self.leases.iter().find(|(_, lease)| lease.ends <= now).map(|(id, _)| *id)
    }

    /// When the next lease is over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.ends).min()
    }

    /// Forgets a lease and deletes its entries, in one revision.
    pub(super) fn end_lease(&mut self, file: &Store, lease: LeaseId) -> Result<(), StoreError> {
        let batch = self.write(file, |database| table::end_lease(file.path(), database, lease))?;
        self.leases.remove(&lease);
        if let Some(batch) = batch {
            self.revision = batch.revision;
            self.history.push(batch);
        }
        Ok(())
    }

    fn write<R>(
        &mut self,
        file: &Store,
        call: impl FnOnce(&redb::Database) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        // Only an answer makes it certain what the file holds.
        self.trusted = false;
        let result = file.with_database(call)?;
        self.trusted = true;
        Ok(result)
    }
}
