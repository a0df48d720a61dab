//! What people are told about a service beyond what the store has: who announces it, and what of it is not served.

use std::net::Ipv4Addr;
use std::time::Instant;

use protocol::object::Timestamp;
use serde_json::{Value, json};
use store::services::{ObjectRef, Table};

use super::super::super::node::Control;

/// Conditions of a service (`status.conditions`), as they are at this moment.
pub(in super::super) fn conditions(control: &Control, table: &Table, service: &ObjectRef) -> Vec<Value> {
    let mut all = Vec::new();
    let known = control.services.announcing.known.lock();
    let balanced = table.spec(service).filter(|spec| !spec.has_foreign_class && !spec.is_foreign);
    for ip in balanced.iter().flat_map(|spec| &spec.ingress) {
        let address = match ip {
            std::net::IpAddr::V4(v4) => *v4,
            std::net::IpAddr::V6(_) => continue,
        };
        let owner = known.owners.get(&address);
        let is_mine = owner.is_some_and(|(node, _)| *node == control.config.node);
        all.push(match owner {
            Some((node, since)) if is_mine && !known.announced.contains(&address) => {
                let_go(address, node, *since)
            }
            Some((node, since)) if is_mine && known.until.is_some_and(|until| until <= Instant::now()) => {
                overdue(address, node, *since)
            }
            _ => announced(address, owner),
        });
    }
    let left_out = table.problems_of(service).iter();
    all.extend(left_out.map(|text| condition("vpod.io/Served", "False", "LeftOut", text, control.started)));
    all
}

/// This node has it no longer, or does not know.
fn let_go(address: Ipv4Addr, node: &str, since: Timestamp) -> Value {
    let text =
        format!("{node} no longer stands for {address}: it could not renew its lease in the cluster's store");
    condition("vpod.io/Announced", "False", "LeaseLost", &text, since)
}

/// This node has it unless another one does, which only the network can tell.
fn overdue(address: Ipv4Addr, node: &str, since: Timestamp) -> Value {
    let text = format!(
        "{node} stands for {address} until another node does: it could not renew its lease in the cluster's store"
    );
    condition("vpod.io/Announced", "Unknown", "LeaseOverdue", &text, since)
}

fn announced(address: Ipv4Addr, owner: Option<&(String, Timestamp)>) -> Value {
    let name = "vpod.io/Announced";
    match owner {
        Some((node, since)) => {
            condition(name, "True", "Owner", &format!("{address} is announced by {node}"), *since)
        }
        None => {
            let text = format!(
                "nobody announces {address}: no node has an uplink, or a ready endpoint if only such may"
            );
            condition(name, "False", "NoNode", &text, Timestamp::now())
        }
    }
}

fn condition(name: &str, status: &str, reason: &str, message: &str, since: Timestamp) -> Value {
    json!({
        "type": name, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.to_string(),
    })
}
