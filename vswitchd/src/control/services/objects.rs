//! Single objects of the store: checked and written, or deleted.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use protocol::ObjectName;
use protocol::message::{ApiError, ErrorCode, Kind};
use protocol::object::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use store::cluster::{ClusterError, ClusterStore};
use store::services::write::{
    self, NAMESPACES, Run, SERVICES, SLICES, Stamp, Surroundings, WriteError, Written,
};
use store::services::{Invalid, ObjectRef, Problem, SliceSpec, Spec};

use super::super::error::chain;
use super::super::ingress;
use super::super::node::Control;
use super::super::pods::create::new_uid;
use super::super::policy;
use super::Services;

fn typed<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T, ApiError> {
    T::deserialize(value).map_err(|e| ApiError::new(ErrorCode::Invalid, e.to_string()))
}

pub(super) fn stamp() -> Result<Stamp, ApiError> {
    let uid = new_uid().map_err(|e| ApiError::new(ErrorCode::Internal, format!("a new uid: {e}")))?;
    // A random UUID's own digits.
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let seed = u64::from_str_radix(&digits, 16).unwrap_or_default();
    Ok(Stamp { uid, now: Timestamp::now().0, seed })
}

/// What is known of the cluster when a service is written.
impl Surroundings for Services {
    fn check(&self, spec: &Spec) -> Vec<Problem> {
        self.table.lock().check_service(spec)
    }

    fn owner(&self, ip: Ipv4Addr) -> Option<String> {
        self.table.lock().owner(IpAddr::V4(ip))
    }
}

pub(super) fn service(
    control: &Control,
    store: &dyn ClusterStore,
    value: &Value,
    run: Run,
) -> Result<Written, ApiError> {
    let services = &control.services;
    let object: Service = typed(value)?;
    write::put_service(store, &services.pools, &object, &stamp()?, services, run)
        .map(|(written, _)| written)
        .map_err(|error| refused(&error))
}

/// Makes a service that is missing, as the first of these manifests that is not refused. Nothing is done while the store has
/// not been read; where it is away, the next call tries again.
pub(crate) fn create_missing(control: &Control, alternatives: &[Value]) {
    let services = &control.services;
    let word = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let Some(first) = alternatives.first() else { return };
    let (Some(namespace), Some(name)) = (word(first, "/metadata/namespace"), word(first, "/metadata/name"))
    else {
        return;
    };
    let Some(object) = ObjectRef::parse(&format!("{namespace}/{name}")) else { return };
    if !services.is_known() || services.table.lock().spec(&object).is_some() {
        return;
    }
    // The table learns of it a moment later.
    match services.store.get(&format!("{SERVICES}{object}")) {
        Ok(None) => {}
        Ok(Some(_)) | Err(_) => return,
    }
    let mut refusal = None;
    for value in alternatives {
        match service(control, &*services.store, value, Run::Real) {
            Ok(_) => {
                tracing::info!(service = %object, "made what was missing");
                services.wake.objects();
                return;
            }
            Err(error) => refusal = Some(error),
        }
    }
    if let Some(error) = refusal {
        tracing::debug!(service = %object, "it is missing and cannot be made: {error}");
    }
}

/// A service as the store has it, and its revision.
fn stored(control: &Control, object: &ObjectRef) -> Result<(Service, u64), ApiError> {
    let missing = || WriteError::NotFound { kind: "services", name: object.to_string() };
    let found = control.services.store.get(&format!("{SERVICES}{object}")).map_err(WriteError::from);
    let entry = found.and_then(|found| found.ok_or_else(missing)).map_err(|error| refused(&error))?;
    let service = serde_json::from_slice(&entry.value)
        .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
    Ok((service, entry.revision))
}

/// Changes a service that is there. An error says that somebody else did meanwhile, or that the store is away: the next call tries again.
pub(crate) fn change(
    control: &Control,
    object: &ObjectRef,
    change: impl FnOnce(&mut Service),
) -> Result<Written, ApiError> {
    let services = &control.services;
    let (mut service, revision) = stored(control, object)?;
    service.metadata.resource_version = Some(revision.to_string());
    change(&mut service);
    let written =
        write::put_service(&*services.store, &services.pools, &service, &stamp()?, services, Run::Real);
    services.wake.objects();
    written.map(|(written, _)| written).map_err(|error| refused(&error))
}

/// Writes a service as it is, so that it gets what there was too little of before.
pub(super) fn assign_again(control: &Control, object: &ObjectRef) -> Result<Written, ApiError> {
    let services = &control.services;
    let (known, _) = stored(control, object)?;
    write::put_service(&*services.store, &services.pools, &known, &stamp()?, services, Run::Real)
        .map(|(written, _)| written)
        .map_err(|error| refused(&error))
}

pub(super) fn slice(
    control: &Control,
    store: &dyn ClusterStore,
    value: &Value,
    run: Run,
) -> Result<Written, ApiError> {
    let services = &control.services;
    let mut object: EndpointSlice = typed(value)?;
    object.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let spec = SliceSpec::check(&object).map_err(|error| refused(&error.into()))?;
    let problems = services.table.lock().check_slice(&spec);
    if !problems.is_empty() {
        let name = spec.object.name.to_string();
        return Err(refused(&Invalid { kind: "EndpointSlice", name, problems }.into()));
    }
    let key = format!("{SLICES}{}", spec.object);
    write::put(store, &key, &object, &stamp()?, run)
        .map(|(written, _)| written)
        .map_err(|error| refused(&error))
}

