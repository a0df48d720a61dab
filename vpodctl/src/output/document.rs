//! Objects as JSON and YAML documents, Kubernetes-shaped.
//!
//! Keys come out sorted (so the same object is the same text), and a field without a value is left
//! out, as in kubectl's output.

use protocol::object::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::CliError;

/// Group and version of the kinds that Kubernetes does not have.
pub(crate) const VPOD_API: &str = "vpod/v1";

/// A list of documents, as kubectl wraps them.
pub(crate) fn list(items: Vec<Value>) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items, "metadata": { "resourceVersion": "" } })
}

/// `fields` with the names of its kind; for kinds that Kubernetes does not have.
pub(crate) fn of_kind(kind: &str, fields: &impl Serialize) -> Value {
    let mut object = match serde_json::to_value(fields) {
        Ok(Value::Object(object)) => object,
        Ok(other) => Map::from_iter([("value".to_owned(), other)]),
        Err(error) => Map::from_iter([("error".to_owned(), Value::String(error.to_string()))]),
    };
    // The envelope needs the name `kind`; what a port is for becomes its `type`.
    if let Some(value) = object.remove("kind") {
        object.insert("type".to_owned(), value);
    }
    object.insert("apiVersion".to_owned(), VPOD_API.into());
    object.insert("kind".to_owned(), kind.into());
    Value::Object(object)
}

/// RFC 3339.
pub(crate) fn time(at: Timestamp) -> Value {
    Value::String(at.to_string())
}

/// As indented JSON.
pub(crate) fn json(document: &Value) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(&pruned(document.clone()))
        .map_err(|error| CliError::Format { format: "JSON", reason: error.to_string() })?;
    Ok(text + "\n")
}

/// As YAML.
pub(crate) fn yaml(document: &Value) -> Result<String, CliError> {
    serde_saphyr::to_string(&pruned(document.clone()))
        .map_err(|error| CliError::Format { format: "YAML", reason: error.to_string() })
}

fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, pruned(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(pruned).collect()),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}
