//! The tables: entries, leases, and numbers that only grow.
//!
//! An entry's value is its revision, its lease (0: none), both big-endian, then its content.

use std::path::Path;
use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::StoreError;
use crate::cluster::entry::{Batch, Entry, Event, LeaseId, MAX_LISTED, Revision};
use crate::cluster::error::ClusterError;
use crate::cluster::txn::{Op, Txn};

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("cluster-entries");
/// Lease → milliseconds it lives.
const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("cluster-leases");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("cluster-numbers");
const REVISION: &str = "revision";
const LAST_LEASE: &str = "last-lease";
/// The revision that was last synced; written so that there is something to write.
const SYNCED: &str = "synced";

type Result<T> = std::result::Result<T, StoreError>;

/// Makes the tables.
pub(super) fn create(path: &Path, database: &Database) -> Result<()> {
    let make = || -> std::result::Result<(), redb::Error> {
        let write = database.begin_write()?;
        write.open_table(ENTRIES)?;
        write.open_table(LEASES)?;
        write.open_table(NUMBERS)?;
        Ok(write.commit()?)
    };
    make().map_err(|e| StoreError::from_redb(path, e))
}

/// The revision and the leases.
pub(super) fn load(path: &Path, database: &Database) -> Result<(Revision, Vec<(LeaseId, Duration)>)> {
    let read = || -> std::result::Result<_, redb::Error> {
        let read = database.begin_read()?;
        let revision = read.open_table(NUMBERS)?.get(REVISION)?.map_or(0, |n| n.value());
        let mut leases = Vec::new();
        for row in read.open_table(LEASES)?.iter()? {
            let (id, ttl) = row?;
            leases.push((LeaseId(id.value()), Duration::from_millis(ttl.value())));
        }
        Ok((revision, leases))
    };
    read().map_err(|e| StoreError::from_redb(path, e))
}

pub(super) fn get(path: &Path, database: &Database, key: &str) -> Result<Option<Entry>> {
    let read = || -> std::result::Result<_, redb::Error> {
        let table = database.begin_read()?.open_table(ENTRIES)?;
        let stored = table.get(key)?;
        Ok(stored.map(|bytes| decode(key, bytes.value())))
    };
    read().map_err(|e| StoreError::from_redb(path, e))
}

/// At most one more than [`MAX_LISTED`].
pub(super) fn list(path: &Path, database: &Database, prefix: &str) -> Result<Vec<Entry>> {
    let read = || -> std::result::Result<_, redb::Error> {
        let table = database.begin_read()?.open_table(ENTRIES)?;
        let mut entries = Vec::new();
        for row in table.range(prefix..)?.take(MAX_LISTED + 1) {
            let (key, bytes) = row?;
            if !key.value().starts_with(prefix) {
                break;
            }
            entries.push(decode(key.value(), bytes.value()));
        }
        Ok(entries)
    };
    read().map_err(|e| StoreError::from_redb(path, e))
}

/// The batch that was made of `txn`; `None` if it changes nothing. The inner error is the caller's own doing.
pub(super) fn commit(
    path: &Path,
    database: &Database,
    txn: &Txn,
) -> Result<std::result::Result<Option<Batch>, ClusterError>> {
    let run = || -> std::result::Result<_, redb::Error> {
        let mut write = database.begin_write()?;
        if txn.deferred {
            // Never refused: the file has one process and no savepoints.
            write.set_durability(Durability::None)?;
        }
        if let Some(conflict) = first_conflict(&write, txn)? {
            return Ok(Err(conflict));
        }
        let batch = apply(&write, &txn.ops)?;
        if batch.is_some() {
            write.commit()?;
        }
        Ok(Ok(batch))
    };
    run().map_err(|e| StoreError::from_redb(path, e))
}

/// Puts on disk what was deferred: a commit takes along those before it.
pub(super) fn sync(path: &Path, database: &Database) -> Result<()> {
    let run = || -> std::result::Result<_, redb::Error> {
        let write = database.begin_write()?;
        let mut numbers = write.open_table(NUMBERS)?;
        let revision = numbers.get(REVISION)?.map_or(0, |n| n.value());
        numbers.insert(SYNCED, revision)?;
        drop(numbers);
        Ok(write.commit()?)
    };
    run().map_err(|e| StoreError::from_redb(path, e))
}

