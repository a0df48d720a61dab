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
            self.pods.to_string(),
            self.pod_cidr.to_string(),
            self.version.clone(),
            addresses(self),
            self.gateway.to_string(),
            self.pod_mtu.to_string(),
            self.kernel.clone(),
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
                "conditions": [{ "type": "Ready", "status": if self.ready { "True" } else { "False" } }],
                "gateway": self.gateway,
                "nodeInfo": { "kernelVersion": self.kernel, "vpodVersion": self.version },
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
        ("Pod MTU:", node.pod_mtu.to_string()),
        ("Pods:", node.pods.to_string()),
        ("Version:", node.version.clone()),
        ("Kernel:", node.kernel.clone()),
    ];
    for (label, value) in rows {
        let _ = writeln!(text, "{label:<12} {value}");
    }
    text
}

pub(crate) const fn readiness(node: &Node) -> &'static str {
    if node.ready { "Ready" } else { "NotReady" }
}

pub(crate) fn addresses(node: &Node) -> String {
    or_none(node.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
