//! This node's place in the cluster: its name, its Pod CIDR, and the lease that says it is alive.
//!
//! How it works: [`Registration::start`] takes name and CIDR in one transaction and starts a thread that renews the
//! lease every third of its time. A lease that was lost (the store was away for longer, or emptied) is granted anew as
//! soon as the store answers, with the same CIDR. What is known of the node changes through
//! [`Registration::update`], which the thread publishes when it can. Nothing of this touches the data
//! plane: a node that cannot reach the store keeps its CIDR, because nobody gets it before the
//! node is deleted ([`delete_node`]).

mod allocate;
mod claim;
mod error;
mod record;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

pub use self::claim::delete_node;
pub use self::error::RegistrationError;
use self::record::PlanRecord;
pub use self::record::{
    ALIVE, AliveRecord, CIDRS, NODES, NodeRecord, NodeSpec, alive_key, cidr_key, node_key,
};
use super::ClusterStore;
use super::entry::LeaseId;

/// After a failure, until the next try; at most a third of the lease's time.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What a cluster gives its nodes.
#[derive(Debug, Clone)]
pub struct RegistrationOptions {
    /// The range of all pods.
    pub cluster_cidr: Ipv4Net,
    /// Size of each node's part of it.
    pub node_prefix_len: u8,
    /// A certain part; refused if another node has it, or the node another part.
    pub requested: Option<Ipv4Net>,
    /// How long the node counts as alive after its last word.
    pub ttl: Duration,
    /// How long to try while others are faster.
    pub timeout: Duration,
}

impl RegistrationOptions {
    /// A /24 for each node, 15 s.
    #[must_use]
    pub fn new(cluster_cidr: Ipv4Net) -> Self {
        Self {
            cluster_cidr,
            node_prefix_len: 24,
            requested: None,
            ttl: Duration::from_secs(15),
            timeout: Duration::from_secs(30),
        }
    }

    fn plan(&self) -> PlanRecord {
        PlanRecord { cluster_cidr: self.cluster_cidr.trunc(), node_prefix_len: self.node_prefix_len }
    }
}

/// How it stands with the registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// The store has our record, and the lease lives.
    Registered,
    /// The store cannot be reached since then. The lease may have ended.
    Unreachable {
        /// Since when.
        since: Instant,
        /// What happened.
        problem: String,
    },
    /// The store works and the registration is refused: another machine has taken the name, or another node
    /// the CIDR. It is tried again.
    Refused {
        /// Since when.
        since: Instant,
        /// Why.
        problem: String,
    },
}

/// See the module's text. Dropping it ends the thread; the lease then ends by itself.
#[derive(Debug)]
pub struct Registration {
    shared: Arc<Shared>,
    store: Weakly,
    pod_cidr: Ipv4Net,
    thread: Option<JoinHandle<()>>,
}

/// Keeps `Debug` from asking for that of the store.
struct Weakly(Arc<dyn ClusterStore>);

impl std::fmt::Debug for Weakly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterStore")
    }
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Told of `unpublished` and `stop`.
    woken: Condvar,
}

#[derive(Debug)]
struct Inner {
    spec: NodeSpec,
    /// `spec` has changed since it was last written.
    unpublished: bool,
    lease: Option<LeaseId>,
    state: RegistrationState,
    /// How often a lost lease was replaced.
    regranted: u64,
    stop: bool,
}

impl Registration {
    /// Registers the node and keeps it registered.
    ///
    /// # Errors
    /// Why it cannot be registered, the store being unreachable included. A node that knows its CIDR from before
    /// goes on with [`Registration::resume`].
    pub fn start(
        store: Arc<dyn ClusterStore>,
        spec: NodeSpec,
        options: RegistrationOptions,
    ) -> Result<Self, RegistrationError> {
        let (record, lease) = claim::claim(&*store, &spec, options.requested, None, &options)?;
        Self::run(store, record, Some(lease), RegistrationState::Registered, options)
    }

