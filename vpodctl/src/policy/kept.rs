//! `get` and `describe` of NetworkPolicy and ClusterNetworkPolicy.

use std::fmt::Write as _;

use protocol::message::{Items, Kind};
use protocol::object::{Document, Timestamp};
use serde_json::Value;

use crate::error::CliError;
use crate::kept::described::{head, indented};
use crate::kept::{Kept, Row, Shape};
use crate::output::table::{Column, all_namespaces, column};
use crate::output::{document, or_none};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetworkPolicyShape;
pub(crate) type NetworkPolicies = Kept<NetworkPolicyShape>;

impl Shape for NetworkPolicyShape {
    const KIND: Kind = Kind::NetworkPolicies;
    const COLUMNS: &'static [Column] = &[
        all_namespaces("NAMESPACE"),
        column("NAME"),
        column("POD-SELECTOR"),
        column("TYPES"),
        column("AGE"),
    ];

    fn documents(items: Items) -> Option<Vec<Document>> {
        documents(items, Self::KIND)
    }

    fn cells(row: &Row) -> Vec<String> {
        let types: Vec<&str> = row.list("/spec/policyTypes").iter().filter_map(Value::as_str).collect();
        vec![
            row.namespace(),
            row.document.name.to_string(),
            or_none(selector(row.value.pointer("/spec/podSelector"))),
            types.join(","),
        ]
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClusterNetworkPolicyShape;
pub(crate) type ClusterNetworkPolicies = Kept<ClusterNetworkPolicyShape>;

impl Shape for ClusterNetworkPolicyShape {
    const KIND: Kind = Kind::ClusterNetworkPolicies;
    const COLUMNS: &'static [Column] = &[
        column("NAME"),
        column("TIER"),
        column("ORDER"),
        column("NAMESPACE-SELECTOR"),
        column("POD-SELECTOR"),
        column("TYPES"),
        column("AGE"),
    ];

    fn documents(items: Items) -> Option<Vec<Document>> {
        documents(items, Self::KIND)
    }

    fn cells(row: &Row) -> Vec<String> {
        let number = |path| row.value.pointer(path).and_then(Value::as_u64).unwrap_or_default().to_string();
        let has = |key: &str| row.value["spec"].get(key).is_some();
        let types = [("ingress", "Ingress"), ("egress", "Egress")];
        let types: Vec<&str> = types.into_iter().filter(|(key, _)| has(key)).map(|(_, word)| word).collect();
        vec![
            row.document.name.to_string(),
            number("/spec/tier"),
            number("/spec/order"),
            or_none(selector(row.value.pointer("/spec/namespaceSelector"))),
            or_none(selector(row.value.pointer("/spec/podSelector"))),
            types.join(","),
        ]
    }
}

fn documents(items: Items, wanted: Kind) -> Option<Vec<Document>> {
    match items {
        Items::Documents(kind, rows) if kind == wanted => Some(rows),
        _ => None,
    }
}

/// `app=web,tier in (a,b),!old`, as `-l` takes it; nothing where all are selected.
fn selector(value: Option<&Value>) -> String {
    let Some(value) = value else { return String::new() };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = value["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> = labels.map(|(key, value)| format!("{key}={}", text(value))).collect();
    for one in value["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(&one["key"]);
        let values: Vec<String> = one["values"].as_array().into_iter().flatten().map(text).collect();
        let values = values.join(",");
        parts.push(match one["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key,
            _ => format!("!{key}"),
        });
    }
    parts.join(",")
}

/// Everything about a policy: what it says, whom it selects, what of it is about nothing.
pub(crate) fn describe(row: &Row, now: Timestamp) -> Result<String, CliError> {
    let mut text = head(row, now);
    let spec = document::yaml(row.value.get("spec").unwrap_or(&Value::Null))?;
    // Into a string nothing fails.
    let _ = write!(text, "Spec:\n{}", indented(&spec));
    let Some(status) = row.value.get("status").filter(|status| status.is_object()) else {
        text += "Selected pods:    not known yet\n";
        return Ok(text);
    };
    let number = |key: &str| status[key].as_u64().unwrap_or_default();
    let pods: Vec<&str> =
        status["selectedPods"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let selected = number("selected");
    let _ = writeln!(text, "Selected pods:    {selected}");
    for pod in &pods {
        let _ = writeln!(text, "  {pod}");
    }
    let others = selected.saturating_sub(pods.len() as u64);
    if others > 0 {
        let _ = writeln!(text, "  and {others} more");
    }
    let _ = writeln!(text, "Denied packets:   {} on this node", number("deniedPackets"));
    let notes = status["notes"].as_array().map_or(&[][..], Vec::as_slice);
    if !notes.is_empty() {
        text += "Notes:\n";
    }
    for note in notes {
        let part = |key: &str| note[key].as_str().unwrap_or_default();
        let _ = writeln!(text, "  {}: {}", part("field"), part("message"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_written_as_people_type_them() {
        let value = json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["a", "b"] },
                { "key": "env", "operator": "NotIn", "values": ["test"] },
                { "key": "x", "operator": "Exists" },
                { "key": "y", "operator": "DoesNotExist" },
            ],
        });
        assert_eq!(selector(Some(&value)), "app=web,tier in (a,b),env notin (test),x,!y");
        assert_eq!(selector(Some(&json!({}))), "");
        assert_eq!(selector(None), "");
    }
}
