//! Tests of the whole: rule by rule of the specification, by the names of Kubernetes' own suite, and against the reference.

mod bad_input;
mod bad_selectors;
mod e2e;
mod histories;
mod reading;
mod spec;
mod statuses;
mod tiers;
mod world;

use serde_json::{Value, json};

use crate::{Checked, PolicyKind, read};

/// `networking.k8s.io/v1`, in the namespace `x`.
fn network_policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": "x" },
        "spec": spec,
    })
}

/// `policy.vpod.io/v1alpha1`.
fn cluster_policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "policy.vpod.io/v1alpha1",
        "kind": "ClusterNetworkPolicy",
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// Reads what has to be good.
#[track_caller]
fn good(value: &Value) -> Checked {
    let text = |field: &str| value[field].as_str().unwrap();
    let kind = PolicyKind::of(text("apiVersion"), text("kind")).unwrap();
    read(kind, value).unwrap_or_else(|error| panic!("{error}: {value}"))
}
