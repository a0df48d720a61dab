//! Reading objects: from JSON to a [`Policy`], or everything that is wrong with it, field by field, in Kubernetes' words.
//!
//! The JSON itself is walked, because a type filled by a library would have lost what matters here: a field that nobody
//! knows (a misspelt `podSelector` would select everything), and whether a selector or list is empty or absent.

mod fields;
mod metadata;
mod normal;
mod peers;
mod ports;
mod rules;
mod selector;
mod spec;

use protocol::problem::{Invalid, Problem};
use serde_json::Value;

use crate::model::Policy;
use fields::Object;

/// A kind of object that is a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyKind {
    /// Kubernetes' own.
    NetworkPolicy,
    /// Ours: for the whole cluster, in tiers, with rules that allow, deny or pass.
    ClusterNetworkPolicy,
}

impl PolicyKind {
    /// All.
    pub const ALL: [Self; 2] = [Self::NetworkPolicy, Self::ClusterNetworkPolicy];

    /// `apiVersion`.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::ClusterNetworkPolicy => "policy.vpod.io/v1alpha1",
        }
    }

    /// `kind`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }

    /// The kind of a manifest, if it is one of these.
    #[must_use]
    pub fn of(api_version: &str, name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.api_version() == api_version && kind.name() == name)
    }
}

/// An object that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What it means.
    pub policy: Policy,
    /// Its normal form: as written, with defaults filled in, without nulls and without a status. Reading it again gives the
    /// same.
    pub object: Value,
}

/// Reads an object of a kind.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(kind: PolicyKind, value: &Value) -> Result<Checked, Invalid> {
    let object = normal::normal(kind, value);
    let mut problems = Vec::new();
    let policy = policy(kind, &object, &mut problems);
    match policy {
        Some(policy) if problems.is_empty() => Ok(Checked { policy, object }),
        _ => Err(Invalid { kind: kind.name(), name: metadata::name_as_written(value), problems }),
    }
}

fn policy(kind: PolicyKind, value: &Value, problems: &mut Vec<Problem>) -> Option<Policy> {
    let object = Object::read(value, "", problems)?;
    object.allow_only(&["apiVersion", "kind", "metadata", "spec", "status"], problems);
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.name())] {
        match object.get(field) {
            Some(Value::String(text)) if text == expected => {}
            Some(other) => {
                problems.push(Problem::invalid(field, fields::shown(other), format!("must be {expected}")));
            }
            None => problems.push(Problem::required(field, &format!("must be {expected}"))),
        }
    }
    let name = metadata::name(kind, &object, problems);
    let spec = object.required("spec", problems).and_then(|spec| Object::read(spec, "spec", problems));
    spec::policy(kind, name?, &spec?, problems)
}
