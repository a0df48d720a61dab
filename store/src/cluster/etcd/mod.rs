//! The cluster store of many nodes: etcd, version 3.4 or later, spoken to by the `etcd-client` crate.
//!
//! The crate is asynchronous; its runtime has one thread of its own here, which drives connections, timers and watches
//! while callers wait for their requests. It talks to one endpoint at a time and moves on to the next when that one fails ([`connection`]).
//! How long things take:
//!
//! - a call: at most [`EtcdConfig::call_timeout`] (and a little);
//! - until a watch notices that its endpoint is silent: at most twice [`EtcdConfig::probe`];
//! - a connection attempt: at most [`CONNECT_TIMEOUT`].
//!
//! Reads are repeated elsewhere while there is time. A change is repeated only when it certainly was not made;
//! otherwise the caller hears [`ClusterError::OutcomeUnknown`], reads, and decides.

mod config;
mod connection;
mod failure;
mod runtime;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, GetOptions, KvClient, PutOptions, Txn as EtcdTxn, TxnOp, TxnOpResponse,
    TxnResponse,
};

pub use self::config::{CONNECT_TIMEOUT, EtcdConfig, EtcdTls, EtcdUser};
use self::connection::{Connection, Repeat};
pub use self::failure::EtcdFailure;
use self::runtime::Runtime;
use super::entry::{Entry, LeaseId, Listing, MAX_LISTED, MAX_VALUE_BYTES, Revision, check_key, end_of};
use super::error::ClusterError;
use super::txn::{Expect, Op, Txn};
use super::{ClusterStore, Watch};

/// Entries asked for at once; with [`MAX_VALUE_BYTES`] each they stay below [`MAX_MESSAGE_BYTES`].
const PAGE: usize = 128;
/// Largest message accepted. The client's default of 4 MiB is less than a page may take.
const MAX_MESSAGE_BYTES: usize = PAGE * (MAX_VALUE_BYTES + 1024);

/// See the module's text.
#[derive(Debug)]
pub struct Etcd {
    connection: Arc<Connection>,
    runtime: Runtime,
}

impl Etcd {
    /// A client of the store that `config` names. Nothing is connected before the first call, so that
    /// a daemon starts while the store is away.
    ///
    /// # Errors
    /// When the configuration cannot be used or the thread not be started.
    pub fn new(config: EtcdConfig) -> Result<Self, EtcdFailure> {
        config.check()?;
        Ok(Self { connection: Arc::new(Connection::new(config)), runtime: Runtime::start()? })
    }
}

impl ClusterStore for Etcd {
    fn get(&self, key: &str) -> Result<Option<Entry>, ClusterError> {
        check_key(key)?;
        let request = async |client: &Client| client.kv_client().get(key, None).await;
        let response = self.runtime.run(self.connection.call(Repeat::Freely, request))?;
        Ok(response.kvs().first().and_then(entry_of))
    }

    fn list(&self, prefix: &str) -> Result<Listing, ClusterError> {
        check_key(prefix)?;
        let request = async |client: &Client| list(&mut kv(client), prefix).await;
        let listing = self.runtime.run(self.connection.call(Repeat::Freely, request))?;
        listing.ok_or_else(|| ClusterError::TooMany { prefix: prefix.to_owned(), limit: MAX_LISTED })
    }

