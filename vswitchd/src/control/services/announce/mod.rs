//! Load-balancer addresses: this node's part in the election of who announces them, and the second try for services that
//! wait for an address.
//!
//! One thread keeps the node's lease and takes what it should have ([`Announcer`]); two mirrors tell it, and whoever asks,
//! which nodes there are and who has what. The datapath is told until when the lease lasts ([`hold`]), so that it knows from when on another
//! node may have the addresses, even if nothing of this runs any more. Without a store that others see there is nobody to agree with: the node has all of
//! them. Nothing runs here as long as no pool is configured.

mod handover;
mod hold;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::error::chain;
use super::super::node::Control;
use super::objects;
use crate::config::Config;
use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use store::cluster::{ClusterStore, HoldPolicy, Mirror, MirrorOptions};
use store::desired::UPLINK_PORT;
use store::services::announce::{ANNOUNCE, ANNOUNCERS, Announcer, AnnouncerRecord, Owner, in_order, owners};

pub(super) use view::conditions;

/// Between two tries for services that wait for an address, if nothing happens.
const RETRY: Duration = Duration::from_secs(30);
/// For the last word to the store, and for others to take over.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// Changes on their way from a mirror.
const QUEUE: usize = 1024;
/// Before a service has an address, no order of nodes is its own; then this one counts.
const NOBODYS: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// See the module's text.
pub(super) struct Announcing {
    /// Where other nodes see the store as well.
    mirrors: Option<Mirrors>,
    waker: Sender<()>,
    woken: Receiver<()>,
    stopping: AtomicBool,
    /// Disconnected when the thread has ended.
    ended: Mutex<Option<Receiver<()>>>,
    known: Mutex<Known>,
}

struct Mirrors {
    announcers: Mirror,
    owners: Mirror,
}

/// What was last found out.
#[derive(Debug, Default)]
struct Known {
    /// Who has which address, and since when this node knows.
    owners: BTreeMap<Ipv4Addr, (String, protocol::object::Timestamp)>,
    /// Those of this node.
    announced: Vec<Ipv4Addr>,
    /// Those are surely this node's until then; `None` if they are for ever.
    until: Option<Instant>,
    problems: Vec<String>,
    /// Services that wait when they were last tried.
    tried: Option<(Vec<store::services::ObjectRef>, Instant)>,
}

impl Announcing {
    pub(super) fn new(store: &Arc<dyn ClusterStore>, is_shared: bool) -> anyhow::Result<Self> {
        let (waker, woken) = bounded(1);
        let mirror = |prefix: &str| {
            let waker = waker.clone();
            let wake: Box<dyn Fn() + Send> = Box::new(move || _ = waker.try_send(()));
            let options = MirrorOptions {
                queue: QUEUE,
                // A node that dies takes all it has along: that is what this is about.
                hold: HoldPolicy { at_least: usize::MAX, over_percent: 100 },
                confirm_after: Some(Duration::ZERO),
                wake: Some(wake),
                ..MirrorOptions::new(prefix)
            };
            Mirror::start(Arc::clone(store), options).context("following who announces addresses")
        };
        let mirrors = if is_shared {
            Some(Mirrors { announcers: mirror(ANNOUNCERS)?, owners: mirror(ANNOUNCE)? })
        } else {
            None
        };
        Ok(Self {
            mirrors,
            waker,
            woken,
            stopping: AtomicBool::new(false),
            ended: Mutex::default(),
            known: Mutex::default(),
        })
    }

    /// Services, endpoints or the uplink have changed.
    pub(super) fn wake(&self) {
        // Full, it is about to look.
        let _ = self.waker.try_send(());
    }

    /// What is wrong, for `status`.
    pub(super) fn problems(&self) -> Vec<String> {
        self.known.lock().problems.clone()
    }

    /// Hands all addresses over: others take them at once.
    pub(super) fn leave(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
        if let Some(ended) = self.ended.lock().take() {
            let _ = ended.recv_timeout(LEAVE_LIMIT);
        }
    }
}

