//! What is read from a cluster store.

use std::fmt;

use super::error::ClusterError;

/// Longest key. The longest we make, a prefix with a namespace and a name, is under 300.
pub const MAX_KEY_BYTES: usize = 512;
/// Largest value. etcd refuses requests over 1.5 MiB, of which a transaction may make several puts.
pub const MAX_VALUE_BYTES: usize = 256 << 10;
/// Most entries that one call of `list` returns: an order more than objects of a kind in the largest clusters.
pub const MAX_LISTED: usize = 100_000;

/// Counts the changes of a store; the first one is 1 or more.
pub type Revision = u64;

/// Names a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A key, its value, and how it came there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Its content.
    pub value: Vec<u8>,
    /// The revision of its last change.
    pub revision: Revision,
    /// The lease it ends with.
    pub lease: Option<LeaseId>,
}

/// Entries as they were at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The store's revision; the entries' own are not higher.
    pub revision: Revision,
    /// In key order.
    pub entries: Vec<Entry>,
}

/// A change that happened to one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was created or changed.
    Put(Entry),
    /// It was deleted, or ended with its lease.
    Delete {
        /// Its name.
        key: String,
    },
}

impl Event {
    /// Of the entry it happened to.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key } => key,
        }
    }
}

/// All events of one revision that a watch is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The revision.
    pub revision: Revision,
    /// Empty in the answer to [`super::Prober`] alone: nothing happened up to the revision that was not delivered.
    pub events: Vec<Event>,
}

pub(super) fn check_key(key: &str) -> Result<(), ClusterError> {
    let refuse = |reason| Err(ClusterError::Key { key: key.chars().take(80).collect(), reason });
    if !key.starts_with('/') {
        return refuse("it must begin with '/'");
    }
    if key.len() > MAX_KEY_BYTES {
        return refuse("it is longer than 512 bytes");
    }
    if key.contains('\0') {
        return refuse("it contains a NUL");
    }
    Ok(())
}

/// The first string behind all that begin with `prefix`, in byte order. `check_key` has seen the prefix, so it
/// ends in a byte of a valid UTF-8 text, which is less than 0xff.
pub(super) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}
