//! Network policies in vpod, all of which let its pods pass.

use anyhow::Result;
use serde_json::{Value, json};

use super::vpod::Vpod;

impl Vpod {
    /// Writes so many policies and waits until the datapath enforces them.
    pub(super) fn write_policies(&self, count: u32) -> Result<()> {
        self.write_all((0..count).map(policy))
    }
}

/// Selects all pods of the namespace for both directions, and lets them talk to each other. Each allows other ports, so that no two are
/// the same rule; the ports that anything is measured at are in all of them.
fn policy(number: u32) -> Value {
    let rule = |side: &str| {
        json!([{
            side: [{ "podSelector": {} }, { "ipBlock": { "cidr": format!("172.16.{}.0/24", number % 256) } }],
            "ports": [{ "port": 1, "endPort": 65_535 - number }],
        }])
    };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": format!("policy-{number}"), "namespace": Vpod::NAMESPACE },
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": rule("from"),
            "egress": rule("to"),
        },
    })
}
