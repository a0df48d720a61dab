//! What is wrong with an object by itself, in Kubernetes' words: as the API server says it when it is applied. An object
//! that passes is written in its normal form, with defaults filled in.

mod gateway;
mod http_route;
mod ingress;
mod secret;
pub(crate) mod words;

pub(crate) use http_route::is_origin;
pub(crate) use ingress::CLASS_ANNOTATION;
pub(crate) use secret::part;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use protocol::message::Kind;
use protocol::problem::{Invalid, Problem};
use protocol::{Namespace, ObjectName, ObjectRef};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::gateway_api::{Gateway, GatewayClass, HttpRoute, VERSION};

/// An object of a kind that the ingress reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// `networking.k8s.io/v1`.
    Ingress(Box<Ingress>),
    /// `networking.k8s.io/v1`.
    IngressClass(Box<IngressClass>),
    /// `v1`.
    Secret(Box<Secret>),
    /// `gateway.networking.k8s.io/v1`.
    GatewayClass(Box<GatewayClass>),
    /// `gateway.networking.k8s.io/v1`.
    Gateway(Box<Gateway>),
    /// `gateway.networking.k8s.io/v1`.
    HttpRoute(Box<HttpRoute>),
}

/// A kind as manifests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindName {
    /// Which.
    pub kind: Kind,
    /// `apiVersion`.
    pub version: &'static str,
    /// `kind`.
    pub name: &'static str,
    /// In paths and messages.
    pub plural: &'static str,
    /// Its objects live in namespaces.
    pub has_namespaces: bool,
}

/// The kinds that the ingress reads.
pub const KINDS: [KindName; 6] = [
    named(Kind::Ingresses, "networking.k8s.io/v1", "Ingress", "ingresses", true),
    named(Kind::IngressClasses, "networking.k8s.io/v1", "IngressClass", "ingressclasses", false),
    named(Kind::Secrets, "v1", "Secret", "secrets", true),
    named(Kind::GatewayClasses, VERSION, "GatewayClass", "gatewayclasses", false),
    named(Kind::Gateways, VERSION, "Gateway", "gateways", true),
    named(Kind::HttpRoutes, VERSION, "HTTPRoute", "httproutes", true),
];

const fn named(
    kind: Kind,
    version: &'static str,
    name: &'static str,
    plural: &'static str,
    has_namespaces: bool,
) -> KindName {
    KindName { kind, version, name, plural, has_namespaces }
}

/// The names of a kind, if it is one of these.
#[must_use]
pub fn names(kind: Kind) -> Option<&'static KindName> {
    KINDS.iter().find(|names| names.kind == kind)
}

/// The kind of a manifest, if it is one of these.
#[must_use]
pub fn kind_of(version: &str, name: &str) -> Option<&'static KindName> {
    KINDS.iter().find(|names| names.version == version && names.name == name)
}

/// Why an object is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It is no such object.
    #[error("{0}")]
    Malformed(String),
    /// What it says cannot be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Reads and checks an object.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(names: &KindName, value: &Value) -> Result<Checked, CheckError> {
    match names.kind {
        Kind::Ingresses => {
            one(names, value, ingress::ingress, |o: &mut Ingress| &mut o.metadata).map(Checked::Ingress)
        }
        Kind::IngressClasses => one(names, value, ingress::class, |o: &mut IngressClass| &mut o.metadata)
            .map(Checked::IngressClass),
        Kind::Secrets => {
            one(names, value, secret::secret, |o: &mut Secret| &mut o.metadata).map(Checked::Secret)
        }
        Kind::GatewayClasses => one(names, value, gateway::class, |o: &mut GatewayClass| &mut o.metadata)
            .map(Checked::GatewayClass),
        Kind::Gateways => {
            one(names, value, gateway::gateway, |o: &mut Gateway| &mut o.metadata).map(Checked::Gateway)
        }
        Kind::HttpRoutes => one(names, value, http_route::http_route, |o: &mut HttpRoute| &mut o.metadata)
            .map(Checked::HttpRoute),
        other => Err(CheckError::Malformed(format!("{other:?} are no kind of the ingress"))),
    }
}

fn one<T: DeserializeOwned>(
    names: &KindName,
    value: &Value,
    check: fn(&mut T, &mut Vec<Problem>),
    metadata: fn(&mut T) -> &mut ObjectMeta,
) -> Result<Box<T>, CheckError> {
    let mut object: T = serde_json::from_value(value.clone())
        .map_err(|error| CheckError::Malformed(format!("{} cannot be read: {error}", names.name)))?;
    let mut problems = Vec::new();
    let name = named_object(names, metadata(&mut object), &mut problems);
    check(&mut object, &mut problems);
    if problems.is_empty() {
        Ok(Box::new(object))
    } else {
        Err(Invalid { kind: names.name, name, problems }.into())
    }
}

fn named_object(names: &KindName, metadata: &mut ObjectMeta, problems: &mut Vec<Problem>) -> String {
    if names.has_namespaces {
        let namespace = metadata.namespace.get_or_insert_with(|| "default".to_owned());
        if let Err(error) = namespace.parse::<Namespace>() {
            problems.push(Problem::invalid("metadata.namespace", namespace, error));
        }
    } else {
        metadata.namespace = None;
    }
    for (key, value) in metadata.labels.iter().flatten() {
        if let Err(error) = protocol::name::check_label(key, value) {
            problems.push(Problem::invalid("metadata.labels", key, error));
        }
    }
    let Some(name) = &metadata.name else {
        problems.push(Problem::required("metadata.name", "name or generateName is required"));
        return String::new();
    };
    if let Err(error) = name.parse::<ObjectName>() {
        problems.push(Problem::invalid("metadata.name", name, error));
    }
    name.clone()
}

impl Checked {
    /// Its normal form, without a status.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        let mut value = match self {
            Self::Ingress(object) => serde_json::to_value(object),
            Self::IngressClass(object) => serde_json::to_value(object),
            Self::Secret(object) => serde_json::to_value(object),
            Self::GatewayClass(object) => serde_json::to_value(object),
            Self::Gateway(object) => serde_json::to_value(object),
            Self::HttpRoute(object) => serde_json::to_value(object),
        }?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("status");
        }
        Ok(value)
    }
}

/// The name of an object that was checked.
pub(crate) fn object_of(metadata: &ObjectMeta) -> Option<ObjectRef> {
    let namespace = metadata.namespace.as_deref().unwrap_or("default").parse().ok()?;
    Some(ObjectRef { namespace, name: metadata.name.as_deref()?.parse().ok()? })
}
