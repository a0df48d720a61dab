//! JSON objects under a prefix, one entry each: nodes, and whatever else a cluster shares.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ClusterStore;
use super::entry::{Entry, Revision};
use super::error::ClusterError;
use super::mirror::Change;
use super::txn::{Expect, Op};

/// Objects of one type. A name is what follows the prefix; it may contain `/` (`namespace/name`).
pub struct Collection<T> {
    store: Arc<dyn ClusterStore>,
    prefix: String,
    of: PhantomData<fn() -> T>,
}

/// An object and the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<T> {
    /// What follows the prefix.
    pub name: String,
    /// Its last change.
    pub revision: Revision,
    /// Its content.
    pub value: T,
}

/// What happened to an object.
#[derive(Debug)]
pub enum ObjectChange<T> {
    /// It was created or changed.
    Put(Object<T>),
    /// It is gone.
    Delete {
        /// What follows the prefix.
        name: String,
    },
    /// It was created or changed to something that is not of this type.
    Unreadable {
        /// What follows the prefix.
        name: String,
        /// What is wrong.
        error: ClusterError,
    },
}

/// Under which condition an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It must not exist.
    New,
    /// It must be at this revision.
    At(Revision),
    /// Whatever is there.
    Over,
}

impl From<Put> for Expect {
    fn from(put: Put) -> Self {
        match put {
            Put::New => Self::Absent,
            Put::At(revision) => Self::Revision(revision),
            Put::Over => Self::Any,
        }
    }
}

impl<T: Serialize + DeserializeOwned> Collection<T> {
    /// The objects whose keys begin with `prefix`, which ends in `/`.
    pub fn new(store: Arc<dyn ClusterStore>, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned(), of: PhantomData }
    }

    /// Where they are.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where an object is.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// One object, `None` if it does not exist.
    ///
    /// # Errors
    /// When the store or the object cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Object<T>>, ClusterError> {
        self.store.get(&self.key(name))?.map(|entry| self.read(&entry)).transpose()
    }

    /// All objects in order of their names, and the revision they were read at. One that cannot be read does not hide
    /// the others.
    ///
    /// # Errors
    /// When the store cannot be read.
    #[expect(clippy::type_complexity, reason = "one result per object is the point")]
    pub fn list(&self) -> Result<(Revision, Vec<Result<Object<T>, ClusterError>>), ClusterError> {
        let listing = self.store.list(&self.prefix)?;
        Ok((listing.revision, listing.entries.iter().map(|entry| self.read(entry)).collect()))
    }

    /// Writes an object.
    ///
    /// # Errors
    /// See [`ClusterStore::commit`].
    pub fn put(&self, name: &str, value: &T, put: Put) -> Result<Revision, ClusterError> {
        let key = self.key(name);
        self.store.put(&key, &to_json(&key, value)?, put.into())
    }

    /// Deletes an object, at revision `expected` if given.
    ///
    /// # Errors
    /// See [`ClusterStore::commit`].
    pub fn delete(&self, name: &str, expected: Option<Revision>) -> Result<Revision, ClusterError> {
        self.store.delete(&self.key(name), expected.map_or(Expect::Present, Expect::Revision))
    }

    /// The change that writes an object, for a transaction.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn put_op(&self, name: &str, value: &T) -> Result<Op, ClusterError> {
        let key = self.key(name);
        Ok(Op::Put { value: to_json(&key, value)?, key, lease: None })
    }

    /// What a mirror's change is about.
    pub fn change(&self, change: &Change) -> ObjectChange<T> {
        match change {
            Change::Put(entry) => match self.read(entry) {
                Ok(object) => ObjectChange::Put(object),
                Err(error) => ObjectChange::Unreadable { name: self.name(&entry.key), error },
            },
            Change::Delete { key } => ObjectChange::Delete { name: self.name(key) },
        }
    }

    /// An entry as an object.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(&self, entry: &Entry) -> Result<Object<T>, ClusterError> {
        let value = from_json(entry)?;
        Ok(Object { name: self.name(&entry.key), revision: entry.revision, value })
    }

    fn name(&self, key: &str) -> String {
        key.strip_prefix(&self.prefix).unwrap_or(key).to_owned()
    }
}

pub(super) fn to_json<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, ClusterError> {
    serde_json::to_vec(value).map_err(|source| ClusterError::Object { key: key.to_owned(), source })
}

pub(super) fn from_json<T: DeserializeOwned>(entry: &Entry) -> Result<T, ClusterError> {
    serde_json::from_slice(&entry.value)
        .map_err(|source| ClusterError::Object { key: entry.key.clone(), source })
}