    /// Goes on with the CIDR of `record`, and registers it as soon as the store allows. Does not wait for it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn resume(
        store: Arc<dyn ClusterStore>,
        record: NodeRecord,
        options: RegistrationOptions,
    ) -> Result<Self, RegistrationError> {
        let state =
            RegistrationState::Unreachable { since: Instant::now(), problem: "not asked yet".to_owned() };
        Self::run(store, record, None, state, options)
    }

    fn run(
        store: Arc<dyn ClusterStore>,
        record: NodeRecord,
        lease: Option<LeaseId>,
        state: RegistrationState,
        options: RegistrationOptions,
    ) -> Result<Self, RegistrationError> {
        let NodeRecord { pod_cidr, spec } = record;
        let inner = Inner { spec, unpublished: false, lease, state, regranted: 0, stop: false };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), woken: Condvar::new() });
        let keeper = Keeper { shared: Arc::clone(&shared), store: Arc::clone(&store), pod_cidr, options };
        let thread = std::thread::Builder::new()
            .name("registration".to_owned())
            .spawn(move || keeper.run())
            .map_err(RegistrationError::Thread)?;
        Ok(Self { shared, store: Weakly(store), pod_cidr, thread: Some(thread) })
    }

    /// The range of this node's pods. It does not change.
    #[must_use]
    pub const fn pod_cidr(&self) -> Ipv4Net {
        self.pod_cidr
    }

    /// What this node says about itself; the store has it once [`RegistrationState::Registered`].
    #[must_use]
    pub fn record(&self) -> NodeRecord {
        NodeRecord { pod_cidr: self.pod_cidr, spec: self.shared.lock().spec.clone() }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> RegistrationState {
        self.shared.lock().state.clone()
    }

    /// How often a lease was lost and replaced.
    #[must_use]
    pub fn regranted(&self) -> u64 {
        self.shared.lock().regranted
    }

    /// Changes what this node says about itself (its address, whether it has pods). Published soon, if it is a
    /// change. The name cannot be changed.
    pub fn update(&self, change: impl FnOnce(&mut NodeSpec)) {
        let mut inner = self.shared.lock();
        let mut spec = inner.spec.clone();
        change(&mut spec);
        spec.name.clone_from(&inner.spec.name);
        if spec != inner.spec {
            inner.spec = spec;
            inner.unpublished = true;
            self.shared.woken.notify_all();
        }
    }

    /// Ends the thread and the lease, so that nobody has to wait for its end. The CIDR stays ours.
    pub fn stop(mut self) {
        self.end();
        let lease = self.shared.lock().lease.take();
        if let Some(lease) = lease {
            // Without an answer it ends by itself.
            let _ = self.store.0.revoke(lease);
        }
    }

    fn end(&mut self) {
        self.shared.lock().stop = true;
        self.shared.woken.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The store does not answer, or says no; since when stays while it is the same.
    fn failed(&mut self, error: &RegistrationError) {
        let (problem, now) = (error.to_string(), Instant::now());
        self.state = match (error, &self.state) {
            (RegistrationError::Store(error), RegistrationState::Unreachable { since, .. })
                if error.is_passing() =>
            {
                RegistrationState::Unreachable { since: *since, problem }
            }
            (RegistrationError::Store(error), _) if error.is_passing() => {
                RegistrationState::Unreachable { since: now, problem }
            }
            (_, RegistrationState::Refused { since, .. }) => {
                RegistrationState::Refused { since: *since, problem }
            }
            _ => RegistrationState::Refused { since: now, problem },
        };
    }
}

/// The thread.
struct Keeper {
    shared: Arc<Shared>,
    store: Arc<dyn ClusterStore>,
    pod_cidr: Ipv4Net,
    options: RegistrationOptions,
}

impl Keeper {
    fn run(self) {
        let period = self.options.ttl / 3;
        let mut pause = if self.shared.lock().lease.is_some() { period } else { Duration::ZERO };
        while self.wait(pause) {
            let done = self.keep();
            pause = if done.is_ok() { period } else { RETRY_PAUSE.min(period) };
            let mut inner = self.shared.lock();
            match done {
                Ok(()) => inner.state = RegistrationState::Registered,
                Err(error) => inner.failed(&error),
            }
        }
    }

    /// Returns whether to go on.
    fn wait(&self, pause: Duration) -> bool {
        let idle = |inner: &mut Inner| !inner.stop && !inner.unpublished;
        let inner = self.shared.lock();
        // An update that cannot be published yet is not to make this a tight loop.
        let held_back = inner.unpublished && inner.state != RegistrationState::Registered;
        let waited = if held_back {
            self.shared.woken.wait_timeout_while(inner, pause, |inner| !inner.stop)
        } else {
            self.shared.woken.wait_timeout_while(inner, pause, idle)
        };
        !waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Renews the lease; writes the record where it is needed.
    fn keep(&self) -> Result<(), RegistrationError> {
        let (lease, unpublished) = {
            let inner = self.shared.lock();
            (inner.lease, inner.unpublished)
        };
        let Some(lease) = lease else { return self.claim(None) };
        match self.store.keep_alive(lease) {
            Err(super::ClusterError::LeaseLost { .. }) => {
                self.shared.lock().lease = None;
                self.claim(None)
            }
            Err(error) => Err(error.into()),
            Ok(_) if unpublished => self.claim(Some(lease)),
            Ok(_) => Ok(()),
        }
    }

    fn claim(&self, lease: Option<LeaseId>) -> Result<(), RegistrationError> {
        let spec = {
            let mut inner = self.shared.lock();
            inner.unpublished = false;
            inner.spec.clone()
        };
        let claimed = claim::claim(&*self.store, &spec, Some(self.pod_cidr), lease, &self.options);
        let mut inner = self.shared.lock();
        match claimed {
            Ok((_, granted)) => {
                if lease != Some(granted) {
                    inner.regranted += 1;
                }
                inner.lease = Some(granted);
                Ok(())
            }
            Err(error) => {
                // Whatever was refused revoked the lease; where it did not, nobody renews it.
                inner.lease = None;
                inner.unpublished = true;
                Err(error)
            }
        }
    }
}
