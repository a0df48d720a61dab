//! The cluster store of one machine: tables of their own in a redb file.
//!
//! Everything goes through one lock, so the order of commits is the order of revisions. What was changed is kept
//! in a bounded history in memory, from which watches read at their own pace; one that falls behind it
//! ends with [`WatchEnd::Compacted`], as does any watch of a revision from before the process started.
//!
//! Leases are kept in the file; their time is the process's monotonic clock. After a restart each of them gets its
//! whole time again. There is no thread: who calls, or waits in a watch, first ends the leases that are due.
//!
//! A commit is on disk when the call returns. When the file fails, nobody knows whether the last change was
//! made: the revision is then read from the file again, and all watches end.

mod history;
mod state;
mod table;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::history::{History, Next};
use self::state::State;
use super::entry::{Batch, Entry, LeaseId, Listing, MAX_LISTED, Revision, check_key};
use super::error::{ClusterError, WatchEnd};
use super::txn::Txn;
use super::{ClusterStore, Prober, Watch};
use crate::{Store, StoreError};

/// How much of the past is kept for watches.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// Changes of single entries.
    pub events: usize,
    /// Bytes of their keys and values.
    pub bytes: usize,
}

impl Default for HistoryLimits {
    /// A watch that is this far behind is better served by a list.
    fn default() -> Self {
        Self { events: 4096, bytes: 8 << 20 }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Embedded {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    file: Arc<Store>,
    state: Mutex<State>,
    /// Told of each new revision, and of the end.
    changed: Condvar,
    closed: AtomicBool,
}

impl Embedded {
    /// The cluster's tables in `file`, made if they are missing. A file has at most one of these at a time.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(file: Arc<Store>) -> Result<Self, ClusterError> {
        Self::with_history(file, HistoryLimits::default())
    }

    /// As [`Embedded::open`], with other limits.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn with_history(file: Arc<Store>, limits: HistoryLimits) -> Result<Self, ClusterError> {
        file.with_database(|database| table::create(file.path(), database))?;
        let state = State::new(History::new(limits));
        let core =
            Core { file, state: Mutex::new(state), changed: Condvar::new(), closed: AtomicBool::new(false) };
        drop(core.enter()?);
        Ok(Self { core: Arc::new(core) })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.core.closed.store(true, Ordering::Release);
        // With the lock held, so that no watch is between its check and its wait.
        drop(self.core.lock());
        self.core.changed.notify_all();
    }
}

impl Core {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic may have left in it is read anew from the file, see `State::trusted`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as it is now: read from the file, without leases that are over.
    fn enter(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.lock();
        self.settle(&mut state)?;
        Ok(state)
    }

    fn settle(&self, state: &mut State) -> Result<(), StoreError> {
        if state.load(&self.file, Instant::now())? {
            self.changed.notify_all();
        }
        while let Some(lease) = state.due(Instant::now()) {
            state.end_lease(&self.file, lease)?;
            self.changed.notify_all();
        }
        Ok(())
    }
}

impl ClusterStore for Embedded {
    fn get(&self, key: &str) -> Result<Option<Entry>, ClusterError> {
        check_key(key)?;
        let core = &*self.core;
        let _state = core.enter()?;
        Ok(core.file.with_database(|database| table::get(core.file.path(), database, key))?)
    }

    fn list(&self, prefix: &str) -> Result<Listing, ClusterError> {
        check_key(prefix)?;
        let core = &*self.core;
        let state = core.enter()?;
        let entries = core.file.with_database(|database| table::list(core.file.path(), database, prefix))?;
        if entries.len() > MAX_LISTED {
            return Err(ClusterError::TooMany { prefix: prefix.to_owned(), limit: MAX_LISTED });
        }
        Ok(Listing { revision: state.revision(), entries })
    }

    fn commit(&self, txn: &Txn) -> Result<Revision, ClusterError> {
        txn.check()?;
        let core = &*self.core;
        let mut state = core.enter()?;
        let revision = state.commit(&core.file, txn)?;
        core.changed.notify_all();
        Ok(revision)
    }

    fn sync(&self) -> Result<(), ClusterError> {
        let core = &*self.core;
        let mut state = core.enter()?;
        Ok(state.sync(&core.file)?)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, ClusterError> {
        check_key(prefix)?;
        drop(self.core.enter()?);
        Ok(Box::new(EmbeddedWatch {
            core: Arc::clone(&self.core),
            prefix: prefix.to_owned(),
            from: from.max(1),
            first: true,
            asked: Arc::default(),
        }))
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, ClusterError> {
        let mut state = self.core.enter()?;
        let lease = state.grant(&self.core.file, ttl, Instant::now())?;
        // Who waits in a watch may have to wake for it.
        self.core.changed.notify_all();
        Ok(lease)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<Duration, ClusterError> {
        self.core.enter()?.keep_alive(lease, Instant::now()).ok_or(ClusterError::LeaseLost { lease })
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), ClusterError> {
        let mut state = self.core.enter()?;
        if state.has_lease(lease) {
            state.end_lease(&self.core.file, lease)?;
            self.core.changed.notify_all();
        }
        Ok(())
    }
}

/// Reads the history at its own pace.
struct EmbeddedWatch {
    core: Arc<Core>,
    prefix: String,
    /// The first revision it has not delivered.
    from: Revision,
    /// Before the first call of `next`, when `from` is the caller's.
    first: bool,
    /// Somebody wants to know how far it is.
    asked: Arc<AtomicBool>,
}

impl Watch for EmbeddedWatch {
    fn next(&mut self, timeout: Duration) -> Result<Option<Batch>, WatchEnd> {
        let deadline = Instant::now() + timeout;
        let mut state = self.core.lock();
        loop {
            if self.core.closed.load(Ordering::Acquire) {
                return Err(WatchEnd::Closed);
            }
            self.core.settle(&mut state)?;
            let last = state.revision();
            if self.from > last + 1 && std::mem::take(&mut self.first) {
                return Err(WatchEnd::Behind { from: self.from, store: last });
            }
            self.first = false;
            match state.history().next(self.from, &self.prefix) {
                Next::Batch(batch) => {
                    self.from = batch.revision + 1;
                    return Ok(Some(batch));
                }
                Next::Compacted(oldest) => return Err(WatchEnd::Compacted { oldest }),
                Next::None => self.from = self.from.max(last + 1),
            }
            if self.asked.swap(false, Ordering::AcqRel) {
                return Ok(Some(Batch { revision: last, events: Vec::new() }));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            let wake = state.next_end().map_or(deadline, |end| end.min(deadline));
            let waited = self.core.changed.wait_timeout(state, wake.saturating_duration_since(now));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn prober(&self) -> Prober {
        let (core, asked) = (Arc::clone(&self.core), Arc::clone(&self.asked));
        Box::new(move || {
            // With the lock held, so that the watch is not between its check and its wait.
            let _state = core.lock();
            asked.store(true, Ordering::Release);
            core.changed.notify_all();
        })
    }
}
