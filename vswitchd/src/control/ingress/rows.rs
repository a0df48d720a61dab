//! Objects as `get` and `describe` show them: as the store has them, with a status that is made here.

use std::collections::BTreeMap;

use protocol::message::Kind;
use protocol::object::{Document, Timestamp};
use protocol::{Namespace, ObjectName, ObjectRef};
use routing::check::{self, KindName};
use routing::{DEFAULT_CLASS, GATEWAY_CONTROLLER, INGRESS_CONTROLLER};
use serde_json::{Value, json};
use store::cluster::Entry;

use super::super::node::Control;
use super::{PREFIX, feeding, status};

/// Objects of a kind, of one namespace if given.
pub(crate) fn list(control: &Control, kind: Kind, namespace: Option<&Namespace>) -> Vec<Document> {
    let Some(kind) = check::names(kind) else { return Vec::new() };
    let prefix = match namespace.filter(|_| kind.has_namespaces) {
        Some(namespace) => format!("{PREFIX}{}/{namespace}/", kind.plural),
        None => format!("{PREFIX}{}/", kind.plural),
    };
    let entries = match control.services.store().list(&prefix) {
        Ok(listing) => listing.entries,
        // As they were last known, if the store is away.
        Err(_) => {
            let known = control.ingress.mirror.known().0.into_values();
            known.filter(|entry| entry.key.starts_with(&prefix)).collect()
        }
    };
    let found = entries.iter().filter_map(|entry| {
        let (kind, name) = feeding::read_key(&entry.key)?;
        document_of(kind, name, entry)
    });
    let mut rows: Vec<Document> = found.collect();
    rows.extend(always(control, kind, &rows));
    status::complete(control, kind.kind, &mut rows);
    rows
}

/// One object.
pub(crate) fn document(
    control: &Control,
    kind: Kind,
    namespace: &Namespace,
    name: &ObjectName,
) -> Option<Document> {
    list(control, kind, Some(namespace)).into_iter().find(|document| document.name == *name)
}

/// The object with what the store knows of it.
pub(super) fn document_of(kind: &KindName, name: &str, entry: &Entry) -> Option<Document> {
    let mut value: Value = serde_json::from_slice(&entry.value).ok()?;
    value["apiVersion"] = kind.version.into();
    value["kind"] = kind.name.into();
    value["metadata"]["resourceVersion"] = entry.revision.to_string().into();
    let stamp = value.pointer("/metadata/creationTimestamp").cloned().unwrap_or_default();
    let created: Timestamp = serde_json::from_value(stamp).unwrap_or_default();
    let (namespace, name) = if kind.has_namespaces {
        let object = ObjectRef::parse(name)?;
        (Some(object.namespace), object.name)
    } else {
        (None, name.parse().ok()?)
    };
    Some(Document { namespace, name, created, json: value.to_string(), ready: 0, endpoints: 0 })
}

/// The classes that there are without anybody making them.
fn always(control: &Control, kind: &KindName, rows: &[Document]) -> Option<Document> {
    let class = &control.config.ingress.class;
    let (spec, annotations) = match kind.kind {
        Kind::IngressClasses => {
            let is_default = control.ingress.state.lock().objects.default_class() == class;
            let annotations = BTreeMap::from([(DEFAULT_CLASS, is_default.to_string())]);
            (json!({ "controller": INGRESS_CONTROLLER }), annotations)
        }
        Kind::GatewayClasses => (json!({ "controllerName": GATEWAY_CONTROLLER }), BTreeMap::new()),
        _ => return None,
    };
    let name: ObjectName = class.parse().ok()?;
    if rows.iter().any(|row| row.name == name) {
        return None;
    }
    let value = json!({
        "apiVersion": kind.version,
        "kind": kind.name,
        "metadata": { "name": name, "annotations": annotations, "creationTimestamp": control.started },
        "spec": spec,
    });
    Some(Document {
        namespace: None,
        name,
        created: control.started,
        json: value.to_string(),
        ready: 0,
        endpoints: 0,
    })
}
