//! `status` of objects that the ingress reads: where it is reached, and what of them is not in force.

use protocol::message::Kind;
use protocol::object::Document;
use protocol::{ObjectName, ObjectRef};
use routing::{GATEWAY_CONTROLLER, Report, StatusCondition, Verdict};
use serde_json::{Value, json};
use store::services::write::SERVICES;

use super::super::node::Control;
use super::feeding;

/// The service that the ingress is reached by.
const SERVICE: &str = "kube-system/vpod-ingress";
/// Says what of an Ingress is not in force.
const REFUSED: &str = "vpod.io/Refused";

/// Adds the status to rows of a kind.
pub(super) fn complete(control: &Control, kind: Kind, rows: &mut [Document]) {
    if rows.is_empty() || kind == Kind::Secrets || kind == Kind::IngressClasses {
        return;
    }
    let report = {
        // In the order that whoever feeds takes them.
        let state = control.ingress.state.lock();
        let table = control.services.table();
        state.objects.build(&|port| feeding::state_of(&table, port)).1
    };
    let addresses = addresses(control);
    for row in rows {
        let Ok(mut value) = serde_json::from_str::<Value>(&row.json) else { continue };
        if let Some(status) = status(kind, row, &value, &report, &addresses) {
            value["status"] = status;
            row.json = value.to_string();
        }
    }
}

fn status(kind: Kind, row: &Document, value: &Value, report: &Report, addresses: &[Value]) -> Option<Value> {
    let refused =
        routing::check::names(kind).and_then(|names| report.refused.get(&(names.plural, full_name(row))));
    let object = row.namespace.clone().map(|namespace| ObjectRef { namespace, name: row.name.clone() });
    match kind {
        Kind::Ingresses => {
            let verdict = report.ingresses.get(&object?)?;
            let mut status = json!({ "loadBalancer": {} });
            if !addresses.is_empty() {
                status["loadBalancer"]["ingress"] = addresses.iter().map(place).collect();
            }
            let problems = problems(verdict, refused);
            if !problems.is_empty() {
                status["conditions"] = problems.into();
            }
            Some(status)
        }
        Kind::GatewayClasses => {
            let is_ours = value.pointer("/spec/controllerName")?.as_str() == Some(GATEWAY_CONTROLLER);
            let accepted =
                json!({ "type": "Accepted", "status": "True", "reason": "Accepted", "message": "" });
            is_ours.then(|| json!({ "conditions": [accepted] }))
        }
        Kind::Gateways => {
            let verdict = report.gateways.get(&object?)?;
            let mut status = json!({
                "addresses": addresses.iter().filter_map(address).collect::<Vec<_>>(),
                "conditions": conditions(&verdict.conditions),
                "listeners": verdict.listeners.iter().map(|listener| json!({
                    "name": listener.name,
                    "attachedRoutes": listener.attached,
                    "supportedKinds": [{ "group": routing::gateway_api::GROUP, "kind": "HTTPRoute" }],
                    "conditions": conditions(&listener.conditions),
                })).collect::<Vec<_>>(),
            });
            add_refusal(&mut status, refused);
            Some(status)
        }
        Kind::HttpRoutes => {
            let verdict = report.routes.get(&object?)?;
            let parents = verdict.parents.iter().map(|parent| {
                json!({
                    "parentRef": parent.parent,
                    "controllerName": GATEWAY_CONTROLLER,
                    "conditions": conditions(&parent.conditions),
                })
            });
            let mut status = json!({ "parents": parents.collect::<Vec<_>>() });
            add_refusal(&mut status, refused);
            Some(status)
        }
        _ => None,
    }
}

fn full_name(row: &Document) -> String {
    let name: &ObjectName = &row.name;
    row.namespace.as_ref().map_or_else(|| name.to_string(), |namespace| format!("{namespace}/{name}"))
}

/// As an Ingress has it: a service's says more (`ipMode`).
fn place(of_service: &Value) -> Value {
    let known =
        ["ip", "hostname"].into_iter().filter_map(|key| Some((key.to_owned(), of_service.get(key)?.clone())));
    Value::Object(known.collect())
}

/// `{ "ip": … }` as a Gateway has it.
fn address(ingress: &Value) -> Option<Value> {
    let ip = ingress["ip"].as_str()?;
    Some(json!({ "type": "IPAddress", "value": ip }))
}

fn conditions(all: &[StatusCondition]) -> Vec<Value> {
    let written = |one: &StatusCondition| {
        let holds = if one.holds { "True" } else { "False" };
        json!({ "type": one.type_, "status": holds, "reason": one.reason, "message": one.message })
    };
    all.iter().map(written).collect()
}

fn refusal(message: String) -> Value {
    json!({ "type": REFUSED, "status": "True", "reason": "Invalid", "message": message })
}

fn problems(verdict: &Verdict, refused: Option<&String>) -> Vec<Value> {
    let whole = refused.map(|why| refusal(format!("as it is now it is not followed: {why}")));
    let parts = verdict.problems.iter().map(|problem| refusal(problem.to_string()));
    whole.into_iter().chain(parts).collect()
}

fn add_refusal(status: &mut Value, refused: Option<&String>) {
    let Some(why) = refused else { return };
    let refusal = refusal(format!("as it is now it is not followed: {why}"));
    match status["conditions"].as_array_mut() {
        Some(all) => all.push(refusal),
        None => status["conditions"] = json!([refusal]),
    }
}

/// `status.loadBalancer.ingress` of the ingress's service.
fn addresses(control: &Control) -> Vec<Value> {
    let entry = control.services.store().get(&format!("{SERVICES}{SERVICE}")).ok().flatten();
    let value: Option<Value> = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
    let all =
        value.as_ref().and_then(|value| value.pointer("/status/loadBalancer/ingress")?.as_array().cloned());
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_has_a_name_that_can_be_one() {
        assert!(ObjectRef::parse(SERVICE).is_some());
    }
}
