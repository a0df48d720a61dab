//! What every part of the control process shares.

use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use protocol::link::ToDatapath;
use protocol::message::PodRef;
use protocol::object::Timestamp;
use store::peers::Own;
use store::record::PodRecord;
use store::{Store, StoreError, Transaction};

use super::cluster::Cluster;
use super::feed::Feeds;
use super::ingress::Ingress;
use super::inventory::Inventory;
use super::peers::Peers;
use super::policy::DenialLog;
use super::server::Gate;
use super::services::Services;
use super::switch::{Switch, SwitchError};
use super::system::Problems;
use super::tunnel::TunnelState;
use super::uplink::UplinkState;
use crate::config::Config;
use crate::log::{FilterError, Logs};

/// The control process.
pub(crate) struct Control {
    pub(crate) config: Config,
    /// MTU of pods; follows the underlay's unless configured.
    pub(crate) pod_mtu: AtomicU16,
    /// Threads of the running datapath.
    pub(crate) workers: AtomicU8,
    pub(crate) tunnel: Mutex<TunnelState>,
    pub(crate) uplink: Mutex<UplinkState>,
    pub(crate) peers: Mutex<Peers>,
    /// In a cluster with a store.
    pub(crate) cluster: Option<Cluster>,
    /// Kept in the cluster's store, or in the node's own.
    pub(crate) services: Services,
    /// What the ingress reads, kept there as well.
    pub(crate) ingress: Ingress,
    /// What DNS and the ingress are told.
    pub(crate) feeds: Feeds,
    /// What policies have refused lately.
    pub(crate) denials: Mutex<DenialLog>,
    pub(crate) logs: Logs,
    pub(crate) store: Arc<Store>,
    pub(crate) inventory: Mutex<Inventory>,
    pub(crate) switch: Switch,
    /// Shims this process started, to be waited for.
    pub(crate) shims: Mutex<Vec<Child>>,
    /// Records of pods that do not exist, which the store could not forget yet.
    pub(crate) doomed: Mutex<Vec<PodRecord>>,
    /// Held while notes of plugins are taken up.
    pub(crate) notes: Mutex<()>,
    /// Closed at the end.
    pub(crate) gate: Gate,
    /// What the store last refused to do; cleared by the next success.
    pub(crate) store_problem: Mutex<Option<String>>,
    /// What the datapath last refused; cleared by the next success.
    pub(crate) switch_problem: Mutex<Option<String>>,
    /// What is wrong with system pods.
    pub(crate) system_problems: Mutex<Problems>,
    /// Records that could not be read at start.
    pub(crate) unreadable: Vec<String>,
    pub(crate) started: Timestamp,
    /// Origin of [`Control::now`].
    pub(crate) clock: Instant,
}

impl Control {
    /// Monotonic time since start, as the address allocator wants it.
    pub(crate) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// MTU of pods.
    pub(crate) fn pod_mtu(&self) -> u16 {
        self.pod_mtu.load(Ordering::Relaxed)
    }

    /// MTU of pods from now on; returns what it was.
    pub(crate) fn set_pod_mtu(&self, ip_mtu: u16) -> u16 {
        self.pod_mtu.swap(ip_mtu, Ordering::Relaxed)
    }

    /// Threads of the running datapath.
    pub(crate) fn workers(&self) -> u8 {
        self.workers.load(Ordering::Relaxed)
    }

    /// What peers must not contradict, as it is just now.
    pub(crate) fn own(&self) -> Own {
        let own = self.config.own();
        let address = self.switch.tunnel().map(|tunnel| tunnel.address).or(own.address);
        Own { address, node_addresses: self.switch.node_addresses(), ..own }
    }

    /// Name of a pod's network namespace.
    pub(crate) fn netns_name(&self, pod: &PodRef) -> String {
        format!("{}{}.{}", self.config.netns_prefix, pod.namespace, pod.name)
    }

    /// Where containers of a pod keep their files.
    pub(crate) fn pod_dir(&self, record: &PodRecord) -> PathBuf {
        self.config.pods_dir().join(&record.metadata.uid)
    }

    /// Writes to the store, and remembers a failure for `status`.
    pub(crate) fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        let result = self.store.commit(transaction);
        *self.store_problem.lock() = match &result {
            Err(StoreError::Exists { .. } | StoreError::Missing { .. } | StoreError::Conflict { .. })
            | Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        result
    }

    /// Makes the datapath run what the inventory says; logs and remembers a failure.
    pub(crate) fn sync(&self) {
        self.note_sync(self.switch.sync(&self.inventory));
    }

    /// As [`Control::sync`] where only services have changed, at the cost of those.
    pub(crate) fn sync_services(&self) {
        // What was refused is tried again with all there is.
        if self.switch_problem.lock().is_some() {
            return self.sync();
        }
        self.note_sync(self.switch.sync_services(&self.inventory));
    }

    fn note_sync(&self, result: Result<(), SwitchError>) {
        if let Err(error) = &result {
            tracing::error!("datapath configuration: {}", super::error::chain(error));
        }
        *self.switch_problem.lock() = result.err().map(|error| super::error::chain(&error));
        super::feed::flush(self);
    }

    /// Logs by `filter` from now on, in both processes.
    pub(crate) fn set_log_filter(&self, filter: &str) -> Result<(), FilterError> {
        self.logs.set_filter(filter)?;
        self.tell_log_filter();
        Ok(())
    }

    /// A datapath that was started, or taken over, logs by the filter it was once given.
    pub(crate) fn tell_log_filter(&self) {
        let request = ToDatapath::SetLogFilter(self.logs.filter());
        if let Err(error) = self.switch.link().request(request, &[]) {
            tracing::warn!("the datapath logs by its old filter: {}", super::error::chain(&error));
        }
    }
}
