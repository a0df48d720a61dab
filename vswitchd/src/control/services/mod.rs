//! Services: what the cluster's store and this node's pods say of them, for the datapath.
//!
//! Mirrors of the store (services, slices given by hand, pods of other nodes) and the pods of this node feed one
//! table ([`store::services::Table`]), on a thread of its own ([`follow`]). Policies go the same way into their own state
//! ([`super::policy`]). What it derives goes to the switch with the
//! next sync. On one machine the store is the node's own file; in a cluster it is etcd, and this node's pods are told there
//! ([`publish`]). Nothing here is on a packet's way: a store that is away leaves the datapath as it is.

mod announce;
mod apply;
mod exits;
mod health;
mod healthz;
mod local;
mod memory;
mod meters;
mod named;
mod objects;
mod probes;
mod programming;
mod publish;
mod reading;
mod rows;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use ipnet::IpNet;
use parking_lot::Mutex;
use protocol::ObjectName;
use store::cluster::mirror::Change;
use store::cluster::{
    ClusterError, ClusterStore, Embedded, Entry, Mirror, MirrorOptions, MirrorState, Revision,
};
use store::services::allocate::ClusterIps;
use store::services::write::{NAMESPACES, PODS, POLICIES, Pools, SERVICES, SLICES};
use store::services::{Place, Settings, Table};
use store::{Store, StoreError};

use self::announce::Announcing;
use self::exits::Exits;
use self::health::HealthChecks;
use self::memory::Remembered;
use self::meters::Meters;
use self::probes::Probes;
use self::programming::Progress;
use self::publish::Publisher;
use self::reading::{take, take_all};
use super::feed;
use super::node::Control;
use crate::config::Config;

pub(crate) use apply::apply;
pub(crate) use meters::{Readings, readings};
pub(crate) use named::{backends_of, place_of, pod_address};
pub(crate) use objects::{change, create_missing, delete, label_namespace, refused};
pub(crate) use programming::report;
pub(crate) use rows::{document, list};
pub(crate) use traffic::{first_traffic, traffic};

/// A change after quiet is applied at once. While changes keep coming, those of this time are applied together.
const SETTLE: Duration = Duration::from_millis(5);
/// Pods are looked at at least this often.
const TICK: Duration = Duration::from_secs(1);
/// Pods of other nodes that disappear all at once are believed to be gone after this time: their leases have ended.
const PODS_GONE_AFTER: Duration = Duration::from_secs(10);
/// Changes on their way from a mirror.
const QUEUE: usize = 1024;

/// See the module's text.
pub(crate) struct Services {
    store: Arc<dyn ClusterStore>,
    /// Other nodes see the store as well.
    is_shared: bool,
    pools: Pools,
    table: Mutex<Table>,
    /// One thread brings the table up to date at a time; what another saw earlier must not come after what it sees.
    refreshing: Mutex<()>,
    mirrors: Mirrors,
    remembered: Remembered,
    wake: Wake,
    woken: Receiver<()>,
    probes: Probes,
    exits: Option<Exits>,
    publisher: Mutex<Option<Publisher>>,
    announcing: Announcing,
    health: HealthChecks,
    progress: Progress,
    meters: Meters,
    /// The store has been read at least once.
    is_known: AtomicBool,
    /// What was read at once, and comes from the mirrors once more.
    primed: Mutex<BTreeMap<String, Revision>>,
}

struct Mirrors {
    services: Mirror,
    slices: Mirror,
    pods: Mirror,
    namespaces: Mirror,
    policies: Mirror,
}

impl Mirrors {
    fn all(&self) -> [&Mirror; 5] {
        [&self.services, &self.slices, &self.pods, &self.namespaces, &self.policies]
    }
}

/// Makes the thread look again.
#[derive(Debug, Clone)]
pub(super) struct Wake {
    sender: Sender<()>,
    pods: Arc<AtomicBool>,
    nodes: Arc<AtomicBool>,
    /// When the first change was heard of that nobody has begun to apply.
    heard: Arc<Mutex<Option<Instant>>>,
}