/// Takes part in the election until the daemon ends.
pub(super) fn follow(control: &Arc<Control>) -> std::io::Result<()> {
    let announcing = &control.services.announcing;
    if control.config.load_balancer.pools.is_empty() && announcing.mirrors.is_none() {
        return Ok(());
    }
    let (running, ended) = bounded::<()>(0);
    *announcing.ended.lock() = Some(ended);
    let control = Arc::clone(control);
    std::thread::Builder::new().name("announce".to_owned()).spawn(move || {
        let announcing = &control.services.announcing;
        let mut worker = Worker::new(&control);
        while !announcing.stopping.load(Ordering::Acquire) {
            let pause = worker.step(&control);
            let _ = announcing.woken.recv_timeout(pause);
        }
        worker.leave(&control);
        drop(running);
    })?;
    Ok(())
}

struct Worker {
    /// Where other nodes see the store as well.
    announcer: Option<Announcer>,
    record: AnnouncerRecord,
    /// The store could not be written when it was last tried.
    said: bool,
}

impl Worker {
    fn new(control: &Control) -> Self {
        let Config { node, load_balancer, .. } = &control.config;
        let ttl = Duration::from_secs(load_balancer.lease_seconds.into());
        let announcer = || Announcer::new(Arc::clone(&control.services.store), node, ttl);
        Self {
            announcer: control.services.is_shared.then(announcer),
            record: AnnouncerRecord { pools: load_balancer.pools.clone() },
            said: false,
        }
    }

    /// Looks at everything once. Returns when to look again.
    fn step(&mut self, control: &Control) -> Duration {
        let record = can_announce(control).then_some(&self.record);
        let Some(announcer) = &mut self.announcer else {
            let live = record.map(|_| control.config.node.clone()).into_iter().collect();
            let may = control.services.table.lock().announceable(&live);
            let owner = || Owner { node: control.config.node.clone(), revision: 0, lease: None };
            let mine = may.into_iter().filter(|(_, nodes)| !nodes.is_empty());
            let owners: BTreeMap<_, _> = mine.map(|(address, _)| (address, owner())).collect();
            note(control, &owners, &owners.keys().copied().collect());
            retry_waiting(control, true);
            return Duration::from_secs(1);
        };
        let result = announcer.keep(record, Instant::now()).and_then(|()| {
            let (records, owners) = seen(control);
            let live: BTreeSet<String> = records.keys().cloned().collect();
            let may = control.services.table.lock().announceable(&live);
            let mut let_go = |announcer: &Announcer| {
                note(control, &owners, &announcer.stands_for(&owners));
            };
            let wait = announcer.settle(&may, &owners, Instant::now(), &mut let_go)?;
            let leads = in_order(NOBODYS, live.iter().map(String::as_str)).first()
                == Some(&control.config.node.as_str());
            Ok((wait, leads))
        });
        let (records, owners) = seen(control);
        compare_pools(control, &records);
        // First what is not this node's any more: a new lease must not prolong what was had under the one before.
        note(control, &owners, &announcer.stands_for(&owners));
        let until = announcer.held_until();
        control.services.announcing.known.lock().until = until;
        hold::tell(control, until);
        match result {
            Ok((wait, leads)) => {
                self.said = false;
                retry_waiting(control, leads);
                wait.unwrap_or(Announcer::RENEW_AFTER).min(Announcer::RENEW_AFTER)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    tracing::warn!(
                        "the cluster's store is away; load-balancer addresses stay until another node announces them: {}",
                        chain(&error)
                    );
                }
                Announcer::RENEW_AFTER
            }
        }
    }

    fn leave(&mut self, control: &Control) {
        if let Some(announcer) = &mut self.announcer {
            handover::leave(control, announcer);
        }
    }
}

