//! One node's part in the election: its lease, its record, and the addresses it takes and gives up.
//!
//! There is no thread here: whoever runs it calls [`Announcer::keep`] often enough, and [`Announcer::settle`] whenever something
//! has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::load_balancer::AddressPools;
use super::order::in_order;
use crate::cluster::{ClusterError, ClusterStore, Entry, Expect, LeaseId, Revision, Txn};

/// Where nodes say that they can announce.
pub const ANNOUNCERS: &str = "/vpod/v1/announcers/";
/// Where the owners of addresses are.
pub const ANNOUNCE: &str = "/vpod/v1/announce/";

/// For each node before it in the order, a node waits so long before it takes an address that nobody takes.
const PATIENCE: Duration = Duration::from_secs(1);
/// This part of a lease's time is not used; far more than clocks differ by.
const CLOCKS_DIFFER: u32 = 10;
/// Addresses in one transaction; etcd takes 128 changes.
const ADDRESSES_PER_TXN: usize = 64;

/// What a node says that can announce.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AnnouncerRecord {
    /// Its address pools, which should be everybody's.
    #[serde(default)]
    pub pools: AddressPools,
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub node: String,
    /// Of its entry.
    pub revision: Revision,
    /// What the entry ends with.
    pub lease: Option<LeaseId>,
}

/// The owners that entries name.
pub fn owners<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<Ipv4Addr, Owner> {
    let owner = |entry: &Entry| {
        let address = entry.key.strip_prefix(ANNOUNCE)?.parse().ok()?;
        let node = serde_json::from_slice(&entry.value).ok()?;
        Some((address, Owner { node, revision: entry.revision, lease: entry.lease }))
    };
    entries.into_iter().filter_map(owner).collect()
}

/// See the module's text.
pub struct Announcer {
    store: Arc<dyn ClusterStore>,
    node: String,
    ttl: Duration,
    lease: Option<LeaseId>,
    renewed: Option<Instant>,
    /// What the store has under the lease.
    published: Option<AnnouncerRecord>,
    /// Since when nobody has an address that somebody may have.
    free_since: BTreeMap<Ipv4Addr, Instant>,
    /// Let go of, by the entry's revision, whether the store has heard of it or not.
    let_go: BTreeMap<Ipv4Addr, Revision>,
}

/// What a node does about one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Take(Expect),
    GiveUp(Revision),
}

impl Announcer {
    /// How often [`Announcer::keep`] is to be called; four times fit the shortest lease.
    pub const RENEW_AFTER: Duration = Duration::from_millis(500);

    /// Nothing is said before the first [`Announcer::keep`].
    pub fn new(store: Arc<dyn ClusterStore>, node: &str, ttl: Duration) -> Self {
        Self {
            store,
            node: node.to_owned(),
            ttl,
            lease: None,
            renewed: None,
            published: None,
            free_since: BTreeMap::new(),
            let_go: BTreeMap::new(),
        }
    }

