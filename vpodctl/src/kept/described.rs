//! What `describe service` says beyond the object's own fields: who could serve it, in which state, and where; what is true of it
//! now, and since when.

use std::fmt::Write as _;

use protocol::object::Timestamp;
use serde_json::Value;

use super::{Row, joined, pairs};
use crate::output::{age, or_none, table};

/// The label that says whose slice it is.
const SERVICE: &str = "/metadata/labels/kubernetes.io~1service-name";
/// So many endpoints are listed; then how many more there are.
const SHOWN: usize = 100;

/// `Label:            value`.
pub(super) fn line(text: &mut String, label: &str, value: &str) {
    // Into a string nothing fails.
    let _ = writeln!(text, "{label:<17} {value}");
}

/// What every object has.
pub(crate) fn head(row: &Row, now: Timestamp) -> String {
    let mut text = String::new();
    let created = row.document.created;
    line(&mut text, "Name:", row.document.name.as_str());
    if row.document.namespace.is_some() {
        line(&mut text, "Namespace:", &row.namespace());
    }
    line(&mut text, "Labels:", &or_none(joined(&row.labels())));
    line(&mut text, "Annotations:", &or_none(joined(&pairs(row.value.pointer("/metadata/annotations")))));
    line(&mut text, "Created:", &format!("{created} ({} ago)", age::human(created.until(now))));
    text
}

/// As a part of something longer.
pub(crate) fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| all + "  " + line + "\n")
}

/// A table of the endpoints in the slices of service `name`, with its title; empty if there are none.
pub(crate) fn endpoints<'a>(name: &str, slices: impl IntoIterator<Item = &'a Row>) -> String {
    let header = ["  ADDRESS", "PORTS", "STATE", "NODE", "TARGET"].map(str::to_owned).to_vec();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for slice in slices.into_iter().filter(|slice| slice.text(SERVICE) == name) {
        let ports = ports(slice);
        rows.extend(slice.list("/endpoints").iter().flat_map(|endpoint| cells(endpoint, &ports)));
    }
    if rows.is_empty() {
        return String::new();
    }
    rows.sort();
    let more = rows.len().saturating_sub(SHOWN);
    rows.truncate(SHOWN);
    let lines = table::aligned(std::iter::once(header).chain(rows).collect()).concat();
    let more = if more > 0 { format!("  and {more} more\n") } else { String::new() };
    format!("\nEndpoints:\n{lines}{more}")
}

/// `http 8080/TCP`.
fn ports(slice: &Row) -> String {
    let word = |port: &Value| {
        let name = port["name"].as_str().filter(|name| !name.is_empty());
        let number = format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"));
        name.map_or_else(|| number.clone(), |name| format!("{name} {number}"))
    };
    or_none(slice.list("/ports").iter().map(word).collect::<Vec<_>>().join(","))
}

fn cells<'a>(endpoint: &'a Value, ports: &'a str) -> impl Iterator<Item = Vec<String>> + 'a {
    let text = |path: &str| endpoint.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let target = match (text("/targetRef/namespace"), text("/targetRef/name")) {
        (_, name) if name.is_empty() => String::new(),
        (namespace, name) => format!("{}/{namespace}/{name}", text("/targetRef/kind").to_ascii_lowercase()),
    };
    let node = or_none(text("/nodeName"));
    let addresses = endpoint["addresses"].as_array().into_iter().flatten().filter_map(Value::as_str);
    addresses.map(move |address| {
        let address = format!("  {address}");
        vec![address, ports.to_owned(), state(endpoint).to_owned(), node.clone(), or_none(target.clone())]
    })
}

/// In one word. A condition that is not given is as Kubernetes takes it: ready, and not terminating.
fn state(endpoint: &Value) -> &'static str {
    let condition = |name: &str| endpoint["conditions"][name].as_bool();
    let ready = condition("ready").unwrap_or(true);
    let serving = condition("serving").unwrap_or(ready);
    match (condition("terminating").unwrap_or(false), serving, ready) {
        (true, true, _) => "Draining",
        (true, false, _) => "Terminating",
        (false, _, true) => "Ready",
        (false, _, false) => "NotReady",
    }
}

/// A table of its conditions, with its title; empty if there are none.
pub(crate) fn conditions(row: &Row, now: Timestamp) -> String {
    let all = row.list("/status/conditions");
    if all.is_empty() {
        return String::new();
    }
    let header = ["  TYPE", "STATUS", "REASON", "AGE", "MESSAGE"].map(str::to_owned).to_vec();
    let cells = |condition: &Value| {
        let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
        let since: Option<Timestamp> = serde_json::from_value(condition["lastTransitionTime"].clone()).ok();
        let since = since.map(|since| age::human(since.until(now))).unwrap_or_default();
        let name = format!("  {}", text("type").trim_start_matches("vpod.io/"));
        vec![name, text("status"), text("reason"), since, text("message")]
    };
    let lines = table::aligned(std::iter::once(header).chain(all.iter().map(cells)).collect());
    format!("\nConditions:\n{}", lines.concat())
}
