//! Conditions and changes that hold and happen together.

use std::collections::BTreeSet;
use std::fmt;

use super::entry::{LeaseId, MAX_VALUE_BYTES, Revision, check_key};
use super::error::ClusterError;

/// Most conditions, and most changes, of one transaction: etcd's default (`--max-txn-ops`).
pub const MAX_TXN_OPS: usize = 128;
/// Most bytes of all its keys and values: under etcd's default of 1.5 MiB for a request (`--max-request-bytes`),
/// with room for its framing.
pub const MAX_TXN_BYTES: usize = 1 << 20;

/// What an entry must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// It must not exist.
    Absent,
    /// It must exist.
    Present,
    /// Its last change must be this one.
    Revision(Revision),
}

impl Expect {
    /// Whether an entry whose last change is `found` is so; `None` is none.
    #[must_use]
    pub fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Revision(revision) => found == Some(revision),
        }
    }

    /// What was read must not have changed.
    #[must_use]
    pub fn unchanged(read: Option<&super::Entry>) -> Self {
        read.map_or(Self::Absent, |entry| Self::Revision(entry.revision))
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Absent => f.write_str("no entry"),
            Self::Present => f.write_str("an entry"),
            Self::Revision(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates or replaces an entry; it belongs to `lease` from then on, or to none.
    Put {
        /// Its name.
        key: String,
        /// Its content.
        value: Vec<u8>,
        /// What it ends with.
        lease: Option<LeaseId>,
    },
    /// Deletes an entry, if it exists.
    Delete {
        /// Its name.
        key: String,
    },
}

impl Op {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Conditions, and changes to make if they all hold. No key may be changed twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    pub(super) conditions: Vec<(String, Expect)>,
    pub(super) ops: Vec<Op>,
    pub(super) deferred: bool,
}

impl Txn {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if `key` is as expected.
    #[must_use]
    pub fn when(mut self, key: &str, expect: Expect) -> Self {
        if expect != Expect::Any {
            self.conditions.push((key.to_owned(), expect));
        }
        self
    }

    /// Writes an entry that belongs to no lease.
    #[must_use]
    pub fn put(self, key: &str, value: &[u8]) -> Self {
        self.op(Op::Put { key: key.to_owned(), value: value.to_vec(), lease: None })
    }

    /// Writes an entry that ends with `lease`.
    #[must_use]
    pub fn put_leased(self, key: &str, value: &[u8], lease: LeaseId) -> Self {
        self.op(Op::Put { key: key.to_owned(), value: value.to_vec(), lease: Some(lease) })
    }

    /// Deletes an entry, if it exists.
    #[must_use]
    pub fn delete(self, key: &str) -> Self {
        self.op(Op::Delete { key: key.to_owned() })
    }

    /// Adds a change.
    #[must_use]
    pub fn op(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// A store in a file need not have it on disk when the call returns, but after [`super::ClusterStore::sync`]. It is seen
    /// at once; a machine or process that dies before takes it along, so nobody is to be told before that it was made.
    #[must_use]
    pub fn deferred(mut self) -> Self {
        self.deferred = true;
        self
    }

    /// That every store can take it.
    pub(super) fn check(&self) -> Result<(), ClusterError> {
        if self.ops.len() > MAX_TXN_OPS || self.conditions.len() > MAX_TXN_OPS {
            return Err(ClusterError::TooManyOps {
                found: self.ops.len().max(self.conditions.len()),
                limit: MAX_TXN_OPS,
            });
        }
        let mut size = 0;
        for (key, _) in &self.conditions {
            check_key(key)?;
            size += key.len();
        }
        let mut changed = BTreeSet::new();
        for op in &self.ops {
            let key = op.key();
            check_key(key)?;
            if !changed.insert(key) {
                return Err(ClusterError::Key {
                    key: key.to_owned(),
                    reason: "one transaction changes it twice",
                });
            }
            size += key.len();
            if let Op::Put { value, .. } = op {
                check_size(key, value.len(), MAX_VALUE_BYTES)?;
                size += value.len();
            }
        }
        check_size("transaction", size, MAX_TXN_BYTES)
    }
}

fn check_size(what: &str, size: usize, limit: usize) -> Result<(), ClusterError> {
    if size > limit {
        return Err(ClusterError::TooLarge { what: what.to_owned(), size, limit });
    }
    Ok(())
}
