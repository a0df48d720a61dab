//! Machines that run `vswitchd`: `get nodes`, `describe node`.

use std::fmt::Write as _;

use protocol::message::{Items, Kind};
use protocol::object::{Node, Timestamp};
use serde_json::{Value, json};

use crate::output::table::{Column, column, wide};
use crate::output::{Resource, or_none};

impl Resource for Node {
    const KIND: Kind = Kind::Nodes;
    const COLUMNS: &'static [Column] = &[
        column("NAME"),
        column("STATUS"),
        column("PODS"),
        column("POD-CIDR"),
        column("VERSION"),
        wide("INTERNAL-IP"),
        wide("GATEWAY"),
        wide("POD-MTU"),
        wide("KERNEL-VERSION"),
    ];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Nodes(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        vec![
            self.name.clone(),
            readiness(self).to_owned(),
            known(self.pods),
            self.pod_cidr.to_string(),
            or_unknown(&self.version),
            addresses(self),
            self.gateway.to_string(),
            known(self.pod_mtu),
            or_unknown(&self.kernel),
        ]
    }

    fn id(&self) -> String {
        self.name.clone()
    }

    fn is_named(&self, name: &str) -> bool {
        self.name == name
    }

    fn document(&self) -> Value {
        let internal = self.addresses.iter().map(|ip| json!({ "type": "InternalIP", "address": ip }));
        let host = json!({ "type": "Hostname", "address": self.name });
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": self.name },
            "spec": { "podCIDR": self.pod_cidr, "podCIDRs": [self.pod_cidr] },
            "status": {
                "addresses": internal.chain([host]).collect::<Vec<_>>(),
                "conditions": [{ "type": "Ready", "status": condition(self) }],
                "gateway": self.gateway,
                "nodeInfo": { "kernelVersion": said(&self.kernel), "vpodVersion": said(&self.version) },
                "podMTU": self.pod_mtu,
                "pods": self.pods,
            },
        })
    }
}

/// The lines of `describe node`.
pub(crate) fn describe(node: &Node) -> String {
    let mut text = String::new();
    let rows = [
        ("Name:", node.name.clone()),
        ("Status:", readiness(node).to_owned()),
        ("Addresses:", addresses(node)),
        ("Pod CIDR:", node.pod_cidr.to_string()),
        ("Gateway:", node.gateway.to_string()),
        ("Pod MTU:", known(node.pod_mtu)),
        ("Pods:", known(node.pods)),
        ("Version:", or_unknown(&node.version)),
        ("Kernel:", or_unknown(&node.kernel)),
    ];
    for (label, value) in rows {
        let _ = writeln!(text, "{label:<12} {value}");
    }
    text
}

pub(crate) const fn readiness(node: &Node) -> &'static str {
    match node.ready {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
}

/// As in the conditions of Kubernetes.
const fn condition(node: &Node) -> &'static str {
    match node.ready {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    }
}

/// Other nodes do not tell everything.
fn known(value: Option<impl ToString>) -> String {
    or_unknown(&value.map(|value| value.to_string()).unwrap_or_default())
}

fn or_unknown(text: &str) -> String {
    said(text).unwrap_or("<unknown>").to_owned()
}

fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

pub(crate) fn addresses(node: &Node) -> String {
    or_none(node.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
