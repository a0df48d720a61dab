//! The normal form of an object: defaults filled in, as the API server does before it stores one.
//!
//! What is wrong stays as it is, so that it is found and named by reading. Empty selectors and lists stay empty, absent
//! ones absent.

use serde_json::{Map, Value, json};

use super::PolicyKind;

pub(super) fn normal(kind: PolicyKind, value: &Value) -> Value {
    let mut value = without_nulls(value);
    let Some(object) = value.as_object_mut() else { return value };
    object.remove("status");
    if kind == PolicyKind::NetworkPolicy
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.entry("namespace").or_insert_with(|| json!("default"));
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return value };
    spec.entry("podSelector").or_insert_with(|| json!({}));
    if kind == PolicyKind::NetworkPolicy {
        policy_types(spec);
    }
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction).filter_map(Value::as_object_mut) {
            for port in items(rule, "ports").filter_map(Value::as_object_mut) {
                port.entry("protocol").or_insert_with(|| json!("TCP"));
            }
        }
    }
    value
}

/// `Ingress` always, `Egress` where there are rules for it (networking/v1, `SetDefaults_NetworkPolicy`).
fn policy_types(spec: &mut Map<String, Value>) {
    let types = spec.get("policyTypes");
    if types.is_none() || types.and_then(Value::as_array).is_some_and(Vec::is_empty) {
        let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
        let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
}

fn items<'v>(
    fields: &'v mut Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = &'v mut Value> + use<'v> {
    fields.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Fields only: a null in a list is an item, and wrong.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(field, value)| (field.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
