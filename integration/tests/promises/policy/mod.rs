//! Promises about network policies. What is allowed is tried with real packets, and what is not has to arrive nowhere.

mod closed;
mod commands;
mod cut;
mod paths;
mod suite;

use integration::{TestNode, TestPod};

use crate::services::manifest;

/// Applies a manifest; it is in force on all nodes when this returns.
#[track_caller]
fn enforce(node: &TestNode, text: &str) {
    manifest(node, "apply --wait", text).ok();
}

/// Isolates the pods with the label `app: APP` in these directions, as in `Ingress, Egress`.
fn isolate(name: &str, app: &str, types: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         podSelector: {{matchLabels: {{app: {app}}}}}\n  policyTypes: [{types}]\n"
    )
}

/// Pod `name` with the label `app: APP`.
#[track_caller]
fn labelled(node: &TestNode, name: &str, app: &str) -> TestPod {
    node.create(&crate::services::labelled(name, app))
}
