//! Why a cluster store refused, or a watch ended.

use std::time::Duration;

use super::entry::{LeaseId, Revision};
use super::etcd::EtcdFailure;
use super::txn::Expect;
use crate::error::StoreError;

/// Why a call failed. Nothing was changed, except where said.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No store takes this key.
    #[error("key \"{key}\" cannot be used: {reason}")]
    Key {
        /// Its first characters.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value or a transaction is too large.
    #[error("{what}: {size} bytes are more than the limit of {limit}")]
    TooLarge {
        /// The key, or "transaction".
        what: String,
        /// Its size.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A transaction has too many conditions or changes.
    #[error("a transaction of {found} parts is over the limit of {limit}")]
    TooManyOps {
        /// How many it has.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// More entries than anything here should hold.
    #[error("there are more than {limit} entries under {prefix}")]
    TooMany {
        /// What was listed.
        prefix: String,
        /// What is allowed.
        limit: usize,
    },
    /// A condition does not hold.
    #[error("{key} is not as expected: expected {expected}, found {}",
        found.map_or_else(|| "no entry".to_owned(), |r| format!("revision {r}")))]
    Conflict {
        /// Of which entry.
        key: String,
        /// What the caller had named.
        expected: Expect,
        /// Revision of what is there.
        found: Option<Revision>,
    },
    /// A lease has ended, and the entries under it.
    #[error("lease {lease} has ended")]
    LeaseLost {
        /// Which one.
        lease: LeaseId,
    },
    /// The store could not be asked.
    #[error("etcd at {endpoint} cannot be reached: {source}")]
    Unreachable {
        /// The one that was asked last.
        endpoint: String,
        /// Why not.
        source: EtcdFailure,
    },
    /// The store was asked for a change and did not answer: it may or may not have been made.
    #[error("etcd at {endpoint} did not say whether it made a change: {source}")]
    OutcomeUnknown {
        /// Which one.
        endpoint: String,
        /// What happened instead of an answer.
        source: EtcdFailure,
    },
    /// The store said no: wrong password, no permission, no space.
    #[error("etcd at {endpoint} refused: {source}")]
    Refused {
        /// Which one.
        endpoint: String,
        /// What it said.
        source: EtcdFailure,
    },
    /// An object cannot be read or written as JSON.
    #[error("the object at {key} is not what this release writes: {source}")]
    Object {
        /// Where it is.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The embedded store's file. After [`StoreError::Io`] a change may or may not have been made.
    #[error(transparent)]
    File(#[from] StoreError),
}

impl ClusterError {
    /// Whether somebody else was faster, so that reading again and trying again makes sense.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Whether the change may have been made all the same.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. } | Self::File(StoreError::Io { .. }))
    }

    /// Whether the same call may succeed later without anybody changing a configuration.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::OutcomeUnknown { .. }
            | Self::LeaseLost { .. }
            | Self::Conflict { .. } => true,
            Self::File(error) => matches!(error, StoreError::Io { .. } | StoreError::DiskFull { .. }),
            Self::Key { .. }
            | Self::TooLarge { .. }
            | Self::TooManyOps { .. }
            | Self::TooMany { .. }
            | Self::Refused { .. }
            | Self::Object { .. } => false,
        }
    }
}

/// Why a watch ended. Whatever the reason: list again, and watch from there.
#[derive(Debug, thiserror::Error)]
pub enum WatchEnd {
    /// The store no longer has the changes that come next.
    #[error("changes before revision {oldest} are no longer kept")]
    Compacted {
        /// The first revision it may still have.
        oldest: Revision,
    },
    /// The store is older than what the caller has seen: it was restored from a backup or emptied (or a
    /// server that lags behind answered).
    #[error("the store is at revision {store}, before {from}, from which it was watched")]
    Behind {
        /// What was asked for.
        from: Revision,
        /// Where the store is.
        store: Revision,
    },
    /// The connection is gone, or the other side silent.
    #[error("the connection to etcd at {endpoint} is lost: {source}")]
    Lost {
        /// Which one.
        endpoint: String,
        /// What happened.
        source: EtcdFailure,
    },
    /// The embedded store's file.
    #[error(transparent)]
    File(#[from] StoreError),
    /// The store was closed, or the watch had ended before.
    #[error("the watch is closed")]
    Closed,
}

/// Rounded to what a person wants to read.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
