//! This node's pods in a cluster's store, where other nodes derive endpoints from them.
//!
//! They live under a lease of the daemon: pods of a node that is gone are no endpoints for long. A store that is away is tried
//! again; what is told then is what is so then.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use store::cluster::{ClusterError, ClusterStore, LeaseId, Revision, Txn};
use store::services::write::PODS;
use store::services::{ObjectRef, PodFacts};

use super::super::error::chain;
use super::super::node::Control;
use super::programming;

/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Pods in one transaction; etcd takes 128 changes.
const PODS_PER_TXN: usize = 100;

type Facts = BTreeMap<ObjectRef, PodFacts>;

/// What the thread is told.
enum Told {
    /// The pods are these from now on.
    Pods(Facts),
    /// The datapath runs this revision, and somebody wants to know.
    Active(Revision),
    /// Somebody here waits for this revision.
    Wanted(Revision),
}

/// What the store is to have.
#[derive(Default)]
struct Wanted {
    pods: Option<Facts>,
    active: Revision,
    wanted: Revision,
}

impl Wanted {
    fn take(&mut self, told: Told) {
        match told {
            Told::Pods(facts) => self.pods = Some(facts),
            Told::Active(revision) => self.active = self.active.max(revision),
            Told::Wanted(revision) => self.wanted = self.wanted.max(revision),
        }
    }
}

/// Dropping it ends the lease and the thread.
pub(super) struct Publisher {
    told: Option<Sender<Told>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    pub(super) fn start(control: &Control) -> io::Result<Self> {
        let (sender, told) = unbounded();
        let ttl = control.config.etcd.as_ref().map_or(10, |etcd| etcd.lease_seconds);
        let worker = Worker {
            store: Arc::clone(&control.services.store),
            node: control.config.node.clone(),
            ttl: Duration::from_secs(ttl.into()),
            lease: None,
            published: Facts::new(),
            active: 0,
            wanted: 0,
        };
        let thread =
            std::thread::Builder::new().name("publish".to_owned()).spawn(move || worker.run(&told))?;
        Ok(Self { told: Some(sender), thread: Some(thread) })
    }

    /// The pods are these from now on.
    pub(super) fn tell(&self, facts: Facts) {
        self.send(Told::Pods(facts));
    }

    /// The datapath runs this revision, and somebody wants to know.
    pub(super) fn say_active(&self, revision: Revision) {
        self.send(Told::Active(revision));
    }

    /// Somebody here wants to know when all nodes run this revision.
    pub(super) fn say_wanted(&self, revision: Revision) {
        self.send(Told::Wanted(revision));
    }

    fn send(&self, told: Told) {
        if let Some(sender) = &self.told {
            // The thread ends only with us.
            let _ = sender.send(told);
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.told.take());
        // It may wait for a store that is away: nobody waits for it then.
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(self.thread.take());
    }
}

struct Worker {
    store: Arc<dyn ClusterStore>,
    node: String,
    ttl: Duration,
    lease: Option<LeaseId>,
    /// What the store has under the lease.
    published: Facts,
    /// What the store has of what the datapath runs, and of what is waited for.
    active: Revision,
    wanted: Revision,
}

impl Worker {
    fn run(mut self, told: &Receiver<Told>) {
        let mut wanted = Wanted::default();
        let mut said = false;
        loop {
            match self.step(&wanted) {
                Ok(()) => said = false,
                Err(error) if !said => {
                    said = true;
                    tracing::warn!("the cluster is not told of this node's pods: {}", chain(&error));
                }
                Err(_) => {}
            }
            let pause = if said { RETRY } else { self.ttl / 3 };
            match told.recv_timeout(pause) {
                Ok(first) => std::iter::once(first).chain(told.try_iter()).for_each(|told| wanted.take(told)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(lease) = self.lease {
            let _ = self.store.revoke(lease);
        }
    }

    fn step(&mut self, told: &Wanted) -> Result<(), ClusterError> {
        let Some(wanted) = &told.pods else { return Ok(()) };
        let lease = match self.lease {
            Some(lease) => match self.store.keep_alive(lease) {
                Err(ClusterError::LeaseLost { .. }) => {
                    self.lease = None;
                    self.begin()?
                }
                other => other.map(|_| lease)?,
            },
            None => self.begin()?,
        };
        let key = |pod: &ObjectRef| format!("{PODS}{pod}");
        let gone = self.published.keys().filter(|pod| !wanted.contains_key(pod));
        let mut changes: Vec<(ObjectRef, Option<PodFacts>)> = gone.map(|pod| (pod.clone(), None)).collect();
        let changed = wanted.iter().filter(|(pod, facts)| self.published.get(pod) != Some(facts));
        changes.extend(changed.map(|(pod, facts)| (pod.clone(), Some(facts.clone()))));
        for chunk in changes.chunks(PODS_PER_TXN) {
            let mut txn = Txn::new();
            for (pod, facts) in chunk {
                txn = match facts {
                    Some(facts) => {
                        let value = serde_json::to_vec(facts)
                            .map_err(|source| ClusterError::Object { key: key(pod), source })?;
                        txn.put_leased(&key(pod), &value, lease)
                    }
                    None => txn.delete(&key(pod)),
                };
            }
            self.store.commit(&txn)?;
            for (pod, facts) in chunk {
                match facts {
                    Some(facts) => _ = self.published.insert(pod.clone(), facts.clone()),
                    None => _ = self.published.remove(pod),
                }
            }
        }
        self.tell_progress(told, lease)
    }

    /// Only what others do not know yet.
    fn tell_progress(&mut self, told: &Wanted, lease: LeaseId) -> Result<(), ClusterError> {
        let mut txn = Txn::new();
        for (key, has, is) in [
            (programming::active_key(&self.node), self.active, told.active),
            (programming::wait_key(&self.node), self.wanted, told.wanted),
        ] {
            if has != is {
                txn = txn.put_leased(&key, is.to_string().as_bytes(), lease);
            }
        }
        if (self.active, self.wanted) != (told.active, told.wanted) {
            self.store.commit(&txn)?;
            (self.active, self.wanted) = (told.active, told.wanted);
        }
        Ok(())
    }

    /// A new lease. What an earlier one left is written anew under it, or deleted.
    fn begin(&mut self) -> Result<LeaseId, ClusterError> {
        let left = self.store.list(PODS)?.entries;
        let left = left.iter().filter_map(|entry| serde_json::from_slice::<PodFacts>(&entry.value).ok());
        // Told to be in the store, but none as it should be.
        let stale =
            |pod: PodFacts| (pod.object.clone(), PodFacts { ended: true, addresses: Vec::new(), ..pod });
        self.published = left.filter(|pod| pod.node == self.node).map(stale).collect();
        let lease = self.store.grant(self.ttl)?;
        self.lease = Some(lease);
        (self.active, self.wanted) = (0, 0);
        Ok(lease)
    }
}
