//! Why the store refused, one variant per thing an operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::key::Key;

/// Why a call of [`crate::Store`] failed. Nothing was changed, except where said.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space (or quota) left for the file. Works again, without a restart, once there is.
    #[error("state file {}: the disk is full: {source}", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Reading or writing the file failed. Whether the change is durable is unknown; the file is
    /// opened anew at the next call.
    #[error("state file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process has the file open.
    #[error("state file {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file's content is damaged, or of another release.
    #[error("state file {} cannot be used: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<redb::Error>,
    },
    /// One record is not what this release writes.
    #[error("state file {}: the record of {key} cannot be read: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The record.
        key: Key,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The record to create exists.
    #[error("{key} exists already")]
    Exists {
        /// The record.
        key: Key,
    },
    /// The record to change does not exist.
    #[error("{key} does not exist")]
    Missing {
        /// The record.
        key: Key,
    },
    /// Somebody else changed the record first.
    #[error("{key} was changed meanwhile: revision {found}, expected {expected}")]
    Conflict {
        /// The record.
        key: Key,
        /// What the caller had read.
        expected: u64,
        /// What is there.
        found: u64,
    },
}

impl StoreError {
    /// Sorts what redb says; `path` is the file.
    pub(crate) fn from_redb(path: &Path, error: redb::Error) -> Self {
        let path = path.to_owned();
        match error {
            redb::Error::Io(source) => Self::from_io(path, source),
            redb::Error::PreviousIo => Self::Io { path, source: io::Error::other("an earlier write failed") },
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse { path },
            other => Self::Damaged { path, source: Box::new(other) },
        }
    }

    pub(crate) fn from_io(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io { path, source },
        }
    }

    /// The caller's own doing (a wrong revision, a missing record); the file itself is fine.
    pub(crate) const fn is_refusal(&self) -> bool {
        match self {
            Self::Exists { .. } | Self::Missing { .. } | Self::Conflict { .. } | Self::Record { .. } => true,
            Self::DiskFull { .. } | Self::Io { .. } | Self::InUse { .. } | Self::Damaged { .. } => false,
        }
    }
}
