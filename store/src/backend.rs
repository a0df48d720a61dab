//! The embedded store: one redb file.
//!
//! A commit is on disk when the call returns (redb commits with `fsync`), and a crash at any point
//! leaves the state before or after it. One table maps `kind/namespace/name` to eight bytes of
//! revision followed by JSON; a second one holds the revision of the last commit.
//!
//! redb refuses every call after an I/O error until the file is opened anew. That happens here, at
//! the next call, so that a disk that was full and has space again needs no restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::key::{Key, Kind};

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const REVISION: &str = "revision";
/// Bytes before the JSON in a stored value.
const REVISION_BYTES: usize = 8;
/// The records of a full node are under 4 MiB; redb's default of 1 GiB would be its whole memory.
const CACHE_BYTES: usize = 8 << 20;

/// A record and the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// Grows with every change of any record.
    pub revision: u64,
    /// The record.
    pub value: T,
}

/// Changes that happen together or not at all.
#[derive(Debug, Default)]
pub struct Transaction {
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    key: Key,
    expect: Expect,
    /// `None` deletes.
    json: Option<Result<Vec<u8>, serde_json::Error>>,
}

#[derive(Debug, Clone, Copy)]
enum Expect {
    Absent,
    Present,
    Revision(u64),
    Any,
}

impl Transaction {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a record that must not exist.
    #[must_use]
    pub fn put_new<T: Serialize>(self, key: Key, value: &T) -> Self {
        self.with(key, Expect::Absent, Some(serde_json::to_vec(value)))
    }

    /// Changes a record that must be at revision `expected`; whatever its revision with `None`,
    /// which also creates it.
    #[must_use]
    pub fn put<T: Serialize>(self, key: Key, value: &T, expected: Option<u64>) -> Self {
        self.with(key, expected.map_or(Expect::Any, Expect::Revision), Some(serde_json::to_vec(value)))
    }

    /// Deletes a record that must be at revision `expected`; whatever its revision with `None`.
    #[must_use]
    pub fn delete(self, key: Key, expected: Option<u64>) -> Self {
        self.with(key, expected.map_or(Expect::Present, Expect::Revision), None)
    }

    /// Deletes a record if it exists.
    #[must_use]
    pub fn forget(self, key: Key) -> Self {
        self.with(key, Expect::Any, None)
    }

    fn with(mut self, key: Key, expect: Expect, json: Option<Result<Vec<u8>, serde_json::Error>>) -> Self {
        self.changes.push(Change { key, expect, json });
        self
    }
}

/// The store. Calls may come from any thread; commits happen one after another.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// `None` after an I/O error, until the next call opens it again.
    database: Mutex<Option<Database>>,
}