/// It has addresses to give away, and a network to announce them on.
fn can_announce(control: &Control) -> bool {
    let switch = &control.switch;
    !control.config.load_balancer.pools.is_empty()
        && control.uplink.lock().is_up()
        && switch.has_device(UPLINK_PORT)
        && !switch.edge().is_closed()
}

/// Who can announce, and who does, as far as the store has said.
fn seen(control: &Control) -> (BTreeMap<String, AnnouncerRecord>, BTreeMap<Ipv4Addr, Owner>) {
    let Some(mirrors) = &control.services.announcing.mirrors else { return Default::default() };
    // What is known is looked at whole; changes only say that there are some.
    for mirror in [&mirrors.announcers, &mirrors.owners] {
        mirror.changes().try_iter().for_each(drop);
    }
    let record = |(key, entry): (&String, &store::cluster::Entry)| {
        let name = key.strip_prefix(ANNOUNCERS)?.to_owned();
        Some((name, serde_json::from_slice(&entry.value).ok()?))
    };
    let records = mirrors.announcers.known().0.iter().filter_map(record).collect();
    (records, owners(mirrors.owners.known().0.values()))
}

/// Remembers who has what; the datapath announces `mine`.
fn note(control: &Control, owners: &BTreeMap<Ipv4Addr, Owner>, mine: &BTreeSet<Ipv4Addr>) {
    let mut known = control.services.announcing.known.lock();
    known.owners.retain(|address, (node, _)| owners.get(address).is_some_and(|owner| owner.node == *node));
    for (address, owner) in owners {
        let now = protocol::object::Timestamp::now;
        known.owners.entry(*address).or_insert_with(|| (owner.node.clone(), now()));
    }
    let announced: Vec<Ipv4Addr> = mine.iter().copied().collect();
    if announced == known.announced {
        return;
    }
    for address in announced.iter().filter(|address| !known.announced.contains(address)) {
        tracing::info!(%address, "announcing a load balancer's address");
    }
    for address in known.announced.iter().filter(|address| !announced.contains(address)) {
        tracing::info!(%address, "no longer announcing a load balancer's address");
    }
    known.announced.clone_from(&announced);
    drop(known);
    announce(control, announced);
}

/// Has the datapath stand for these addresses and no others.
fn announce(control: &Control, addresses: Vec<Ipv4Addr>) {
    control.switch.set_announced(addresses);
    control.sync();
}

/// Nodes whose pools differ would give away what others do not have.
fn compare_pools(control: &Control, records: &BTreeMap<String, AnnouncerRecord>) {
    let ours = &control.config.load_balancer.pools;
    let others =
        records.iter().filter(|(node, record)| **node != control.config.node && record.pools != *ours);
    let problem = |(node, _): (&String, &AnnouncerRecord)| {
        format!(
            "node {node} has other address pools ([[load_balancer.pool]]) than this node; they must be the same"
        )
    };
    let problems: Vec<String> = others.map(problem).collect();
    let mut known = control.services.announcing.known.lock();
    for new in problems.iter().filter(|problem| !known.problems.contains(problem)) {
        tracing::warn!("{new}");
    }
    known.problems = problems;
}

/// Services that wait for an address may get one now. One node tries at once, the others after a while.
fn retry_waiting(control: &Control, leads: bool) {
    if control.config.load_balancer.pools.is_empty() {
        return;
    }
    let services = &control.services;
    let (waiting, all) = {
        let table = services.table.lock();
        let waiting: Vec<_> = table.waiting().cloned().collect();
        let all: Vec<_> = table.balanced().map(|spec| spec.object.clone()).collect();
        (waiting, all)
    };
    let mut known = services.announcing.known.lock();
    let due = known.tried.as_ref().is_none_or(|(tried, at)| (leads && *tried != all) || at.elapsed() > RETRY);
    if !due || waiting.is_empty() {
        return;
    }
    known.tried = Some((all, Instant::now()));
    drop(known);
    for object in waiting {
        if let Err(error) = objects::assign_again(control, &object) {
            tracing::debug!("service {object}: {error}");
        }
    }
}
