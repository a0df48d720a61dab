//! What a cluster's store last said, in a file of this node: what a start goes on with while the store is away.
//!
//! It is a copy, written late and in pieces, by whoever follows the store ([`Memory::note`]); nothing is ever decided by it once the
//! store has been read ([`super::MirrorOptions::known`] compares the two). A file that cannot be used is thrown away. Leases are
//! not remembered: what they were about is found out again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::entry::Entry;
use crate::{Store, StoreError};

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("remembered-entries");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("remembered-numbers");
const NOTED: &str = "noted";
/// More is not remembered: a start without the store serves a part rather than fills the disk. Three times the pods of the
/// largest cluster.
pub const MAX_REMEMBERED: u64 = 450_000;

/// See the module's text.
#[derive(Debug)]
pub struct Memory {
    file: Store,
}

/// An entry as it is now, or that it is gone.
pub type Note = (String, Option<Vec<u8>>);

impl Memory {
    /// Opens the file, anew if it cannot be used.
    ///
    /// # Errors
    /// When it cannot be made either.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        match Self::try_open(path) {
            Err(error) if is_unusable(&error) => {
                std::fs::remove_file(path)
                    .map_err(|source| StoreError::Io { path: PathBuf::from(path), source })?;
                Self::try_open(path)
            }
            other => other,
        }
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        let file = Store::open(path)?;
        let create = |database: &Database| -> Result<(), redb::Error> {
            let write = database.begin_write()?;
            write.open_table(ENTRIES)?;
            write.open_table(NUMBERS)?;
            Ok(write.commit()?)
        };
        file.with_database(|database| create(database).map_err(|e| StoreError::from_redb(path, e)))?;
        Ok(Self { file })
    }

    /// What is remembered below `prefix`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn recall(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let read = |database: &Database| -> Result<Vec<Entry>, redb::Error> {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            let mut entries = Vec::new();
            for row in table.range(prefix..)? {
                let (key, value) = row?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                let (key, value) = (key.value().to_owned(), value.value().to_vec());
                entries.push(Entry { key, value, revision: 0, lease: None });
            }
            Ok(entries)
        };
        self.with(read)
    }

    /// Remembers changes, all or none, and when: `now` in seconds since 1970. Returns how many found no room.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(&self, notes: &[Note], now: u64) -> Result<usize, StoreError> {
        let write = |database: &Database| -> Result<usize, redb::Error> {
            let write = database.begin_write()?;
            let mut left_out = 0;
            {
                let mut table = write.open_table(ENTRIES)?;
                let mut len = table.len()?;
                for (key, value) in notes {
                    match value {
                        None => len -= u64::from(table.remove(key.as_str())?.is_some()),
                        Some(value) => {
                            let is_known = table.get(key.as_str())?.is_some();
                            if !is_known && len >= MAX_REMEMBERED {
                                left_out += 1;
                                continue;
                            }
                            table.insert(key.as_str(), value.as_slice())?;
                            len += u64::from(!is_known);
                        }
                    }
                }
                write.open_table(NUMBERS)?.insert(NOTED, now)?;
            }
            write.commit()?;
            Ok(left_out)
        };
        self.with(write)
    }

    /// When something was last noted, in seconds since 1970.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn noted(&self) -> Result<Option<u64>, StoreError> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(NUMBERS)?;
            Ok(table.get(NOTED)?.map(|number| number.value()))
        })
    }

    fn with<R>(&self, call: impl FnOnce(&Database) -> Result<R, redb::Error>) -> Result<R, StoreError> {
        let path = self.file.path();
        self.file.with_database(|database| call(database).map_err(|e| StoreError::from_redb(path, e)))
    }
}

/// What is in the file is no use, however often it is read.
fn is_unusable(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged { .. } => true,
        StoreError::Io { source, .. } => {
            matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        StoreError::DiskFull { .. }
        | StoreError::InUse { .. }
        | StoreError::Record { .. }
        | StoreError::Exists { .. }
        | StoreError::Missing { .. }
        | StoreError::Conflict { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(key: &str, value: Option<&str>) -> Note {
        (key.to_owned(), value.map(|value| value.as_bytes().to_vec()))
    }

    fn recalled(memory: &Memory, prefix: &str) -> Vec<(String, String)> {
        let entries = memory.recall(prefix).unwrap();
        let text = |entry: Entry| (entry.key, String::from_utf8(entry.value).unwrap());
        entries.into_iter().map(text).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn what_was_noted_last_is_recalled_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster");
        let memory = Memory::open(&path).unwrap();
        assert_eq!((recalled(&memory, "/a/"), memory.noted().unwrap()), (vec![], None));
        memory.note(&[note("/a/1", Some("x")), note("/a/2", Some("y")), note("/b/1", Some("z"))], 7).unwrap();
        memory.note(&[note("/a/1", Some("w")), note("/a/2", None), note("/a/3", None)], 8).unwrap();
        drop(memory);
        let memory = Memory::open(&path).unwrap();
        assert_eq!(recalled(&memory, "/a/"), [pair("/a/1", "w")]);
        assert_eq!(recalled(&memory, "/b/"), [pair("/b/1", "z")]);
        assert_eq!(memory.noted().unwrap(), Some(8));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster");
        std::fs::write(&path, vec![7; 10_000]).unwrap();
        let memory = Memory::open(&path).unwrap();
        memory.note(&[note("/a/1", Some("x"))], 1).unwrap();
        assert_eq!(recalled(&memory, "/"), [pair("/a/1", "x")]);
    }

    #[test]
    fn prefixes_end_where_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(&dir.path().join("cluster")).unwrap();
        memory.note(&[note("/a/1", Some("x")), note("/a0", Some("y")), note("/a", Some("z"))], 1).unwrap();
        assert_eq!(recalled(&memory, "/a/"), [pair("/a/1", "x")]);
    }
}