/// A new lease.
pub(super) fn grant(path: &Path, database: &Database, ttl: Duration) -> Result<LeaseId> {
    let run = || -> std::result::Result<_, redb::Error> {
        let write = database.begin_write()?;
        let id = next_number(&write, LAST_LEASE)?;
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        write.open_table(LEASES)?.insert(id, ttl)?;
        write.commit()?;
        Ok(LeaseId(id))
    };
    run().map_err(|e| StoreError::from_redb(path, e))
}

/// Forgets a lease and deletes its entries.
pub(super) fn end_lease(path: &Path, database: &Database, lease: LeaseId) -> Result<Option<Batch>> {
    let run = || -> std::result::Result<_, redb::Error> {
        let write = database.begin_write()?;
        write.open_table(LEASES)?.remove(lease.0)?;
        let mut ops = Vec::new();
        for row in write.open_table(ENTRIES)?.iter()? {
            let (key, bytes) = row?;
            if decode_header(bytes.value()).1 == Some(lease) {
                ops.push(Op::Delete { key: key.value().to_owned() });
            }
        }
        let batch = apply(&write, &ops)?;
        write.commit()?;
        Ok(batch)
    };
    run().map_err(|e| StoreError::from_redb(path, e))
}

fn first_conflict(
    write: &WriteTransaction,
    txn: &Txn,
) -> std::result::Result<Option<ClusterError>, redb::Error> {
    let entries = write.open_table(ENTRIES)?;
    for (key, expected) in &txn.conditions {
        let found = entries.get(key.as_str())?.map(|bytes| decode_header(bytes.value()).0);
        if !expected.holds(found) {
            return Ok(Some(ClusterError::Conflict { key: key.clone(), expected: *expected, found }));
        }
    }
    Ok(None)
}

/// Costs a revision only if something changes.
fn apply(write: &WriteTransaction, ops: &[Op]) -> std::result::Result<Option<Batch>, redb::Error> {
    let mut entries = write.open_table(ENTRIES)?;
    let revision = write.open_table(NUMBERS)?.get(REVISION)?.map_or(0, |n| n.value()) + 1;
    let mut events = Vec::new();
    for op in ops {
        match op {
            Op::Put { key, value, lease } => {
                let entry = Entry { key: key.clone(), value: value.clone(), revision, lease: *lease };
                entries.insert(key.as_str(), encode(&entry).as_slice())?;
                events.push(Event::Put(entry));
            }
            Op::Delete { key } => {
                if entries.remove(key.as_str())?.is_some() {
                    events.push(Event::Delete { key: key.clone() });
                }
            }
        }
    }
    if events.is_empty() {
        return Ok(None);
    }
    next_number(write, REVISION)?;
    Ok(Some(Batch { revision, events }))
}

fn next_number(write: &WriteTransaction, name: &str) -> std::result::Result<u64, redb::Error> {
    let mut numbers = write.open_table(NUMBERS)?;
    let next = numbers.get(name)?.map_or(0, |n| n.value()) + 1;
    numbers.insert(name, next)?;
    Ok(next)
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes = entry.revision.to_be_bytes().to_vec();
    bytes.extend_from_slice(&entry.lease.map_or(0, |lease| lease.0).to_be_bytes());
    bytes.extend_from_slice(&entry.value);
    bytes
}

fn decode(key: &str, bytes: &[u8]) -> Entry {
    let (revision, lease) = decode_header(bytes);
    let value = bytes.get(HEADER_BYTES..).unwrap_or_default().to_vec();
    Entry { key: key.to_owned(), value, revision, lease }
}

fn decode_header(bytes: &[u8]) -> (Revision, Option<LeaseId>) {
    let number =
        |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u64::from_be_bytes(*b));
    let lease = number(8);
    (number(0), (lease != 0).then_some(LeaseId(lease)))
}

/// Revision and lease.
const HEADER_BYTES: usize = 16;
