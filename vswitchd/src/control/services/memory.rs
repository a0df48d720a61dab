//! Remembering what the cluster's store said of services, slices and pods, so that a node that starts while the store is away
//! serves what it last knew. As the store is read again, differences, deletions too, come as changes.
//!
//! Changes are collected and written a few hundred at a time, by a thread of their own: the copy is late by [`LATE`], and by
//! nothing after an orderly stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use protocol::object::Timestamp;
use store::cluster::mirror::Change;
use store::cluster::{Entry, Memory, Note};

use super::super::error::chain;
use super::super::node::Control;
use crate::config::Config;

/// Says in the file that the store was read, even if there was nothing in it: then it is known which policies there are not.
const READ: &str = "/vpod/v1/read";
/// How long a change waits for others.
const LATE: Duration = Duration::from_secs(2);
/// Changes in one transaction, each some kilobytes.
const AT_ONCE: usize = 256;
/// For the last ones, when the daemon stops.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// See the module's text.
pub(super) struct Remembered {
    /// `None` where the node's own store has everything, or the file cannot be used.
    file: Option<Memory>,
    /// Not written yet. At most as many as there are objects.
    pending: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
    /// One writes at a time, so that an older change does not follow a newer one.
    writing: Mutex<()>,
    /// Of what was there at the start: how much, and when it was last changed.
    recalled: Mutex<(usize, Option<Timestamp>)>,
    /// An earlier start has read the store.
    was_read: bool,
    /// Since the start, the store itself was read.
    is_confirmed: AtomicBool,
}

impl Remembered {
    /// Nothing is remembered on one machine.
    pub(super) fn open(config: &Config, is_shared: bool) -> Self {
        let open = || {
            Memory::open(&config.memory_path())
                .inspect_err(|e| tracing::error!("nothing is remembered of the cluster: {}", chain(e)))
                .ok()
        };
        let file = is_shared.then(open).flatten();
        let read = |file: &Memory| file.recall(READ).is_ok_and(|entries| !entries.is_empty());
        let was_read = file.as_ref().is_some_and(read);
        let noted = file.as_ref().and_then(|file| file.noted().ok().flatten()).map(Timestamp);
        Self {
            file,
            pending: Mutex::default(),
            writing: Mutex::default(),
            recalled: Mutex::new((0, noted)),
            was_read,
            is_confirmed: AtomicBool::new(false),
        }
    }

    /// What was known below `prefix`.
    pub(super) fn recall(&self, prefix: &str) -> Vec<Entry> {
        let Some(file) = &self.file else { return Vec::new() };
        let entries = file.recall(prefix).unwrap_or_else(|error| {
            tracing::error!("what the cluster was is forgotten: {}", chain(&error));
            Vec::new()
        });
        self.recalled.lock().0 += entries.len();
        entries
    }

    /// There is something to go on with.
    pub(super) fn has_any(&self) -> bool {
        self.recalled.lock().0 > 0
    }

    /// What it has is all that there was when the store was last read, which may be nothing.
    pub(super) fn is_whole(&self) -> bool {
        self.was_read || self.has_any()
    }

    /// The store was read: it, and nothing else, says what there is.
    pub(super) fn confirm(&self) {
        if !self.is_confirmed.swap(true, Ordering::AcqRel) && !self.was_read && self.file.is_some() {
            self.pending.lock().insert(READ.to_owned(), Some(b"true".to_vec()));
        }
    }

    /// A change that was followed.
    pub(super) fn on_change(&self, change: &Change) {
        if self.file.is_none() {
            return;
        }
        let (key, value) = match change {
            Change::Put(entry) => (entry.key.clone(), Some(entry.value.clone())),
            Change::Delete { key } => (key.clone(), None),
        };
        self.pending.lock().insert(key, value);
    }

    /// For `status`: services are served that nobody has confirmed.
    pub(super) fn problem(&self) -> Option<String> {
        let (entries, noted) = *self.recalled.lock();
        if entries == 0 || self.is_confirmed.load(Ordering::Acquire) {
            return None;
        }
        let when = noted.map(|noted| format!(" at {noted}")).unwrap_or_default();
        Some(format!(
            "services are served as this node last knew them{when} ({entries} objects): the cluster's store has not been read since the daemon started"
        ))
    }

    /// Writes some of what waits; true if that was all, or cannot be done.
    fn write(&self) -> bool {
        let Some(file) = &self.file else { return true };
        let _writing = self.writing.lock();
        let notes: Vec<Note> = {
            let mut pending = self.pending.lock();
            let rest = match pending.keys().nth(AT_ONCE).cloned() {
                Some(first) => pending.split_off(&first),
                None => BTreeMap::new(),
            };
            std::mem::replace(&mut *pending, rest).into_iter().collect()
        };
        if notes.is_empty() {
            return true;
        }
        match file.note(&notes, Timestamp::now().0) {
            Ok(0) => {}
            Ok(left_out) => tracing::warn!(left_out, "not all of the cluster is remembered: it is too large"),
            Err(error) => {
                tracing::warn!("changes of the cluster are not remembered yet: {}", chain(&error));
                let mut pending = self.pending.lock();
                for (key, value) in notes {
                    pending.entry(key).or_insert(value);
                }
                return true;
            }
        }
        self.pending.lock().is_empty()
    }

    /// Writes all that waits, in bounded time.
    pub(super) fn leave(&self) {
        let deadline = Instant::now() + LEAVE_LIMIT;
        while !self.write() && Instant::now() < deadline {}
    }
}

/// Writes what waits, until the daemon ends.
pub(super) fn follow(control: &Arc<Control>) -> std::io::Result<()> {
    if control.services.remembered.file.is_none() {
        return Ok(());
    }
    let control = Arc::clone(control);
    std::thread::Builder::new().name("remember".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(LATE);
            // Others, who create pods, use the same disk.
            while !control.services.remembered.write() {
                std::thread::sleep(LATE / 100);
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(dir: &tempfile::TempDir) -> Remembered {
        let file = Some(Memory::open(&dir.path().join("cluster")).unwrap());
        Remembered {
            file,
            pending: Mutex::default(),
            writing: Mutex::default(),
            recalled: Mutex::default(),
            was_read: false,
            is_confirmed: AtomicBool::new(false),
        }
    }

    fn put(key: &str, value: &str) -> Change {
        Change::Put(Entry { key: key.to_owned(), value: value.into(), revision: 3, lease: None })
    }

    #[test]
    fn changes_are_written_in_pieces_and_the_last_one_of_an_object_counts() {
        let dir = tempfile::tempdir().unwrap();
        let memory = remembered(&dir);
        for number in 0..AT_ONCE * 2 + 10 {
            memory.on_change(&put(&format!("/p/{number:05}"), "old"));
        }
        memory.on_change(&put("/p/00001", "new"));
        memory.on_change(&Change::Delete { key: "/p/00002".to_owned() });
        assert!(!memory.write());
        memory.leave();
        assert!(memory.write());
        let entries = memory.recall("/p/");
        assert_eq!(entries.len(), AT_ONCE * 2 + 9);
        assert_eq!((&*entries[1].key, &*entries[1].value), ("/p/00001", &b"new"[..]));
    }

    #[test]
    fn what_is_remembered_is_said_until_the_store_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let memory = remembered(&dir);
        assert_eq!(memory.problem(), None);
        memory.on_change(&put("/p/1", "x"));
        memory.leave();
        memory.recall("/p/");
        assert!(memory.problem().unwrap().contains("(1 objects)"), "{:?}", memory.problem());
        memory.confirm();
        assert_eq!(memory.problem(), None);
    }
}
