//! Policies as `get` and `describe` show them: as the store has them, with a status that is made here.

use std::collections::BTreeMap;

use ::policy::{Cluster, PolicyKind, PolicyName, status};
use protocol::object::{Document, Timestamp};
use protocol::{Namespace, ObjectName};
use serde_json::{Value, json};
use store::cluster::Entry;

use super::super::node::Control;
use super::denials::counted;
use super::objects::{complete, name_in, prefix_of};

/// Selected pods that are named; of the others their number.
const NAMED: usize = 100;

/// Policies of a kind, of one namespace if given.
pub(crate) fn list(control: &Control, kind: PolicyKind, namespace: Option<&Namespace>) -> Vec<Document> {
    let prefix = prefix_of(kind, namespace);
    let entries = match control.services.store().list(&prefix) {
        Ok(listing) => listing.entries,
        // As they were last known, if the store is away.
        Err(_) => control.services.known_policies(&prefix),
    };
    entries.iter().filter_map(document_of).map(|(_, _, document)| document).collect()
}

/// One policy, with what it does at the moment.
pub(crate) fn document(
    control: &Control,
    kind: PolicyKind,
    namespace: &Namespace,
    name: &ObjectName,
) -> Option<Document> {
    let key = super::key_of(kind, namespace.as_str(), name.as_str());
    let entry = match control.services.store().get(&key) {
        Ok(entry) => entry?,
        Err(_) => control.services.known_policies(&key).into_iter().find(|entry| entry.key == key)?,
    };
    let (name, mut value, document) = document_of(&entry)?;
    let denied = counted(control);
    let found = status_of(control.switch.policies().cluster(), &name, &denied);
    value["status"] = found.unwrap_or_default();
    Some(Document { json: value.to_string(), ..document })
}

fn document_of(entry: &Entry) -> Option<(PolicyName, Value, Document)> {
    let (kind, name) = name_in(&entry.key)?;
    let mut value: Value = serde_json::from_slice(&entry.value).ok()?;
    complete(kind, &mut value);
    value["metadata"]["resourceVersion"] = entry.revision.to_string().into();
    let stamp = value.pointer("/metadata/creationTimestamp").cloned().unwrap_or_default();
    let created: Timestamp = serde_json::from_value(stamp).unwrap_or_default();
    let (namespace, own) = match &name {
        PolicyName::Namespaced(object) => (Some(object.namespace.clone()), object.name.clone()),
        PolicyName::Cluster(own) => (None, own.clone()),
    };
    let json = value.to_string();
    Some((name, value, Document { namespace, name: own, created, json, ready: 0, endpoints: 0 }))
}

/// None: this node has not come to know it yet.
fn status_of(cluster: &Cluster, name: &PolicyName, denied: &BTreeMap<PolicyName, u64>) -> Option<Value> {
    let found = status(cluster, name)?;
    let named: Vec<String> = found.selected.iter().take(NAMED).map(ToString::to_string).collect();
    let notes = found.notes.iter().map(|note| json!({ "field": note.path, "message": note.text }));
    Some(json!({
        "selectedPods": named,
        "selected": found.selected.len(),
        "deniedPackets": denied.get(name).copied().unwrap_or_default(),
        "notes": notes.collect::<Vec<_>>(),
    }))
}