    fn commit(&self, txn: &Txn) -> Result<Revision, ClusterError> {
        txn.check()?;
        let prepared = etcd_txn(txn);
        let request = async |client: &Client| kv(client).txn(prepared.clone()).await;
        let response = self.runtime.run(self.connection.call(Repeat::IfNotMade, request));
        let response = response.map_err(|error| name_lease(error, txn))?;
        if !response.succeeded() {
            return Err(conflict_of(txn, &response));
        }
        Ok(response.header().map_or(0, |header| revision_of(header.revision())))
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, ClusterError> {
        check_key(prefix)?;
        Ok(Box::new(self.runtime.run(watch::start(&self.connection, prefix, from.max(1)))?))
    }

    fn grant(&self, ttl: Duration) -> Result<LeaseId, ClusterError> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        // A lease granted twice is one that nobody renews: it ends by itself.
        let request = async |client: &Client| client.lease_client().grant(seconds, None).await;
        let response = self.runtime.run(self.connection.call(Repeat::Freely, request))?;
        Ok(LeaseId(response.id().cast_unsigned()))
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<Duration, ClusterError> {
        let request = async |client: &Client| keep_alive(&mut client.lease_client(), lease).await;
        let left = self.runtime.run(self.connection.call(Repeat::Freely, request))?;
        left.ok_or(ClusterError::LeaseLost { lease })
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), ClusterError> {
        let id = lease.0.cast_signed();
        let request = async |client: &Client| client.lease_client().revoke(id).await;
        match self.runtime.run(self.connection.call(Repeat::Freely, request)) {
            Err(ClusterError::Refused { source, .. }) if source.is_lease_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// Page by page, all as of the first page's revision; `None` when there are too many.
async fn list(kv: &mut KvClient, prefix: &str) -> Result<Option<Listing>, etcd_client::Error> {
    let mut listing = Listing::default();
    let mut from = prefix.as_bytes().to_vec();
    loop {
        let options = GetOptions::new()
            .with_range(end_of(prefix))
            .with_limit(i64::try_from(PAGE).unwrap_or(i64::MAX))
            .with_revision(listing.revision.cast_signed());
        let response = kv.get(from, Some(options)).await?;
        if listing.revision == 0 {
            listing.revision = response.header().map_or(0, |header| revision_of(header.revision()));
        }
        listing.entries.extend(response.kvs().iter().filter_map(entry_of));
        if listing.entries.len() > MAX_LISTED {
            return Ok(None);
        }
        match response.kvs().last() {
            Some(last) if response.more() => {
                from = last.key().to_vec();
                from.push(0);
            }
            _ => return Ok(Some(listing)),
        }
    }
}

/// One renewal. `None` when the server does not know the lease.
async fn keep_alive(
    client: &mut etcd_client::LeaseClient,
    lease: LeaseId,
) -> Result<Option<Duration>, etcd_client::Error> {
    let id = lease.0.cast_signed();
    let left = match client.keep_alive(id).await {
        Ok(_) => client.time_to_live(id, None).await?.ttl(),
        // The client crate says by a text that the lease is unknown; the server says it by a number.
        Err(error @ etcd_client::Error::LeaseKeepAliveError(_)) => {
            let left = client.time_to_live(id, None).await?.ttl();
            if left > 0 {
                return Err(error);
            }
            left
        }
        Err(error) => return Err(error),
    };
    Ok(u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs))
}

/// Asks, when a condition does not hold, for all that were compared.
fn etcd_txn(txn: &Txn) -> EtcdTxn {
    let compares: Vec<Compare> =
        txn.conditions.iter().filter_map(|(key, expect)| compare(key, *expect)).collect();
    let reads: Vec<TxnOp> = txn.conditions.iter().map(|(key, _)| TxnOp::get(key.as_str(), None)).collect();
    let ops: Vec<TxnOp> = txn.ops.iter().map(etcd_op).collect();
    EtcdTxn::new().when(compares).and_then(ops).or_else(reads)
}

fn compare(key: &str, expect: Expect) -> Option<Compare> {
    match expect {
        Expect::Any => None,
        Expect::Absent => Some(Compare::version(key, CompareOp::Equal, 0)),
        Expect::Present => Some(Compare::version(key, CompareOp::Greater, 0)),
        Expect::Revision(revision) => {
            Some(Compare::mod_revision(key, CompareOp::Equal, revision.cast_signed()))
        }
    }
}

fn etcd_op(op: &Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0.cast_signed()));
            TxnOp::put(key.as_str(), value.as_slice(), options)
        }
        Op::Delete { key } => TxnOp::delete(key.as_str(), None),
    }
}

fn conflict_of(txn: &Txn, response: &TxnResponse) -> ClusterError {
    let found = response.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(get) => get.kvs().first().map(|kv| revision_of(kv.mod_revision())),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    });
    let mut read = txn.conditions.iter().zip(found);
    match read.find(|((_, expected), found)| !expected.holds(*found)) {
        Some(((key, expected), found)) => {
            ClusterError::Conflict { key: key.clone(), expected: *expected, found }
        }
        // Unless the server contradicts itself: the reads are of the revision of the comparison.
        None => ClusterError::Conflict { key: String::new(), expected: Expect::Any, found: None },
    }
}

/// etcd does not say which lease it does not know; a transaction of ours has one.
fn name_lease(error: ClusterError, txn: &Txn) -> ClusterError {
    let lease = txn.ops.iter().find_map(|op| match op {
        Op::Put { lease, .. } => *lease,
        Op::Delete { .. } => None,
    });
    match (error, lease) {
        (ClusterError::Refused { source, .. }, Some(lease)) if source.is_lease_not_found() => {
            ClusterError::LeaseLost { lease }
        }
        (other, _) => other,
    }
}

/// `None` for keys that are no text: not ours.
fn entry_of(kv: &etcd_client::KeyValue) -> Option<Entry> {
    let lease = kv.lease().cast_unsigned();
    Some(Entry {
        key: kv.key_str().ok()?.to_owned(),
        value: kv.value().to_vec(),
        revision: revision_of(kv.mod_revision()),
        lease: (lease != 0).then_some(LeaseId(lease)),
    })
}

fn revision_of(revision: i64) -> Revision {
    Revision::try_from(revision).unwrap_or(0)
}