impl Wake {
    /// Something in the store has changed.
    fn objects(&self) {
        self.heard.lock().get_or_insert_with(Instant::now);
        match self.sender.try_send(()) {
            // It is about to look.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Something about this node's pods has changed.
    fn pods(&self) {
        self.pods.store(true, Ordering::Release);
        self.objects();
    }

    /// Addresses of nodes may have changed.
    fn nodes(&self) {
        self.nodes.store(true, Ordering::Release);
        self.objects();
    }

    /// What waits is applied from now on.
    fn take_heard(&self) -> Option<Instant> {
        self.heard.lock().take()
    }
}

impl Services {
    /// Opens the store and begins to mirror it. `shared` is the cluster's, if there is one.
    pub(crate) fn open(
        config: &Config,
        local: &Arc<Store>,
        shared: Option<Arc<dyn ClusterStore>>,
    ) -> anyhow::Result<Self> {
        let is_shared = shared.is_some();
        let store = match shared {
            Some(store) => store,
            None => Arc::new(Embedded::open(Arc::clone(local)).context("opening the store of services")?),
        };
        let (sender, woken) = bounded(1);
        let first = || Arc::new(AtomicBool::new(true));
        let wake = Wake { sender, pods: first(), nodes: first(), heard: Arc::default() };
        let remembered = Remembered::open(config, is_shared);
        let mirror = |prefix: &str, confirm_after| {
            let known = (remembered.recall(prefix), 0);
            let wake = wake.clone();
            let wake: Box<dyn Fn() + Send> = Box::new(move || wake.objects());
            let options = MirrorOptions { queue: QUEUE, confirm_after, known, ..MirrorOptions::new(prefix) };
            Mirror::start(Arc::clone(&store), MirrorOptions { wake: Some(wake), ..options })
                .context("following the store of services")
        };
        let mirrors = Mirrors {
            services: mirror(SERVICES, None)?,
            slices: mirror(SLICES, None)?,
            pods: mirror(PODS, Some(PODS_GONE_AFTER))?,
            namespaces: mirror(NAMESPACES, None)?,
            policies: mirror(POLICIES, None)?,
        };
        let progress = Progress::start(is_shared.then_some(&store), &wake)
            .context("following who waits for services")?;
        let exits = Exits::start(wake.clone())
            .map_err(|error| tracing::warn!("exits of containers are seen once a second: {error}"))
            .ok();
        Ok(Self {
            is_shared,
            pools: pools(config)?,
            table: Mutex::new(Table::new(settings(config)?)),
            refreshing: Mutex::default(),
            mirrors,
            remembered,
            probes: Probes::new(wake.clone()),
            exits,
            publisher: Mutex::default(),
            announcing: Announcing::new(&store, is_shared)?,
            health: HealthChecks::default(),
            progress,
            meters: Meters::new(),
            is_known: AtomicBool::new(false),
            primed: Mutex::default(),
            store,
            wake,
            woken,
        })
    }

    /// Other nodes see the store as well.
    pub(crate) const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The cluster's store, or the node's own.
    pub(crate) const fn store(&self) -> &Arc<dyn ClusterStore> {
        &self.store
    }

    /// What a start goes on with of other objects of the store, below `prefix`.
    pub(crate) fn recall(&self, prefix: &str) -> Vec<Entry> {
        self.remembered.recall(prefix)
    }

    /// What the store last said of policies below `prefix`.
    pub(crate) fn known_policies(&self, prefix: &str) -> Vec<Entry> {
        let known = self.mirrors.policies.known().0.into_values();
        known.filter(|entry| entry.key.starts_with(prefix)).collect()
    }

    /// A change of other objects of the store that was followed, for [`Self::recall`].
    pub(crate) fn remember(&self, change: &Change) {
        self.remembered.on_change(change);
    }

    /// What is known of services.
    pub(crate) fn table(&self) -> parking_lot::MutexGuard<'_, Table> {
        self.table.lock()
    }

    /// Pods of this node were made, changed or deleted.
    pub(crate) fn on_pods_changed(&self) {
        self.wake.pods();
    }

    /// Addresses of this node or of others have changed.
    pub(crate) fn on_nodes_changed(&self) {
        self.wake.nodes();
    }

    /// The uplink is another one, or its interface has come up or gone down.
    pub(crate) fn on_uplink(&self) {
        self.announcing.wake();
        self.wake.nodes();
    }

    /// Whether a pod's probe succeeds; true without one.
    pub(crate) fn is_probed_ready(&self, pod: &protocol::message::PodRef, has_probe: bool) -> bool {
        self.probes.is_ready(pod, has_probe)
    }

    /// The store has been read at least once.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// What is wrong, for `status`.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.table.lock().problems().map(str::to_owned).collect();
        let held = [
            (&self.mirrors.services, "services"),
            (&self.mirrors.slices, "EndpointSlices"),
            (&self.mirrors.policies, "policies"),
        ];
        for (mirror, what) in held {
            if let MirrorState::Held { missing, known, .. } = mirror.state() {
                problems.push(format!(
                    "{missing} of {known} {what} disappeared from the store at once; they stay in force until they come back, or until one of them is deleted, which confirms it for all"
                ));
            }
        }
        problems.extend(self.remembered.problem());
        problems.extend(self.announcing.problems());
        problems.extend(self.health.problems());
        problems
    }