pub(super) fn namespace(store: &dyn ClusterStore, value: &Value, run: Run) -> Result<Written, ApiError> {
    let mut object: Namespace = typed(value)?;
    object.metadata.namespace = None;
    let name = object.metadata.name.clone().unwrap_or_default();
    if let Err(error) = name.parse::<protocol::Namespace>() {
        let problems = vec![Problem::invalid("metadata.name", &name, error)];
        return Err(refused(&Invalid { kind: "Namespace", name, problems }.into()));
    }
    let key = format!("{NAMESPACES}{name}");
    write::put(store, &key, &object, &stamp()?, run)
        .map(|(written, _)| written)
        .map_err(|error| refused(&error))
}

/// Changes the labels of a namespace; one that nobody made is made.
pub(crate) fn label_namespace(
    control: &Control,
    name: &ObjectName,
    labels: &super::super::label::Labels,
) -> Result<(), ApiError> {
    let key = format!("{NAMESPACES}{name}");
    let store = &control.services.store;
    let entry = store.get(&key).map_err(|error| refused(&error.into()))?;
    let mut namespace: Namespace = match &entry {
        Some(entry) => serde_json::from_slice(&entry.value)
            .map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?,
        None => Namespace::default(),
    };
    namespace.metadata.name = Some(name.to_string());
    // Nobody else's change is lost.
    namespace.metadata.resource_version = entry.map(|entry| entry.revision.to_string());
    let mut known = namespace.metadata.labels.take().unwrap_or_default();
    labels.apply(&format!("namespace {name}"), &mut known)?;
    namespace.metadata.labels = Some(known);
    let written = write::put(&**store, &key, &namespace, &stamp()?, Run::Real);
    control.services.wake.objects();
    written.map(drop).map_err(|error| refused(&error))
}

/// Deletes one object.
pub(crate) fn delete(
    control: &Control,
    kind: Kind,
    namespace: &protocol::Namespace,
    name: &ObjectName,
    run: Run,
) -> Result<(), ApiError> {
    if let Some(routed) = routing::check::names(kind) {
        return ingress::delete(control, routed, namespace, name, run);
    }
    let services = &control.services;
    let object = ObjectRef { namespace: namespace.clone(), name: name.clone() };
    let result = match kind {
        _ if let Some(kind) = policy::kind_of(kind) => policy::delete(control, kind, namespace, name, run),
        Kind::Services => write::delete_service(&*services.store, &object, run),
        Kind::EndpointSlices => {
            write::delete(&*services.store, "endpointslices", &format!("{SLICES}{object}"), run)
        }
        Kind::Namespaces => {
            refuse_inhabited(control, name)?;
            write::delete(&*services.store, "namespaces", &format!("{NAMESPACES}{name}"), run)
        }
        _ => {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                "objects of this kind cannot be deleted".to_owned(),
            ));
        }
    };
    services.wake.objects();
    match result {
        // Missing from the store, and held here for that: now it is said to be gone.
        Err(WriteError::NotFound { .. }) if run == Run::Real && confirm(control, kind, &object) => Ok(()),
        other => other.map_err(|error| refused(&error)),
    }
}

fn confirm(control: &Control, kind: Kind, object: &ObjectRef) -> bool {
    let mirrors = &control.services.mirrors;
    let (mirror, key) = match (kind, policy::kind_of(kind)) {
        (Kind::Services, _) => (&mirrors.services, format!("{SERVICES}{object}")),
        (_, Some(kind)) => {
            (&mirrors.policies, policy::key_of(kind, object.namespace.as_str(), object.name.as_str()))
        }
        (_, None) => (&mirrors.slices, format!("{SLICES}{object}")),
    };
    mirror.known().0.contains_key(&key) && !mirror.confirm().is_empty()
}

/// What lives in a namespace would be lost sight of.
fn refuse_inhabited(control: &Control, name: &ObjectName) -> Result<(), ApiError> {
    let prefix = format!("{SERVICES}{name}/");
    let services =
        control.services.store.list(&prefix).map_err(|error| refused(&error.into()))?.entries.len();
    let is_inside = |pod: &protocol::message::PodRef| pod.namespace.as_str() == name.as_str();
    let pods = control.inventory.lock().iter().filter(|(pod, _)| is_inside(pod)).count();
    let routed = ingress::count(control, name).map_err(|error| refused(&error.into()))?;
    let policies = policy::count(control, name).map_err(|error| refused(&error.into()))?;
    if services + pods + routed + policies == 0 {
        return Ok(());
    }
    let mut others = if routed > 0 { format!(", {routed} objects of the ingress") } else { String::new() };
    if policies > 0 {
        others += &format!(", {policies} policies");
    }
    let text = format!(
        "namespace {name} has {services} services{others} and {pods} pods of this node; delete them first"
    );
    Err(ApiError::new(ErrorCode::Conflict, text))
}

pub(crate) fn refused(error: &WriteError) -> ApiError {
    let code = match error {
        WriteError::Invalid(_) => ErrorCode::Invalid,
        WriteError::Exhausted { .. } => ErrorCode::Exhausted,
        WriteError::Outdated { .. } => ErrorCode::Conflict,
        WriteError::NotFound { .. } => ErrorCode::NotFound,
        WriteError::Contended { .. } => ErrorCode::Unavailable,
        WriteError::Store(ClusterError::Object { .. } | ClusterError::TooLarge { .. }) => ErrorCode::Invalid,
        WriteError::Store(_) => ErrorCode::Unavailable,
    };
    ApiError::new(code, chain(error))
}
