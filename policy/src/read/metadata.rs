//! `metadata`: what the object is called. The rest is kept as written.

use protocol::problem::Problem;
use protocol::{Namespace, ObjectName, ObjectRef};
use serde_json::Value;

use super::PolicyKind;
use super::fields::{Object, shown, text};
use crate::model::PolicyName;

/// apimachinery, `ObjectMeta`.
const KNOWN: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// For messages, also where the name is wrong.
pub(super) fn name_as_written(object: &Value) -> String {
    object.pointer("/metadata/name").map(shown).unwrap_or_default()
}

pub(super) fn name(kind: PolicyKind, object: &Object<'_>, problems: &mut Vec<Problem>) -> Option<PolicyName> {
    let metadata = object.required("metadata", problems)?;
    let metadata = Object::read(metadata, "metadata", problems)?;
    metadata.allow_only(&KNOWN, problems);
    labels(&metadata, problems);
    annotations(&metadata, problems);
    let name = name_of(&metadata, problems);
    match kind {
        PolicyKind::NetworkPolicy => {
            let namespace = namespace_of(&metadata, problems)?;
            Some(PolicyName::Namespaced(ObjectRef { namespace, name: name? }))
        }
        PolicyKind::ClusterNetworkPolicy => {
            if metadata.get("namespace").is_some() {
                let why = "a ClusterNetworkPolicy belongs to no namespace";
                problems.push(Problem::forbidden(metadata.at("namespace"), why));
            }
            Some(PolicyName::Cluster(name?))
        }
    }
}

fn name_of(metadata: &Object<'_>, problems: &mut Vec<Problem>) -> Option<ObjectName> {
    if metadata.get("name").is_none() {
        problems.push(Problem::required(metadata.at("name"), "name or generateName is required"));
        return None;
    }
    let text = metadata.text("name", problems)?;
    let name = text.parse();
    name.map_err(|error| problems.push(Problem::invalid(metadata.at("name"), text, error))).ok()
}

fn namespace_of(metadata: &Object<'_>, problems: &mut Vec<Problem>) -> Option<Namespace> {
    if metadata.get("namespace").is_none() {
        return Some(Namespace::default());
    }
    let text = metadata.text("namespace", problems)?;
    let namespace = text.parse();
    namespace.map_err(|error| problems.push(Problem::invalid(metadata.at("namespace"), text, error))).ok()
}

fn labels(metadata: &Object<'_>, problems: &mut Vec<Problem>) {
    let path = metadata.at("labels");
    let Some(value) = metadata.get("labels") else { return };
    let Some(labels) = Object::read(value, &path, problems) else { return };
    for (key, value) in labels.entries() {
        let Some(value) = text(value, labels.at(key), problems) else { continue };
        if let Err(error) = protocol::name::check_label(key, value) {
            problems.push(Problem::invalid(&path, key, error));
        }
    }
}

fn annotations(metadata: &Object<'_>, problems: &mut Vec<Problem>) {
    let Some(value) = metadata.get("annotations") else { return };
    let Some(annotations) = Object::read(value, metadata.at("annotations"), problems) else { return };
    for (key, value) in annotations.entries() {
        text(value, annotations.at(key), problems);
    }
}