    /// Whether this was taken before: a mirror tells everything it first finds, each key once.
    fn is_primed(&self, change: &Change) -> bool {
        match change {
            Change::Put(entry) => self.primed.lock().remove(&entry.key) == Some(entry.revision),
            Change::Delete { key } => {
                self.primed.lock().remove(key);
                false
            }
        }
    }

    /// The last word to the store: nobody is to be sent to this node's addresses, and to pods of a node that stops.
    pub(crate) fn leave(&self) {
        self.announcing.leave();
        drop(self.publisher.lock().take());
        self.remembered.leave();
    }
}

fn service_cidr(config: &Config) -> anyhow::Result<ipnet::Ipv4Net> {
    match config.service_cidr {
        IpNet::V4(cidr) => Ok(cidr),
        IpNet::V6(cidr) => anyhow::bail!("configuration key \"service_cidr\": {cidr} is not an IPv4 range"),
    }
}

fn pools(config: &Config) -> anyhow::Result<Pools> {
    let dns = if let IpAddr::V4(dns) = config.cluster_dns { Some(dns) } else { None };
    let cluster_ips = ClusterIps { cidr: service_cidr(config)?, dns };
    Ok(Pools {
        cluster_ips,
        node_ports: config.services.node_ports.clone(),
        load_balancer: config.load_balancer.pools.clone(),
    })
}

fn settings(config: &Config) -> anyhow::Result<Settings> {
    Ok(Settings {
        place: Place { node: config.node.clone(), zone: config.zone.clone() },
        service_cidr: service_cidr(config)?,
        cluster_cidr: config.cluster_cidr,
        external_ips: config.services.external_ips.clone(),
        scheduler: config.services.scheduler,
    })
}

/// What a start goes on with: the node's own store is read at once, so that the first configuration has its services.
/// A cluster's store may be away; until it answers, a running datapath keeps what it has, and a new one is given what is remembered.
pub(crate) fn prime(control: &Control) -> Result<(), StoreError> {
    let services = &control.services;
    if services.is_shared {
        prime_policies(control);
        if services.remembered.has_any() && !control.switch.was_taken_over() {
            know_all(control);
            services.is_known.store(true, Ordering::Release);
            refresh(control);
        }
        return Ok(());
    }
    for prefix in [SERVICES, SLICES, NAMESPACES, POLICIES] {
        match services.store.list(prefix) {
            Ok(listing) => take_all(&mut services.table.lock(), listing.entries, control),
            Err(error) => {
                tracing::error!("reading services: {}", super::error::chain(&error));
                return Ok(());
            }
        }
    }
    services.is_known.store(true, Ordering::Release);
    control.switch.policies().set_known();
    refresh(control);
    Ok(())
}

