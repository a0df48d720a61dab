//! Objects of the store on their way into the table.
//!
//! One object is read in some ten microseconds, which is nothing for one change and most of a start with twenty thousand. So what is
//! known at once is read by all processors; the table takes it in order.

use std::collections::BTreeMap;
use std::thread;

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use store::cluster::Entry;
use store::cluster::mirror::Change;
use store::services::write::{NAMESPACES, PODS, POLICIES, SERVICES, SLICES};
use store::services::{ObjectRef, PodFacts, SliceSpec, Spec, Table};

use super::super::node::Control;
use super::super::policy;

/// Fewer objects are read sooner than a thread is started.
const WORTH_A_THREAD: usize = 256;

/// An object that makes sense.
enum Object {
    Service(Box<Spec>),
    Slice(SliceSpec),
    Pod(PodFacts),
    Namespace(protocol::Namespace, BTreeMap<String, String>),
    Policy(::policy::Policy),
}

/// Everything a mirror knows, or will know in a moment.
pub(super) fn take_all(table: &mut Table, entries: impl IntoIterator<Item = Entry>, control: &Control) {
    let entries: Vec<Entry> = entries.into_iter().collect();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(entries.len() / WORTH_A_THREAD);
    let share = entries.len().div_ceil(threads.max(1)).max(1);
    let objects: Vec<Result<Object, String>> = thread::scope(|scope| {
        let mut parts = entries.chunks(share);
        let first = parts.next().unwrap_or_default();
        let read_part = |part: &[Entry]| part.iter().map(read).collect::<Vec<_>>();
        let others: Vec<_> = parts.map(|part| scope.spawn(move || read_part(part))).collect();
        let mut objects = read_part(first);
        // The process aborts at a panic, so none of them ends by one.
        objects.extend(others.into_iter().flat_map(|other| other.join().unwrap_or_default()));
        objects
    });
    let mut primed = control.services.primed.lock();
    for (entry, object) in entries.into_iter().zip(objects) {
        put(table, &entry.key, object, control);
        primed.insert(entry.key, entry.revision);
    }
}

/// One change of the store. What cannot be read stays as it was known.
pub(super) fn take(table: &mut Table, change: &Change, control: &Control) {
    match change {
        Change::Put(entry) => put(table, &entry.key, read(entry), control),
        Change::Delete { key } => remove(table, key, control),
    }
}

fn read(entry: &Entry) -> Result<Object, String> {
    if entry.key.starts_with(SERVICES) {
        let service: Service = serde_json::from_slice(&entry.value).map_err(|error| error.to_string())?;
        let spec = Spec::check(&service).map_err(|error| error.to_string())?;
        Ok(Object::Service(Box::new(spec)))
    } else if entry.key.starts_with(SLICES) {
        let slice: EndpointSlice = serde_json::from_slice(&entry.value).map_err(|error| error.to_string())?;
        SliceSpec::check(&slice).map(Object::Slice).map_err(|error| error.to_string())
    } else if let Some(name) = entry.key.strip_prefix(NAMESPACES) {
        let namespace: Namespace = serde_json::from_slice(&entry.value).map_err(|error| error.to_string())?;
        let name = name.parse().map_err(|error: protocol::NameError| error.to_string())?;
        Ok(Object::Namespace(name, namespace.metadata.labels.unwrap_or_default()))
    } else if entry.key.starts_with(POLICIES) {
        policy::read_entry(entry).map(Object::Policy)
    } else {
        serde_json::from_slice(&entry.value).map(Object::Pod).map_err(|error| error.to_string())
    }
}

fn put(table: &mut Table, key: &str, object: Result<Object, String>, control: &Control) {
    match object {
        Ok(Object::Service(spec)) => table.put_service(*spec),
        Ok(Object::Slice(slice)) => table.put_slice(slice),
        // Of our own we know better.
        Ok(Object::Pod(pod)) if pod.node == control.config.node => {}
        Ok(Object::Pod(pod)) => table.put_pod(pod),
        Ok(Object::Namespace(namespace, labels)) => {
            control.switch.policies().set_namespace(&namespace, Some(labels));
            table.put_namespace(namespace);
        }
        Ok(Object::Policy(policy)) => control.switch.policies().put(policy),
        Err(problem) => tracing::warn!("{key}: it stays as it was known: {problem}"),
    }
}

fn remove(table: &mut Table, key: &str, control: &Control) {
    let object = |prefix| key.strip_prefix(prefix).and_then(ObjectRef::parse);
    if let Some(service) = object(SERVICES) {
        table.remove_service(&service);
    } else if let Some(slice) = object(SLICES) {
        table.remove_slice(&slice);
    } else if let Some(namespace) = key.strip_prefix(NAMESPACES).and_then(|name| name.parse().ok()) {
        table.remove_namespace(&namespace);
        control.switch.policies().set_namespace(&namespace, None);
    } else if let Some((_, policy)) = policy::name_in(key) {
        control.switch.policies().remove(&policy);
    } else if let Some(pod) = object(PODS)
        && table.node_of(&pod).is_some_and(|node| node != control.config.node)
    {
        table.remove_pod(&pod);
    }
}
