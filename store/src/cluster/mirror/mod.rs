//! A prefix of a cluster store kept as a map, on a thread of its own.
//!
//! How it works: list, then watch from there. When the watch ends, for whatever reason, list again and
//! compare ([`Replica`]): the end state is always that of the list, whatever the watch has missed. The store may be
//! away for any time; what is known stays, and is said to be stale.
//!
//! ```text
//!             list                    watch ends, list fails
//! Stale ───────────────▶ Synced ──────────────────────────────▶ Stale
//!   │ list, most gone      │ most gone at once                    ▲
//!   └───────▶ Held ◀───────┘                                      │
//!              │ reappeared or confirmed: Synced                  │
//!              └──────────────────────────────────────────────────┘
//! ```
//! Changes go in order through a bounded channel. A reader that does not keep up stops the thread, not the process.

mod replica;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};

pub use self::replica::{Change, HoldPolicy, Replica};
use super::entry::{Entry, Revision};
use super::error::ClusterError;
use super::{ClusterStore, Prober, Watch};

/// How often the thread looks for a confirmation and for its end.
const TICK: Duration = Duration::from_millis(100);
/// Between two tries to list, at first and at most. The first comes at once.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// What to mirror, and how.
pub struct MirrorOptions {
    /// Keys that begin with it.
    pub prefix: String,
    /// Changes between the thread and their reader.
    pub queue: usize,
    /// When to hold a disappearance.
    pub hold: HoldPolicy,
    /// A disappearance that is still there after this time needs no confirmation; `None`: it does.
    pub confirm_after: Option<Duration>,
    /// What was known before (from a file, at start), and of which revision. It counts as already published.
    pub known: (Vec<Entry>, Revision),
    /// Called on the thread after a change was queued, and after a change of state. Must not block.
    pub wake: Option<Box<dyn Fn() + Send>>,
}

impl MirrorOptions {
    /// Nothing known, no wake-up call.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            queue: 1024,
            hold: HoldPolicy::default(),
            confirm_after: None,
            known: (Vec::new(), 0),
            wake: None,
        }
    }
}

/// How far what is known can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorState {
    /// As the store is, but for what is on its way.
    Synced,
    /// The store could not be read since then.
    Stale {
        /// Since when.
        since: Instant,
    },
    /// As the store is, but for objects that disappeared from it all at once.
    Held {
        /// How many.
        missing: usize,
        /// Of how many.
        known: usize,
        /// Since when.
        since: Instant,
    },
}

/// See the module's text. Dropping it ends the thread.
pub struct Mirror {
    shared: Arc<Shared>,
    changes: Receiver<Change>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// All changes up to this revision are in the channel.
    told: AtomicU64,
    prober: Mutex<Option<Prober>>,
    stop: AtomicBool,
}

struct Inner {
    replica: Replica,
    /// When the connection to the store was lost; `None` while there is one.
    stale: Option<Instant>,
    held_since: Option<Instant>,
    confirmed: BTreeSet<String>,
    /// Why the store cannot be read.
    problem: Option<String>,
}

