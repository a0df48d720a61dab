//! Which revision of the store this node's datapath runs, and which the others' do.
//!
//! A revision is active here when all changes of services, slices and pods up to it have come from the mirrors, were
//! derived, and the datapath has committed them. Mirrors say how far they have come with the changes of their own
//! prefix only, so they are asked where somebody wants to know more ([`Mirror::probe`]).
//!
//! In a cluster nobody is told anything unless somebody asks. Who asks writes the revision to `/vpod/v1/waits/<node>`; whoever
//! sees it there writes once, as soon as it has come so far, to `/vpod/v1/active/<node>`. Both are under the lease of their
//! node ([`super::publish`]). So a question costs one small write a node, at most a few a second, and no question costs nothing.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use protocol::object::{NodeProgramming, Programming};
use store::cluster::mirror::Mirror;
use store::cluster::registration::ALIVE;
use store::cluster::{ClusterError, ClusterStore, Entry, MirrorOptions, Revision};

use super::super::node::Control;
use super::{Services, Wake};

/// Where who waits says for what.
const WAITS: &str = "/vpod/v1/waits/";
/// Where nodes say what they run.
const ACTIVE: &str = "/vpod/v1/active/";
/// An answer is held back for so long at most; who wants to wait longer asks again.
const MOST_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at what other nodes say.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Key of what `node` waits for.
pub(super) fn wait_key(node: &str) -> String {
    format!("{WAITS}{node}")
}

/// Key of what `node` runs.
pub(super) fn active_key(node: &str) -> String {
    format!("{ACTIVE}{node}")
}

/// See the module's text.
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
    /// What others wait for, in a cluster.
    waits: Option<Mirror>,
}

#[derive(Debug, Default)]
struct State {
    /// The datapath runs it; `None` until it runs anything, and while it is away.
    active: Option<Revision>,
    /// Somebody here waits for it.
    wanted: Revision,
}

impl Progress {
    /// `shared`: the cluster's store, if there is one.
    pub(super) fn start(shared: Option<&Arc<dyn ClusterStore>>, wake: &Wake) -> io::Result<Self> {
        let follow = |store: &Arc<dyn ClusterStore>| {
            let wake = wake.clone();
            let wake: Box<dyn Fn() + Send> = Box::new(move || wake.objects());
            let options = MirrorOptions {
                wake: Some(wake),
                confirm_after: Some(super::PODS_GONE_AFTER),
                ..MirrorOptions::new(WAITS)
            };
            Mirror::start(Arc::clone(store), options)
        };
        let waits = shared.map(follow).transpose()?;
        Ok(Self { state: Mutex::default(), changed: Condvar::new(), waits })
    }

    /// The highest revision that somebody waits for, here or elsewhere.
    fn wanted(&self) -> Revision {
        let others = self.waits.iter().flat_map(|waits| {
            while waits.changes().try_recv().is_ok() {}
            waits.known().0.into_values()
        });
        let own = self.state.lock().wanted;
        others.filter_map(|entry| revision_in(&entry)).max().map_or(own, |most| most.max(own))
    }

    fn want(&self, revision: Revision) {
        let mut state = self.state.lock();
        state.wanted = state.wanted.max(revision);
    }

    fn active(&self) -> Option<Revision> {
        self.state.lock().active
    }

    fn set_active(&self, active: Option<Revision>) {
        self.state.lock().active = active;
        self.changed.notify_all();
    }

    /// Waits for another state, until `until`.
    fn wait(&self, until: Instant) {
        let mut state = self.state.lock();
        self.changed.wait_until(&mut state, until);
    }
}

/// Up to where all changes have come from the mirrors, or are on their way from them.
pub(super) fn told(services: &Services) -> Revision {
    services.mirrors.all().iter().map(|mirror| mirror.told()).min().unwrap_or_default()
}

/// The datapath was given what was known when the mirrors had come to `told`.
pub(super) fn settle(control: &Control, told: Revision) {
    let services = &control.services;
    let progress = &services.progress;
    let is_active = services.is_known() && control.switch.runs_wanted_services();
    progress.set_active(is_active.then_some(told));
    let wanted = progress.wanted();
    if wanted == 0 {
        return;
    }
    for mirror in services.mirrors.all().iter().filter(|mirror| mirror.told() < wanted) {
        mirror.probe();
    }
    if let Some(active) = progress.active().filter(|active| *active >= wanted)
        && let Some(publisher) = &*services.publisher.lock()
    {
        publisher.say_active(active);
    }
}

/// Which nodes run `revision`, or what the store has come to; waits for it for `patience` at most.
pub(crate) fn report(
    control: &Control,
    revision: Option<Revision>,
    patience: Duration,
) -> Result<Programming, ClusterError> {
    let until = Instant::now() + patience.min(MOST_PATIENCE);
    let services = &control.services;
    let store_revision = services.store.list(ACTIVE)?.revision;
    let revision = revision.unwrap_or(store_revision);
    // What the store has not come to, nobody can run.
    let wanted = revision.min(store_revision);
    services.progress.want(wanted);
    if let Some(publisher) = &*services.publisher.lock() {
        publisher.say_wanted(wanted);
    }
    services.wake.objects();
    loop {
        let here = services.progress.active().is_some_and(|active| active >= revision);
        // Others are asked about only when it can be complete.
        if here || Instant::now() >= until {
            let found = Programming { revision, store_revision, nodes: nodes(control)? };
            if found.is_complete() || Instant::now() >= until {
                return Ok(found);
            }
            std::thread::sleep(LOOK_AGAIN);
        } else {
            services.progress.wait(until);
        }
    }
}

/// This node, and those that are alive.
fn nodes(control: &Control) -> Result<Vec<NodeProgramming>, ClusterError> {
    let services = &control.services;
    let mut nodes = BTreeMap::new();
    if services.is_shared {
        let said = services.store.list(ACTIVE)?.entries;
        let said: BTreeMap<&str, &Entry> =
            said.iter().filter_map(|entry| Some((entry.key.strip_prefix(ACTIVE)?, entry))).collect();
        for entry in services.store.list(ALIVE)?.entries {
            let Some(name) = entry.key.strip_prefix(ALIVE) else { continue };
            nodes.insert(name.to_owned(), said.get(name).and_then(|entry| revision_in(entry)));
        }
    }
    nodes.insert(control.config.node.clone(), services.progress.active());
    Ok(nodes.into_iter().map(|(name, active)| NodeProgramming { name, active }).collect())
}

fn revision_in(entry: &Entry) -> Option<Revision> {
    serde_json::from_slice(&entry.value).ok()
}