impl Store {
    /// Opens the file at `path`, creating it with mode 0600 if there is none.
    ///
    /// # Errors
    /// When the file cannot be created, read, or belongs to another process or release.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self { path: path.to_owned(), database: Mutex::new(None) };
        store.with_database(|_| Ok(()))?;
        Ok(store)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes all changes of `transaction`, durably, or none. Returns the revision they got.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Missing`] or [`StoreError::Conflict`] for the first
    /// change whose expectation does not hold; otherwise what failed about the file.
    pub fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        self.with_database(|database| commit(&self.path, database, transaction))
    }

    /// Creates a record that must not exist.
    ///
    /// # Errors
    /// See [`Store::commit`].
    pub fn put_new<T: Serialize>(&self, key: Key, value: &T) -> Result<u64, StoreError> {
        self.commit(Transaction::new().put_new(key, value))
    }

    /// Changes a record that must be at revision `expected`.
    ///
    /// # Errors
    /// See [`Store::commit`].
    pub fn put<T: Serialize>(&self, key: Key, value: &T, expected: u64) -> Result<u64, StoreError> {
        self.commit(Transaction::new().put(key, value, Some(expected)))
    }

    /// Deletes a record, at revision `expected` if given.
    ///
    /// # Errors
    /// See [`Store::commit`].
    pub fn delete(&self, key: Key, expected: Option<u64>) -> Result<u64, StoreError> {
        self.commit(Transaction::new().delete(key, expected))
    }

    /// One record, `None` if it does not exist.
    ///
    /// # Errors
    /// When the file or the record cannot be read.
    pub fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<Versioned<T>>, StoreError> {
        self.with_database(|database| {
            let fail = |e: redb::Error| StoreError::from_redb(&self.path, e);
            let read = database.begin_read().map_err(|e| fail(e.into()))?;
            let table = read.open_table(RECORDS).map_err(|e| fail(e.into()))?;
            let stored = table.get(key.stored().as_str()).map_err(|e| fail(e.into()))?;
            stored.map(|bytes| decode(&self.path, key, bytes.value())).transpose()
        })
    }

    /// All records of a kind, in key order. A record that cannot be read is an error of its own
    /// and does not hide the others.
    ///
    /// # Errors
    /// When the file cannot be read.
    #[expect(clippy::type_complexity, reason = "one result per record is the point")]
    pub fn list<T: DeserializeOwned>(
        &self,
        kind: Kind,
    ) -> Result<Vec<(Key, Result<Versioned<T>, StoreError>)>, StoreError> {
        self.with_database(|database| {
            let fail = |e: redb::Error| StoreError::from_redb(&self.path, e);
            let read = database.begin_read().map_err(|e| fail(e.into()))?;
            let table = read.open_table(RECORDS).map_err(|e| fail(e.into()))?;
            let (from, to) = Key::range_of(kind);
            let mut rows = Vec::new();
            for row in table.range(from.as_str()..to.as_str()).map_err(|e| fail(e.into()))? {
                let (stored_key, bytes) = row.map_err(|e| fail(e.into()))?;
                let Some(key) = Key::from_stored(kind, stored_key.value()) else { continue };
                let value = decode(&self.path, &key, bytes.value());
                rows.push((key, value));
            }
            Ok(rows)
        })
    }

    /// Revision of the last commit; 0 before the first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn revision(&self) -> Result<u64, StoreError> {
        self.with_database(|database| {
            let fail = |e: redb::Error| StoreError::from_redb(&self.path, e);
            let read = database.begin_read().map_err(|e| fail(e.into()))?;
            let numbers = read.open_table(NUMBERS).map_err(|e| fail(e.into()))?;
            let number = numbers.get(REVISION).map_err(|e| fail(e.into()))?;
            Ok(number.map_or(0, |n| n.value()))
        })
    }

    pub(crate) fn with_database<R>(
        &self,
        call: impl FnOnce(&Database) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut slot = self.lock();
        let database = match slot.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
        let result = call(&database);
        if result.as_ref().err().is_none_or(StoreError::is_refusal) {
            *slot = Some(database);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Option<Database>> {
        // A panic inside a call cannot leave a half-made change: redb rolls back what is not committed.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let fail = |e: redb::Error| StoreError::from_redb(path, e);
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| StoreError::from_io(path.to_owned(), e))?;
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(FileBackend::new(file).map_err(|e| fail(e.into()))?)
        .map_err(|e| fail(e.into()))?;
    let read = database.begin_read().map_err(|e| fail(e.into()))?;
    if read.open_table(RECORDS).is_ok() && read.open_table(NUMBERS).is_ok() {
        return Ok(database);
    }
    let write = database.begin_write().map_err(|e| fail(e.into()))?;
    write.open_table(RECORDS).map_err(|e| fail(e.into()))?;
    write.open_table(NUMBERS).map_err(|e| fail(e.into()))?;
    write.commit().map_err(|e| fail(e.into()))?;
    Ok(database)
}

fn commit(path: &Path, database: &Database, transaction: Transaction) -> Result<u64, StoreError> {
    let fail = |e: redb::Error| StoreError::from_redb(path, e);
    let write = database.begin_write().map_err(|e| fail(e.into()))?;
    let revision = {
        let mut numbers = write.open_table(NUMBERS).map_err(|e| fail(e.into()))?;
        let last = numbers.get(REVISION).map_err(|e| fail(e.into()))?.map_or(0, |n| n.value());
        numbers.insert(REVISION, last + 1).map_err(|e| fail(e.into()))?;
        last + 1
    };
    {
        let mut records = write.open_table(RECORDS).map_err(|e| fail(e.into()))?;
        for Change { key, expect, json } in transaction.changes {
            let stored = key.stored();
            let found =
                records.get(stored.as_str()).map_err(|e| fail(e.into()))?.map(|b| revision_of(b.value()));
            check(&key, expect, found)?;
            match json {
                Some(json) => {
                    let json = json.map_err(|source| StoreError::Record {
                        path: path.to_owned(),
                        key: key.clone(),
                        source,
                    })?;
                    let mut bytes = revision.to_be_bytes().to_vec();
                    bytes.extend_from_slice(&json);
                    records.insert(stored.as_str(), bytes.as_slice()).map_err(|e| fail(e.into()))?;
                }
                None => {
                    records.remove(stored.as_str()).map_err(|e| fail(e.into()))?;
                }
            }
        }
    }
    write.commit().map_err(|e| fail(e.into()))?;
    Ok(revision)
}

fn check(key: &Key, expect: Expect, found: Option<u64>) -> Result<(), StoreError> {
    match (expect, found) {
        (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => Ok(()),
        (Expect::Absent, Some(_)) => Err(StoreError::Exists { key: key.clone() }),
        (Expect::Present | Expect::Revision(_), None) => Err(StoreError::Missing { key: key.clone() }),
        (Expect::Revision(expected), Some(found)) if expected == found => Ok(()),
        (Expect::Revision(expected), Some(found)) => {
            Err(StoreError::Conflict { key: key.clone(), expected, found })
        }
    }
}

fn revision_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<REVISION_BYTES>().map_or(0, |b| u64::from_be_bytes(*b))
}

fn decode<T: DeserializeOwned>(path: &Path, key: &Key, bytes: &[u8]) -> Result<Versioned<T>, StoreError> {
    let json = bytes.get(REVISION_BYTES..).unwrap_or_default();
    let value = serde_json::from_slice(json).map_err(|source| StoreError::Record {
        path: path.to_owned(),
        key: key.clone(),
        source,
    })?;
    Ok(Versioned { revision: revision_of(bytes), value })
}

#[cfg(test)]
mod tests;
