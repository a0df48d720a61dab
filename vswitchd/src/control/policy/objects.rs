//! Single policies: their keys; checked and written, or deleted.

use ::policy::{Policy, PolicyKind, PolicyName, read};
use protocol::message::{ApiError, ErrorCode, Kind};
use protocol::{Namespace, ObjectName, ObjectRef};
use serde_json::Value;
use store::cluster::{ClusterError, ClusterStore, Entry};
use store::services::write::{self, AnyObject, POLICIES, Run, Stamp, Written};

use super::super::node::Control;
use super::super::services::refused;

/// In keys and messages.
const fn plural(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::NetworkPolicy => "networkpolicies",
        PolicyKind::ClusterNetworkPolicy => "clusternetworkpolicies",
    }
}

/// The kind of policies that a kind of the control socket is, if it is one.
pub(crate) const fn kind_of(kind: Kind) -> Option<PolicyKind> {
    match kind {
        Kind::NetworkPolicies => Some(PolicyKind::NetworkPolicy),
        Kind::ClusterNetworkPolicies => Some(PolicyKind::ClusterNetworkPolicy),
        _ => None,
    }
}

/// Where an object is in the store.
pub(crate) fn key_of(kind: PolicyKind, namespace: &str, name: &str) -> String {
    match kind {
        PolicyKind::NetworkPolicy => format!("{POLICIES}{}/{namespace}/{name}", plural(kind)),
        PolicyKind::ClusterNetworkPolicy => format!("{POLICIES}{}/{name}", plural(kind)),
    }
}

/// Where all objects of a kind are, of one namespace if given.
pub(super) fn prefix_of(kind: PolicyKind, namespace: Option<&Namespace>) -> String {
    match namespace.filter(|_| kind == PolicyKind::NetworkPolicy) {
        Some(namespace) => format!("{POLICIES}{}/{namespace}/", plural(kind)),
        None => format!("{POLICIES}{}/", plural(kind)),
    }
}

/// The policy whose key it is.
pub(crate) fn name_in(key: &str) -> Option<(PolicyKind, PolicyName)> {
    let (word, name) = key.strip_prefix(POLICIES)?.split_once('/')?;
    let kind = PolicyKind::ALL.into_iter().find(|kind| plural(*kind) == word)?;
    let name = match kind {
        PolicyKind::NetworkPolicy => PolicyName::Namespaced(ObjectRef::parse(name)?),
        PolicyKind::ClusterNetworkPolicy => PolicyName::Cluster(name.parse().ok()?),
    };
    Some((kind, name))
}

/// The policy in an entry of the store.
pub(crate) fn read_entry(entry: &Entry) -> Result<Policy, String> {
    let (kind, _) = name_in(&entry.key).ok_or("this is no kind of policy")?;
    let mut value: Value = serde_json::from_slice(&entry.value).map_err(|error| error.to_string())?;
    complete(kind, &mut value);
    read(kind, &value).map(|checked| checked.policy).map_err(|error| error.to_string())
}

/// The store keeps objects without what their key says.
pub(super) fn complete(kind: PolicyKind, value: &mut Value) {
    value["apiVersion"] = kind.api_version().into();
    value["kind"] = kind.name().into();
}

/// Writes a policy at its key.
pub(crate) fn write(
    store: &dyn ClusterStore,
    (kind, key, value): (PolicyKind, &str, &Value),
    stamp: &Stamp,
    run: Run,
) -> Result<Written, ApiError> {
    let checked = read(kind, value).map_err(|error| ApiError::new(ErrorCode::Invalid, error.to_string()))?;
    let object: AnyObject = serde_json::from_value(checked.object)
        .map_err(|error| ApiError::new(ErrorCode::Invalid, error.to_string()))?;
    write::put(store, key, &object, stamp, run).map(|(written, _)| written).map_err(|error| refused(&error))
}

/// Deletes a policy.
pub(crate) fn delete(
    control: &Control,
    kind: PolicyKind,
    namespace: &Namespace,
    name: &ObjectName,
    run: Run,
) -> Result<(), write::WriteError> {
    let key = key_of(kind, namespace.as_str(), name.as_str());
    write::delete(&**control.services.store(), plural(kind), &key, run)
}

/// How many there are in a namespace.
pub(crate) fn count(control: &Control, namespace: &ObjectName) -> Result<usize, ClusterError> {
    let prefix = format!("{POLICIES}{}/{namespace}/", plural(PolicyKind::NetworkPolicy));
    Ok(control.services.store().list(&prefix)?.entries.len())
}