    /// Keeps the lease alive and the record as it should be; without a record, the node withdraws. To be called every
    /// [`Announcer::RENEW_AFTER`] at least; does nothing if it is early and nothing has changed.
    ///
    /// # Errors
    /// When the store cannot be written. It is to be tried again.
    pub fn keep(&mut self, record: Option<&AnnouncerRecord>, now: Instant) -> Result<(), ClusterError> {
        let Some(record) = record else { return self.withdraw() };
        self.renew(now)?;
        let lease = match self.lease {
            Some(_) if self.published.as_ref() == Some(record) => return Ok(()),
            Some(lease) => lease,
            None => {
                let lease = self.store.grant(self.ttl)?;
                self.renewed = Some(now);
                *self.lease.insert(lease)
            }
        };
        let key = format!("{ANNOUNCERS}{}", self.node);
        let value = to_json(&key, record)?;
        match self.store.commit(&Txn::new().put_leased(&key, &value, lease)) {
            Ok(_) => self.published = Some(record.clone()),
            Err(ClusterError::LeaseLost { .. }) => self.lose(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Until when nobody else can have what this node has, on its own clock: its lease as it was last renewed, counted from before the
    /// store was asked. It has passed while the store is away. `None` without a lease.
    #[must_use]
    pub fn held_until(&self) -> Option<Instant> {
        self.lease?;
        // The store's clock and this one may differ in speed.
        Some(self.renewed? + (self.ttl - self.ttl / CLOCKS_DIFFER))
    }

    /// The addresses that this node stands for: the store was last seen to have them under the lease it holds. After
    /// [`Announcer::held_until`] they may be another's, which the network then tells.
    #[must_use]
    pub fn stands_for(&self, owners: &BTreeMap<Ipv4Addr, Owner>) -> BTreeSet<Ipv4Addr> {
        if self.lease.is_none() {
            return BTreeSet::new();
        }
        let is_mine = |(address, owner): &(&Ipv4Addr, &Owner)| {
            owner.node == self.node
                && owner.lease == self.lease
                && self.let_go.get(address) != Some(&owner.revision)
        };
        owners.iter().filter(is_mine).map(|(address, _)| *address).collect()
    }

    /// Takes the addresses that this node should have, and gives up those it should not. `may` names the nodes that may have
    /// an address, `owners` those that have. Before the store hears that some are given up, `let_go` is called, which is to end what
    /// this node does for whatever [`Announcer::stands_for`] no longer names: others may begin at once. Returns when to
    /// look again, if nothing happens before.
    ///
    /// # Errors
    /// When the store cannot be written. What was done is seen in the store.
    pub fn settle(
        &mut self,
        may: &BTreeMap<Ipv4Addr, BTreeSet<String>>,
        owners: &BTreeMap<Ipv4Addr, Owner>,
        now: Instant,
        let_go: &mut dyn FnMut(&Self),
    ) -> Result<Option<Duration>, ClusterError> {
        let Some(lease) = self.lease.filter(|_| self.published.is_some()) else { return Ok(None) };
        self.free_since.retain(|address, _| may.contains_key(address) && !owners.contains_key(address));
        self.let_go.retain(|address, revision| owners.get(address).is_some_and(|o| o.revision == *revision));
        let (mut steps, mut wait) = (Vec::new(), None);
        let all: BTreeSet<Ipv4Addr> = may.keys().chain(owners.keys()).copied().collect();
        for address in all {
            let (may, owner) = (may.get(&address), owners.get(&address));
            match self.decide(address, may, owner, lease, now) {
                Ok(Some(step)) => steps.push((address, step)),
                Ok(None) => {}
                Err(later) => wait = Some(wait.map_or(later, |wait: Duration| wait.min(later))),
            }
        }
        let given_up = steps.iter().filter_map(|(address, step)| match step {
            Step::GiveUp(revision) => Some((*address, *revision)),
            Step::Take(_) => None,
        });
        let before = self.let_go.len();
        self.let_go.extend(given_up);
        if self.let_go.len() > before {
            let_go(self);
        }
        for chunk in steps.chunks(ADDRESSES_PER_TXN) {
            self.renew(now + now.elapsed())?;
            match self.commit(chunk, lease) {
                // One of them is another's by now; the rest is not to wait for that.
                Err(error) if error.is_conflict() => {
                    for step in chunk {
                        self.commit(std::slice::from_ref(step), lease).or_else(ignore_conflict)?;
                    }
                }
                other => other?,
            }
        }
        Ok(wait)
    }

    /// What to do about an address; an error says when to ask again.
    fn decide(
        &mut self,
        address: Ipv4Addr,
        may: Option<&BTreeSet<String>>,
        owner: Option<&Owner>,
        lease: LeaseId,
        now: Instant,
    ) -> Result<Option<Step>, Duration> {
        let i_may = may.is_some_and(|may| may.contains(&self.node));
        match owner {
            Some(owner) if owner.node != self.node => Ok(None),
            Some(owner) => {
                // Nobody but me may, or nobody at all: but for an address that is no more, it stays.
                let stays = i_may || may.is_some_and(BTreeSet::is_empty);
                if !stays {
                    return Ok(Some(Step::GiveUp(owner.revision)));
                }
                // Left by me before a restart: it is not to end with that lease. Let go of, and not: for others it was mine all the time.
                let is_mine = owner.lease == Some(lease) && !self.let_go.contains_key(&address);
                Ok((!is_mine).then_some(Step::Take(Expect::Revision(owner.revision))))
            }
            None if i_may => {
                let order = in_order(address, may.into_iter().flatten().map(String::as_str));
                let rank = order.iter().position(|node| *node == self.node).unwrap_or_default();
                let since = *self.free_since.entry(address).or_insert(now);
                let due = since + PATIENCE * u32::try_from(rank).unwrap_or(u32::MAX);
                if due > now { Err(due - now) } else { Ok(Some(Step::Take(Expect::Absent))) }
            }
            None => Ok(None),
        }
    }

    fn commit(&mut self, steps: &[(Ipv4Addr, Step)], lease: LeaseId) -> Result<(), ClusterError> {
        let mut txn = Txn::new();
        for (address, step) in steps {
            let key = format!("{ANNOUNCE}{address}");
            txn = match step {
                Step::Take(expect) => {
                    txn.when(&key, *expect).put_leased(&key, &to_json(&key, &self.node)?, lease)
                }
                Step::GiveUp(revision) => txn.when(&key, Expect::Revision(*revision)).delete(&key),
            };
        }
        match self.store.commit(&txn) {
            Err(ClusterError::LeaseLost { .. }) => {
                self.lose();
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Ends the lease, and all that is under it: others take over at once.
    ///
    /// # Errors
    /// When the store cannot be written; the lease then ends by itself.
    pub fn withdraw(&mut self) -> Result<(), ClusterError> {
        if let Some(lease) = self.lease {
            self.store.revoke(lease)?;
            self.lose();
        }
        Ok(())
    }

    fn renew(&mut self, now: Instant) -> Result<(), ClusterError> {
        let Some(lease) = self.lease else { return Ok(()) };
        if self.renewed.is_some_and(|renewed| now.saturating_duration_since(renewed) < Self::RENEW_AFTER / 2)
        {
            return Ok(());
        }
        match self.store.keep_alive(lease) {
            Ok(_) => self.renewed = Some(now),
            Err(ClusterError::LeaseLost { .. }) => self.lose(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn lose(&mut self) {
        (self.lease, self.renewed, self.published) = (None, None, None);
    }
}

fn ignore_conflict(error: ClusterError) -> Result<(), ClusterError> {
    if error.is_conflict() { Ok(()) } else { Err(error) }
}

fn to_json<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, ClusterError> {
    serde_json::to_vec(value).map_err(|source| ClusterError::Object { key: key.to_owned(), source })
}
