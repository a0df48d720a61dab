//! Single objects: checked and written, or deleted; and who may read them.

use protocol::message::{ApiError, ErrorCode, Kind};
use protocol::{Namespace, ObjectName};
use routing::check::{self, CheckError, Checked, KindName};
use serde_json::Value;
use store::cluster::{ClusterError, ClusterStore};
use store::services::write::{self, AnyObject, Run, Stamp, WriteError, Written};

use super::super::node::Control;
use super::PREFIX;

/// Where an object is in the store.
pub(crate) fn key_of(kind: &KindName, namespace: &str, name: &str) -> String {
    if kind.has_namespaces {
        format!("{PREFIX}{}/{namespace}/{name}", kind.plural)
    } else {
        format!("{PREFIX}{}/{name}", kind.plural)
    }
}

/// Writes an object of such a kind at its key.
pub(crate) fn write(
    control: &Control,
    store: &dyn ClusterStore,
    (kind, key, value): (&KindName, &str, &Value),
    stamp: &Stamp,
    run: Run,
) -> Result<Written, ApiError> {
    let mut checked = check::check(kind, value).map_err(refused)?;
    if let Checked::Ingress(ingress) = &mut checked {
        let known = store.get(key).map_err(|error| unwritten(&error.into()))?;
        let known: Option<Value> = known.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        classify(control, ingress, known.as_ref());
    }
    let internal = |error: serde_json::Error| ApiError::new(ErrorCode::Internal, error.to_string());
    let object: AnyObject =
        serde_json::from_value(checked.to_value().map_err(internal)?).map_err(internal)?;
    write::put(store, key, &object, stamp, run).map(|(written, _)| written).map_err(|error| unwritten(&error))
}

/// An Ingress that names no class keeps the one it has, or gets the default one for good (Kubernetes' `DefaultIngressClass`).
fn classify(
    control: &Control,
    ingress: &mut k8s_openapi::api::networking::v1::Ingress,
    known: Option<&Value>,
) {
    let annotations = ingress.metadata.annotations.as_ref();
    let is_annotated = annotations.is_some_and(|all| all.contains_key("kubernetes.io/ingress.class"));
    let Some(spec) = ingress.spec.as_mut().filter(|spec| spec.ingress_class_name.is_none() && !is_annotated)
    else {
        return;
    };
    let former = known.and_then(|known| known.pointer("/spec/ingressClassName")?.as_str());
    let default = || control.ingress.state.lock().objects.default_class().to_owned();
    spec.ingress_class_name = Some(former.map_or_else(default, str::to_owned));
}

fn refused(error: CheckError) -> ApiError {
    ApiError::new(ErrorCode::Invalid, error.to_string())
}

fn unwritten(error: &WriteError) -> ApiError {
    super::super::services::refused(error)
}

/// Deletes an object of such a kind.
pub(crate) fn delete(
    control: &Control,
    kind: &KindName,
    namespace: &Namespace,
    name: &ObjectName,
    run: Run,
) -> Result<(), ApiError> {
    let key = key_of(kind, namespace.as_str(), name.as_str());
    match write::delete(&**control.services.store(), kind.plural, &key, run) {
        // Missing from the store, and held here for that: now it is said to be gone.
        Err(WriteError::NotFound { .. }) if run == Run::Real && is_held(control, &key) => Ok(()),
        other => other.map_err(|error| unwritten(&error)),
    }
}

fn is_held(control: &Control, key: &str) -> bool {
    let mirror = &control.ingress.mirror;
    mirror.known().0.contains_key(key) && !mirror.confirm().is_empty()
}

/// How many there are in a namespace.
pub(crate) fn count(control: &Control, namespace: &ObjectName) -> Result<usize, ClusterError> {
    let mut count = 0;
    for kind in check::KINDS.iter().filter(|kind| kind.has_namespaces) {
        let prefix = format!("{PREFIX}{}/{namespace}/", kind.plural);
        count += control.services.store().list(&prefix)?.entries.len();
    }
    Ok(count)
}

/// Whether a user may read objects of a kind: Secrets are for root, the daemon's own user and the ingress.
pub(crate) fn is_readable(control: &Control, kind: Kind, uid: u32) -> Result<(), ApiError> {
    let own = nix::unistd::geteuid().as_raw();
    if kind != Kind::Secrets || uid == 0 || uid == own || control.config.ingress.uid() == Some(uid) {
        return Ok(());
    }
    let text = format!("user {uid} may not read secrets; only root and the ingress may");
    Err(ApiError::new(ErrorCode::Forbidden, text))
}