/// The first configuration of a node opens its pods' ports, so it should have their policies: as the store has them now, or, if it
/// is away, as this node last knew them. A node that has never read the store lets nothing pass until it has.
fn prime_policies(control: &Control) {
    let services = &control.services;
    let read = || -> Result<Vec<Entry>, ClusterError> {
        let mut all = Vec::new();
        for prefix in [NAMESPACES, PODS, POLICIES] {
            all.extend(services.store.list(prefix)?.entries);
        }
        Ok(all)
    };
    match read() {
        Ok(entries) => take_all(&mut services.table.lock(), entries, control),
        Err(_) if services.remembered.is_whole() => know_all(control),
        Err(_) => return,
    }
    let mut table = services.table.lock();
    tell_policies(control, &mut table, true);
    control.switch.policies().set_known();
}

/// Puts all that the mirrors know into the table: what the store said, or else what is remembered.
fn know_all(control: &Control) {
    let mut table = control.services.table.lock();
    for mirror in control.services.mirrors.all() {
        take_all(&mut table, mirror.known().0.into_values(), control);
    }
}

/// Keeps the datapath as the store and the pods are, until the daemon ends.
pub(crate) fn follow(control: &Arc<Control>) -> std::io::Result<()> {
    if control.services.is_shared {
        let publisher = Publisher::start(control)?;
        *control.services.publisher.lock() = Some(publisher);
    }
    announce::follow(control)?;
    memory::follow(control)?;
    health::serve(control)?;
    let control = Arc::clone(control);
    std::thread::Builder::new().name("services".to_owned()).spawn(move || {
        let mut last: Option<Instant> = None;
        loop {
            match control.services.woken.recv_timeout(TICK) {
                Ok(()) => {
                    let since = last.map_or(SETTLE, |last| last.elapsed());
                    std::thread::sleep(SETTLE.saturating_sub(since));
                }
                Err(RecvTimeoutError::Timeout) => control.services.wake.pods.store(true, Ordering::Release),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What comes from here on wakes again.
            while control.services.woken.try_recv().is_ok() {}
            // A daemon that stops takes its datapath along, so there is nobody to tell.
            let Some(_inside) = control.gate.enter() else { return };
            let heard = control.services.wake.take_heard();
            let told = programming::told(&control.services);
            let began = Instant::now();
            let has_services = refresh(&control);
            let has_policies = control.switch.policies().is_changed();
            if has_services || has_policies {
                if has_policies {
                    control.sync();
                } else {
                    control.sync_services();
                }
                let since = heard.unwrap_or(began).elapsed();
                control.services.meters.on_sync(began.elapsed(), since);
                last = Some(Instant::now());
            }
            programming::settle(&control, told);
            feed::flush(&control);
            control.ingress.wake();
        }
    })?;
    Ok(())
}

/// Nodes have other addresses: what of services cannot be beside them is left out before the datapath hears of them, which
/// would refuse both.
pub(crate) fn on_nodes_changed(control: &Control) {
    refresh(control);
}

/// Serves `/healthz`, if that is configured.
pub(crate) fn serve_health(control: &Arc<Control>) -> Result<(), super::metrics::MetricsError> {
    healthz::serve(control)
}

/// Brings the table up to date. True if the datapath is to be told something.
fn refresh(control: &Control) -> bool {
    let services = &control.services;
    // What is derived last is what the switch is told last.
    let _alone = services.refreshing.lock();
    let mirrors = services.mirrors.all();
    let is_read = mirrors.iter().all(|mirror| !matches!(mirror.state(), MirrorState::Stale { .. }));
    if is_read {
        services.remembered.confirm();
    }
    // With the store away, what is remembered is better than nothing, which is all that this process knows of a datapath it found.
    let is_away = || mirrors.iter().any(|mirror| mirror.problem().is_some());
    let recalls = services.remembered.has_any();
    let first = !services.is_known.load(Ordering::Acquire) && (is_read || recalls && is_away());
    // Before that, policies of another day might let through what none lets through now.
    let recalls = services.remembered.is_whole();
    let first_policies = !control.switch.policies().is_known() && (is_read || recalls && is_away());
    let facts = services.wake.pods.swap(false, Ordering::AcqRel).then(|| local::facts(control));
    if first || first_policies {
        // A state is known a moment before its changes are on their way.
        know_all(control);
    }
    let mut table = services.table.lock();
    for mirror in mirrors {
        for change in mirror.changes().try_iter() {
            services.remembered.on_change(&change);
            if !services.is_primed(&change) {
                services.meters.on_change(&change);
                take(&mut table, &change, control);
            }
        }
    }
    if first {
        services.is_known.store(true, Ordering::Release);
    }
    if let Some(facts) = &facts {
        local::put(&mut table, &control.config.node, facts);
    }
    let has_nodes = services.wake.nodes.swap(false, Ordering::AcqRel);
    if has_nodes {
        table.set_node_addresses(node_addresses(control));
        table.set_own_addresses(own_addresses(control));
        table.set_link_addresses(control.switch.link_addresses());
    }
    tell_policies(control, &mut table, has_nodes);
    if first_policies {
        control.switch.policies().set_known();
    }
    let changed = table.settle();
    for problem in table.take_new_problems() {
        tracing::warn!("{problem}");
    }
    let balanced_changed = table.take_balanced_changed();
    if balanced_changed {
        services.health.set(table.health());
    }
    let known = services.is_known.load(Ordering::Acquire);
    feed::stage(control, &mut table, known);
    let states = Arc::clone(table.states());
    // The switch may be waiting for a datapath; who asks for services does not wait with it.
    drop(table);
    if known && (changed || !control.switch.has_services()) {
        control.switch.set_services(states);
    }
    if let (Some(facts), Some(publisher)) = (facts, &*services.publisher.lock()) {
        publisher.tell(facts);
    }
    if balanced_changed {
        services.announcing.wake();
    }
    known && (changed || first)
}

/// Where pods of other nodes are, and which addresses are nodes'.
fn tell_policies(control: &Control, table: &mut Table, has_nodes: bool) {
    let nodes = has_nodes.then(|| nodes(control));
    let mut policies = control.switch.policies();
    for (name, pod) in table.take_changed_pods() {
        // Those of this node are told with their ports.
        policies.set_remote(&name, pod.filter(|pod| pod.node != control.config.node));
    }
    if let Some(nodes) = nodes {
        policies.set_nodes(nodes);
    }
}

/// All addresses that a node's own programs may have, by node.
fn nodes(control: &Control) -> BTreeMap<ObjectName, BTreeSet<IpAddr>> {
    let mut nodes: BTreeMap<ObjectName, BTreeSet<IpAddr>> = BTreeMap::new();
    if let Ok(own) = control.config.node.parse() {
        let addresses = control.switch.node_addresses().into_iter();
        nodes.insert(own, addresses.chain([control.config.gateway()]).collect());
    }
    for peer in control.peers.lock().known() {
        let Ok(name) = peer.spec.name.parse() else { continue };
        let gateways = peer.spec.pod_cidrs.iter().filter_map(|cidr| cidr.hosts().next());
        let addresses = peer.spec.node_addresses.iter().copied().chain([peer.spec.address.into()]);
        nodes.entry(name).or_default().extend(addresses.chain(gateways));
    }
    nodes
}

/// Of this node, where its pods may have ports.
fn own_addresses(control: &Control) -> BTreeSet<Ipv4Addr> {
    let v4 = |address| if let IpAddr::V4(v4) = address { Some(v4) } else { None };
    control.switch.node_addresses().into_iter().filter_map(v4).collect()
}

/// Of all nodes, as far as they are known, and what this one's pods appear as: no service can have them.
fn node_addresses(control: &Control) -> BTreeSet<IpAddr> {
    let mut all: BTreeSet<IpAddr> = control.switch.node_addresses().into_iter().collect();
    all.insert(control.config.gateway());
    all.extend(control.switch.egress_addresses());
    for peer in control.peers.lock().known() {
        all.insert(peer.spec.address.into());
        all.extend(peer.spec.node_addresses.iter().copied());
    }
    all
}
