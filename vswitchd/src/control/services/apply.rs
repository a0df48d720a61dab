//! `apply`: manifests in, objects of the store out, each by itself.
//!
//! What costs time is waiting for a disk or for a cluster's store, so those of one request wait together. In the node's own file
//! they are written one after the other and synced once, before anybody is answered. A cluster's store takes those of
//! several writers at a time, unless one object is there twice: then their order matters.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::policy::PolicyKind;
use protocol::message::{ApiError, Applied, ErrorCode, Outcome};
use routing::check::{self, KindName};
use serde_json::Value;
use store::cluster::{ClusterStore, Writer};
use store::services::write::{NAMESPACES, Run, SERVICES, SLICES, WriteError, Written};

use super::super::ingress;
use super::super::node::Control;
use super::super::policy;
use super::objects;

/// Objects that are on their way to a cluster's store at a time.
const WRITERS: usize = 16;

/// A manifest that could be read.
struct Manifest {
    value: Value,
    version: String,
    kind: String,
    name: String,
    /// Where its object is.
    key: String,
    /// The kind, if it is one that the ingress reads.
    routed: Option<&'static KindName>,
    /// The kind, if it is one of policies.
    policy: Option<PolicyKind>,
}

/// Makes objects be as manifests say.
pub(crate) fn apply(control: &Control, manifests: &[String], run: Run) -> Vec<Applied> {
    let manifests: Vec<_> = manifests.iter().map(|text| Manifest::read(text)).collect();
    let applied = match &*manifests {
        [one] => vec![apply_one(control, one, false, run)],
        all if control.services.is_shared => side_by_side(control, all, run),
        all => one_by_one(control, all, run),
    };
    control.services.wake.objects();
    applied
}

fn one_by_one(control: &Control, manifests: &[Result<Manifest, ApiError>], run: Run) -> Vec<Applied> {
    let mut applied: Vec<Applied> =
        manifests.iter().map(|manifest| apply_one(control, manifest, true, run)).collect();
    if run == Run::Real
        && let Err(error) = control.services.store.sync()
    {
        let error = objects::refused(&WriteError::Store(error));
        let is_lost = |one: &&mut Applied| matches!(one.outcome, Outcome::Created | Outcome::Configured);
        for one in applied.iter_mut().filter(is_lost) {
            (one.outcome, one.revision) = (Outcome::Failed(error.clone()), None);
        }
    }
    applied
}

fn side_by_side(control: &Control, manifests: &[Result<Manifest, ApiError>], run: Run) -> Vec<Applied> {
    let mut keys = BTreeSet::new();
    let is_twice = manifests.iter().flatten().any(|manifest| !keys.insert(&manifest.key));
    let writers = if is_twice { 1 } else { WRITERS.min(manifests.len()) };
    let next = AtomicUsize::new(0);
    let write = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(manifest) = manifests.get(index) else { return done };
            done.push((index, apply_one(control, manifest, false, run)));
        }
    };
    let mut done: Vec<(usize, Applied)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..writers).map(|_| scope.spawn(write)).collect();
        let mut done = write();
        // The process aborts at a panic, so none of them ends by one.
        done.extend(others.into_iter().flat_map(|other| other.join().unwrap_or_default()));
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, applied)| applied).collect()
}

fn apply_one(control: &Control, manifest: &Result<Manifest, ApiError>, defers: bool, run: Run) -> Applied {
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(error) => {
            let outcome = Outcome::Failed(error.clone());
            return Applied { object: String::new(), outcome, revision: None };
        }
    };
    let store = &*control.services.store;
    let writer = if defers { Writer::deferring(store) } else { Writer::new(store) };
    let outcome = match manifest.write(control, &writer, run) {
        Ok(Written::Created) => Outcome::Created,
        Ok(Written::Configured) => Outcome::Configured,
        Ok(Written::Unchanged) => Outcome::Unchanged,
        Err(error) => Outcome::Failed(error),
    };
    let is_there = run == Run::Real && !matches!(outcome, Outcome::Failed(_));
    // That of its last change.
    let known = || store.get(&manifest.key).ok().flatten().map(|entry| entry.revision);
    let revision = if is_there { writer.committed().or_else(known) } else { None };
    Applied { object: format!("{}/{}", manifest.kind.to_ascii_lowercase(), manifest.name), outcome, revision }
}

impl Manifest {
    fn read(text: &str) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_str(text).map_err(|error| {
            ApiError::new(ErrorCode::Invalid, format!("this is not a JSON object: {error}"))
        })?;
        let word = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, version, name) = (word("/kind"), word("/apiVersion"), word("/metadata/name"));
        let namespace = match word("/metadata/namespace") {
            none if none.is_empty() => "default".to_owned(),
            named => named,
        };
        let routed = check::kind_of(&version, &kind);
        let policy = PolicyKind::of(&version, &kind);
        let key = match kind.as_str() {
            "Service" => format!("{SERVICES}{namespace}/{name}"),
            "EndpointSlice" => format!("{SLICES}{namespace}/{name}"),
            _ => match (routed, policy) {
                (Some(routed), _) => ingress::key_of(routed, &namespace, &name),
                (None, Some(policy)) => policy::key_of(policy, &namespace, &name),
                (None, None) => format!("{NAMESPACES}{name}"),
            },
        };
        Ok(Self { value, version, kind, name, key, routed, policy })
    }

    fn write(&self, control: &Control, store: &dyn ClusterStore, run: Run) -> Result<Written, ApiError> {
        if let Some(routed) = self.routed {
            return ingress::write(control, store, (routed, &self.key, &self.value), &objects::stamp()?, run);
        }
        if let Some(kind) = self.policy {
            return policy::write(store, (kind, &self.key, &self.value), &objects::stamp()?, run);
        }
        match (self.version.as_str(), self.kind.as_str()) {
            ("v1", "Service") => objects::service(control, store, &self.value, run),
            ("discovery.k8s.io/v1", "EndpointSlice") => objects::slice(control, store, &self.value, run),
            ("v1", "Namespace") => objects::namespace(store, &self.value, run),
            (version, kind) => Err(ApiError::new(
                ErrorCode::Invalid,
                format!("no matches for kind \"{kind}\" in version \"{version}\""),
            )),
        }
    }
}
