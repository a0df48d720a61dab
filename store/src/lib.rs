//! Desired state: what should exist, kept durably, and what follows from it.
//!
//! - [`Store`]: the embedded store, one redb file. Records are JSON, keyed by kind, namespace and
//!   name; every write moves one revision that only grows. What only this node needs is here.
//! - [`record`]: the records this release keeps.
//! - [`ipam`]: which address a pod gets. Pure; time is passed in.
//! - [`peers`]: which other nodes can be peers, and their numbers. Pure.
//! - [`desired`]: objects in, datapath configuration out, and the deltas between two of them. Pure.
//! - [`cluster`]: what other nodes must know, in the same file or on etcd: records, leases, watches, mirrors of
//!   them, and this node's registration. The etcd client is the one part with sockets, and keeps its asynchronous
//!   runtime to itself.
//!
//! Nothing here knows about kernels.

mod backend;
pub mod cluster;
pub mod desired;
mod error;
pub mod ipam;
mod key;
pub mod peers;
pub mod record;
pub mod services;

pub use backend::{Store, Transaction, Versioned};
pub use error::StoreError;
pub use key::{Key, Kind};
