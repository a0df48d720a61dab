//! Cluster state: what other nodes must know, behind one trait, [`ClusterStore`].
//!
//! Keys are paths (`/vpod/v1/nodes/a`), values bytes (JSON, by [`Collection`]). Every change moves one
//! revision, which only grows as long as the store keeps its data; several changes of one
//! [`Txn`] share a revision and are seen together.
//!
//! Two stores: [`Embedded`] (a table in a redb file, one process) and [`Etcd`] (many nodes). They pass the same
//! contract tests (`tests/cluster`). For either: [`Mirror`] keeps a prefix as a map, and
//! [`Registration`] holds this node's record and Pod CIDR.
//!
//! All calls block, each no longer than a deadline of the store; none may be made from a packet's path.
//! A store that cannot be reached is an error of the call and nothing else: whoever holds state goes on with it.
//!
//! # Keys
//!
//! | Key | Value | Lease |
//! |-|-|-|
//! | `/vpod/v1/nodes/<name>` | [`NodeRecord`] | none: a node that is away keeps its CIDR |
//! | `/vpod/v1/cidrs/<network>-<len>` | owner's name | none |
//! | `/vpod/v1/alive/<name>` | [`AliveRecord`] | of the daemon |
//! | `/vpod/v1/cidr-plan` | cluster CIDR, and the length of its parts | none |
//!
//! Other kinds of objects get a prefix of their own beside these.

pub mod embedded;
mod entry;
mod error;
pub mod etcd;
mod memory;
pub mod mirror;
mod object;
pub mod registration;
mod txn;
mod writer;

use std::time::Duration;

pub use embedded::Embedded;
pub use entry::{
    Batch, Entry, Event, LeaseId, Listing, MAX_KEY_BYTES, MAX_LISTED, MAX_VALUE_BYTES, Revision,
};
pub use error::{ClusterError, WatchEnd};
pub use etcd::{Etcd, EtcdConfig, EtcdTls};
pub use memory::{MAX_REMEMBERED, Memory, Note};
pub use mirror::{HoldPolicy, Mirror, MirrorOptions, MirrorState};
pub use object::{Collection, Object, ObjectChange, Put};
pub use registration::{
    AliveRecord, NodeRecord, NodeSpec, Registration, RegistrationError, RegistrationOptions,
    RegistrationState, delete_node,
};
pub use txn::{Expect, MAX_TXN_BYTES, MAX_TXN_OPS, Op, Txn};
pub use writer::Writer;

/// A store shared by the nodes of a cluster.
pub trait ClusterStore: Send + Sync {
    /// One entry, `None` if there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, key: &str) -> Result<Option<Entry>, ClusterError>;

    /// All entries whose keys begin with `prefix`, in key order, as they were at one revision.
    ///
    /// # Errors
    /// When the store cannot be read, or holds more than [`MAX_LISTED`] of them.
    fn list(&self, prefix: &str) -> Result<Listing, ClusterError>;

    /// Makes all changes of `txn`, or none. Returns the revision after it.
    ///
    /// # Errors
    /// [`ClusterError::Conflict`] names the first condition that does not hold. After
    /// [`ClusterError::OutcomeUnknown`] the changes may or may not have been made; otherwise they were not.
    fn commit(&self, txn: &Txn) -> Result<Revision, ClusterError>;

    /// When it returns, whatever was committed so far is certain, [`Txn::deferred`] or not.
    ///
    /// # Errors
    /// When the store cannot be written: what was deferred may be lost.
    fn sync(&self) -> Result<(), ClusterError> {
        Ok(())
    }

    /// Watches the entries whose keys begin with `prefix`, with every change from revision `from`
    /// on. After a [`Listing`] of revision r, that is r + 1.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses. A `from` that it cannot serve is told by
    /// [`Watch::next`].
    fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, ClusterError>;

    /// A lease that ends `ttl` after its last [`ClusterStore::keep_alive`]. A store may round up to what it
    /// supports (etcd: whole seconds, at least 2). With it end the entries that were put under it.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn grant(&self, ttl: Duration) -> Result<LeaseId, ClusterError>;

    /// Renews a lease. Returns how long it lives from now.
    ///
    /// # Errors
    /// [`ClusterError::LeaseLost`] when it has ended.
    fn keep_alive(&self, lease: LeaseId) -> Result<Duration, ClusterError>;

    /// Ends a lease and its entries now. Not an error when it has ended already.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn revoke(&self, lease: LeaseId) -> Result<(), ClusterError>;

    /// Writes one entry, if what is there is as expected.
    ///
    /// # Errors
    /// See [`ClusterStore::commit`].
    fn put(&self, key: &str, value: &[u8], expect: Expect) -> Result<Revision, ClusterError> {
        self.commit(&Txn::new().when(key, expect).put(key, value))
    }

    /// Deletes one entry, if what is there is as expected.
    ///
    /// # Errors
    /// See [`ClusterStore::commit`].
    fn delete(&self, key: &str, expect: Expect) -> Result<Revision, ClusterError> {
        self.commit(&Txn::new().when(key, expect).delete(key))
    }
}

/// Changes under a prefix, in the order they were made. Dropping it ends it.
pub trait Watch: Send {
    /// The changes of the next revision that has any; `None` when there was none for `timeout`.
    ///
    /// # Errors
    /// Why there will not be any more. Every later call says the same or [`WatchEnd::Closed`]. What
    /// happened since the last batch is only known by listing again.
    fn next(&mut self, timeout: Duration) -> Result<Option<Batch>, WatchEnd>;

    /// What asks how far the watch has come, from any thread. The answer comes as a batch without events, unless the
    /// watch ends before: who needs it asks again.
    fn prober(&self) -> Prober;
}

/// See [`Watch::prober`]. Does not block.
pub type Prober = Box<dyn Fn() + Send + Sync>;