impl Mirror {
    /// Begins to mirror.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(store: Arc<dyn ClusterStore>, options: MirrorOptions) -> io::Result<Self> {
        let MirrorOptions { prefix, queue, hold, confirm_after, known, wake } = options;
        let (entries, revision) = known;
        let known: BTreeMap<String, Entry> =
            entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                replica: Replica::new(hold, known, revision),
                stale: Some(Instant::now()),
                held_since: None,
                confirmed: BTreeSet::new(),
                problem: None,
            }),
            told: AtomicU64::new(0),
            prober: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let (sender, changes) = crossbeam_channel::bounded(queue.max(1));
        let worker = Worker { shared: Arc::clone(&shared), store, prefix, confirm_after, sender, wake };
        let thread = std::thread::Builder::new().name("mirror".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, changes, thread: Some(thread) })
    }

    /// Changes, in order. Who applies all of them to nothing (or to what was known before) has what is known.
    #[must_use]
    pub const fn changes(&self) -> &Receiver<Change> {
        &self.changes
    }

    /// How far it can be trusted.
    #[must_use]
    pub fn state(&self) -> MirrorState {
        self.shared.lock().state()
    }

    /// Why the store cannot be read, in words; `None` when it can.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.lock().problem.clone()
    }

    /// What is known now, which may be ahead of [`Mirror::changes`], and of which revision.
    #[must_use]
    pub fn known(&self) -> (BTreeMap<String, Entry>, Revision) {
        let inner = self.shared.lock();
        (inner.replica.known().clone(), inner.replica.revision())
    }

    /// All changes up to this revision of the store are in [`Mirror::changes`], or were taken from there. It grows with the changes
    /// under the prefix, and when [`Mirror::probe`] is answered; while something is held, it does not.
    #[must_use]
    pub fn told(&self) -> Revision {
        self.shared.told.load(Ordering::Acquire)
    }

    /// Finds out how far it is, soon, unless the store is away.
    pub fn probe(&self) {
        if let Some(probe) = &*self.shared.prober.lock().unwrap_or_else(PoisonError::into_inner) {
            probe();
        }
    }

    /// What is held at this moment is really gone. Returns its keys; they are published as deleted soon.
    pub fn confirm(&self) -> BTreeSet<String> {
        let mut inner = self.shared.lock();
        let held = inner.replica.held().clone();
        inner.confirmed.extend(held.iter().cloned());
        held
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

impl Inner {
    fn state(&self) -> MirrorState {
        match (self.stale, self.held_since) {
            (Some(since), _) => MirrorState::Stale { since },
            (None, Some(since)) => MirrorState::Held {
                missing: self.replica.held().len(),
                known: self.replica.known().len(),
                since,
            },
            (None, None) => MirrorState::Synced,
        }
    }

    /// Keeps the time since when something is held.
    fn settle(&mut self) {
        self.held_since = match self.replica.held().is_empty() {
            true => None,
            false => Some(self.held_since.unwrap_or_else(Instant::now)),
        };
    }
}

/// The thread is to end.
struct Stopped;

struct Worker {
    shared: Arc<Shared>,
    store: Arc<dyn ClusterStore>,
    prefix: String,
    confirm_after: Option<Duration>,
    sender: Sender<Change>,
    wake: Option<Box<dyn Fn() + Send>>,
}

impl Worker {
    fn run(self) {
        let mut pause = RETRY_FIRST;
        loop {
            let outcome = match self.list_and_watch() {
                Ok(watch) => {
                    let began = Instant::now();
                    let ended = self.follow(watch);
                    // One that ends at once, time and again, is not to make us list in a loop.
                    if began.elapsed() > RETRY_MOST {
                        pause = RETRY_FIRST;
                    }
                    ended
                }
                Err(problem) => self.stale(problem.to_string()),
            };
            if outcome.is_err() || self.sleep(pause).is_err() {
                return;
            }
            pause = (pause * 2).min(RETRY_MOST);
        }
    }

    /// Takes the store's word for everything, and a watch from there.
    fn list_and_watch(&self) -> Result<Box<dyn Watch>, ClusterError> {
        let listing = self.store.list(&self.prefix)?;
        let watch = self.store.watch(&self.prefix, listing.revision + 1)?;
        // A reader that is stopped is found out below.
        let _ = self.update(|inner| {
            inner.stale = None;
            inner.problem = None;
            inner.replica.on_list(listing)
        });
        *self.shared.prober.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch.prober());
        Ok(watch)
    }

    /// Until the watch ends.
    fn follow(&self, mut watch: Box<dyn Watch>) -> Result<(), Stopped> {
        loop {
            self.confirm()?;
            match watch.next(TICK) {
                Ok(Some(batch)) => self.update(|inner| inner.replica.on_batch(batch))?,
                Ok(None) => {}
                Err(end) => return self.stale(end.to_string()),
            }
        }
    }

    fn stale(&self, problem: String) -> Result<(), Stopped> {
        self.update(|inner| {
            inner.stale = Some(inner.stale.unwrap_or_else(Instant::now));
            inner.problem = Some(problem);
            Vec::new()
        })
    }

    /// Applies what was confirmed, and what has been missing for long enough.
    fn confirm(&self) -> Result<(), Stopped> {
        if self.shared.stopped() {
            return Err(Stopped);
        }
        let late = |inner: &Inner| match (inner.held_since, self.confirm_after) {
            (Some(since), Some(after)) => since.elapsed() >= after,
            _ => false,
        };
        let due = {
            let inner = self.shared.lock();
            !inner.confirmed.is_empty() || late(&inner)
        };
        if !due {
            return Ok(());
        }
        self.update(|inner| {
            let mut gone = std::mem::take(&mut inner.confirmed);
            if late(inner) {
                gone.extend(inner.replica.held().iter().cloned());
            }
            inner.replica.confirm(&gone)
        })
    }

    /// Changes what is known and says so.
    fn update(&self, change: impl FnOnce(&mut Inner) -> Vec<Change>) -> Result<(), Stopped> {
        let (changes, restated, revision) = {
            let mut inner = self.shared.lock();
            let before = inner.state();
            let changes = change(&mut inner);
            inner.settle();
            let is_whole = inner.replica.held().is_empty();
            (changes, inner.state() != before, is_whole.then(|| inner.replica.revision()))
        };
        let changed = !changes.is_empty();
        for change in changes {
            self.publish(change)?;
        }
        let before = self.shared.told.load(Ordering::Relaxed);
        let told = revision.unwrap_or(before);
        self.shared.told.store(told, Ordering::Release);
        if let Some(wake) = &self.wake
            && (changed || restated || told != before)
        {
            wake();
        }
        Ok(())
    }

    fn publish(&self, change: Change) -> Result<(), Stopped> {
        let mut change = change;
        loop {
            change = match self.sender.send_timeout(change, TICK) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Disconnected(_)) => return Err(Stopped),
                Err(SendTimeoutError::Timeout(unsent)) => unsent,
            };
            if let Some(wake) = &self.wake {
                wake();
            }
            if self.shared.stopped() {
                return Err(Stopped);
            }
        }
    }

    fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        let until = Instant::now() + time;
        loop {
            self.confirm()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(TICK));
        }
    }
}
