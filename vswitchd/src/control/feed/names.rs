//! The feed of names: what the table of services says, told when the datapath does it.
//!
//! What is derived together with a configuration of the switch is staged with it ([`stage`]) and told once the switch runs exactly that
//! one ([`flush`]). What must not be told any more because the switch is about to refuse it goes at once, before the switch hears of it.
//! So a name may be missing for a moment, but never leads to an address that is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use protocol::Namespace;
use protocol::feed::{FeedChange, NameChange, NameTarget, NamedService};
use protocol::message::PodRef;
use store::services::{ObjectRef, Renamed, Services, Table};

use super::super::node::Control;
use super::{FeedKey, FeedTable};

/// Namespaces that Kubernetes always has.
const ALWAYS: [&str; 2] = ["default", "kube-system"];

/// What is to be told when the switch runs what it was derived with.
#[derive(Default)]
pub(crate) struct Staged {
    with: Option<Arc<Services>>,
    /// With when it was heard of first.
    pending: BTreeMap<FeedKey, (FeedChange, Instant)>,
    is_known: bool,
}

/// Puts aside what has changed since the last call; `table` has settled. With `is_known`, the store has been read.
pub(crate) fn stage(control: &Control, table: &mut Table, is_known: bool) {
    let renamed = table.take_renamed();
    let mut staged = control.feeds.staged.lock();
    staged.take(&control.feeds.names, table, &renamed);
    staged.with = Some(Arc::clone(table.states()));
    staged.is_known |= is_known;
}

/// Tells what was staged, if the switch runs what it was staged with.
pub(crate) fn flush(control: &Control) {
    let mut staged = control.feeds.staged.lock();
    if staged.is_known && staged.with.as_ref().is_some_and(|with| control.switch.runs_services(with)) {
        staged.tell(&control.feeds.names);
    }
}

impl Staged {
    pub(super) fn take(&mut self, names: &FeedTable, table: &Table, renamed: &Renamed) {
        for object in &renamed.services {
            self.take_service(names, object, table.named(object));
        }
        for object in &renamed.pods {
            let key = FeedKey::Pod(object.namespace.clone(), object.name.clone());
            let pod = || PodRef { namespace: object.namespace.clone(), name: object.name.clone() };
            let change = table.named_pod(object).map(|address| NameChange::Pod { pod: pod(), address });
            self.put(names, key, change);
        }
        for namespace in &renamed.namespaces {
            let is_there = table.has_namespace(namespace) || ALWAYS.contains(&namespace.as_str());
            let change = is_there.then(|| NameChange::Namespace(namespace.clone()));
            self.put(names, FeedKey::Namespace(namespace.clone()), change);
        }
    }

    fn take_service(&mut self, names: &FeedTable, object: &ObjectRef, new: Option<NamedService>) {
        let key = FeedKey::Service(object.namespace.clone(), object.name.clone());
        if let Some(told) = names.get(&key)
            && let FeedChange::Name(NameChange::Service(told)) = &*told
        {
            match still_true(told, new.as_ref()) {
                None => names.remove(&key),
                Some(kept) => names.set(key.clone(), FeedChange::Name(NameChange::Service(kept))),
            }
        }
        self.put(names, key, new.map(NameChange::Service));
    }

    fn put(&mut self, names: &FeedTable, key: FeedKey, change: Option<NameChange>) {
        match change {
            Some(change) => {
                let heard = self.pending.get(&key).map_or_else(Instant::now, |(_, heard)| *heard);
                self.pending.insert(key, (FeedChange::Name(change), heard));
            }
            None => {
                self.pending.remove(&key);
                names.remove(&key);
            }
        }
    }

    pub(super) fn tell(&mut self, names: &FeedTable) {
        for (key, (change, heard)) in std::mem::take(&mut self.pending) {
            names.set_heard(key, change, Some(heard));
        }
        for namespace in ALWAYS.iter().filter_map(|name| name.parse::<Namespace>().ok()) {
            let change = FeedChange::Name(NameChange::Namespace(namespace.clone()));
            names.set(FeedKey::Namespace(namespace), change);
        }
        names.set_complete();
    }
}

/// What of `told` the switch does before as well as after it becomes `new`; `None` if its name leads elsewhere then.
fn still_true(told: &NamedService, new: Option<&NamedService>) -> Option<NamedService> {
    let new = new?;
    match (&told.target, &new.target) {
        (NameTarget::Cluster { addresses, ports }, NameTarget::Cluster { addresses: to, ports: served })
            if addresses == to =>
        {
            let ports = ports.iter().filter(|port| served.contains(port)).cloned().collect();
            let target = NameTarget::Cluster { addresses: addresses.clone(), ports };
            Some(NamedService { target, ..told.clone() })
        }
        (NameTarget::Cluster { .. }, _) => None,
        // The switch has nothing to do with these.
        (NameTarget::Headless { .. } | NameTarget::External { .. }, _) => Some(told.clone()),
    }
}
