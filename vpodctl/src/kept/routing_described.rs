//! `describe` of what the ingress reads: an Ingress with its rules, their backends and the endpoints of those; of all kinds what is
//! not in force, and why.

use std::fmt::Write as _;

use protocol::message::Kind;
use protocol::object::Timestamp;
use serde_json::Value;

use super::Row;
use super::described::{head, indented, line};
use super::endpoints::addresses as endpoints_of;
use super::routing::{addresses, class};
use crate::error::CliError;
use crate::output::{document, or_none};

/// The condition that says what of an Ingress is not in force.
const REFUSED: &str = "vpod.io/Refused";
/// So many endpoints of a backend are listed.
const SHOWN: usize = 3;

/// What else there is in the namespace.
pub(crate) struct Around<'a> {
    pub(crate) services: &'a [&'a Row],
    pub(crate) endpoints: &'a [&'a Row],
}

/// Everything about an object of a kind.
pub(crate) fn describe(
    kind: Kind,
    row: &Row,
    around: &Around<'_>,
    now: Timestamp,
) -> Result<String, CliError> {
    let mut text = head(row, now);
    match kind {
        Kind::Ingresses => ingress(&mut text, row, around),
        Kind::Secrets => secret(&mut text, row),
        _ => {
            let spec = document::yaml(row.value.get("spec").unwrap_or(&Value::Null))?;
            let _ = write!(text, "Spec:\n{}", indented(&spec));
        }
    }
    conditions(&mut text, row);
    Ok(text)
}

fn secret(text: &mut String, row: &Row) {
    line(text, "Type:", &row.text("/type"));
    text.push_str("Data:\n");
    for (key, value) in row.value.pointer("/data").and_then(Value::as_object).into_iter().flatten() {
        // Four characters are three bytes; the values are nobody's here.
        let encoded = value.as_str().unwrap_or_default();
        let padding = encoded.bytes().rev().take_while(|byte| *byte == b'=').count();
        let _ = writeln!(text, "  {key}: {} bytes", (encoded.len() / 4 * 3).saturating_sub(padding));
    }
}

fn ingress(text: &mut String, row: &Row, around: &Around<'_>) {
    line(text, "Ingress Class:", &or_none(class(row)));
    line(text, "Address:", &addresses(row, "/status/loadBalancer/ingress", "ip").join(","));
    let default = row.value.pointer("/spec/defaultBackend");
    line(
        text,
        "Default Backend:",
        &default.map_or_else(|| "<default>".to_owned(), |one| backend(one, around)),
    );
    let tls = row.list("/spec/tls");
    if !tls.is_empty() {
        text.push_str("TLS:\n");
    }
    for one in tls {
        let hosts: Vec<&str> =
            one["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let hosts = if hosts.is_empty() { "any host".to_owned() } else { hosts.join(",") };
        let _ = match one["secretName"].as_str() {
            Some(secret) => writeln!(text, "  {secret} terminates {hosts}"),
            None => writeln!(text, "  SNI routes {hosts}"),
        };
    }
    let rules = row.list("/spec/rules");
    if !rules.is_empty() {
        text.push_str("Rules:\n  Host\n    Path  Backend\n");
    }
    for rule in rules {
        let _ = writeln!(text, "  {}", rule["host"].as_str().filter(|host| !host.is_empty()).unwrap_or("*"));
        for path in rule.pointer("/http/paths").and_then(Value::as_array).into_iter().flatten() {
            let shown = path["path"].as_str().unwrap_or("/");
            let kind = path["pathType"].as_str().unwrap_or_default();
            let _ = writeln!(text, "    {shown} ({kind})  {}", backend(&path["backend"], around));
        }
    }
}

/// `web:80 (10.244.0.5:8080,10.244.0.6:8080)`.
fn backend(backend: &Value, around: &Around<'_>) -> String {
    let Some(service) = backend["service"]["name"].as_str() else {
        let text = |key: &str| backend["resource"][key].as_str().unwrap_or_default();
        return format!("{}/{} (only services are served)", text("kind"), text("name"));
    };
    let port = &backend["service"]["port"];
    let named = port["name"].as_str().filter(|name| !name.is_empty());
    let shown = named.map_or_else(|| port["number"].to_string(), str::to_owned);
    let of_name = |row: &&&Row| row.document.name.as_str() == service;
    let Some(known) = around.services.iter().find(of_name) else {
        return format!("{service}:{shown} (<error: services \"{service}\" not found>)");
    };
    let is_meant = |known: &&Value| match named {
        Some(name) => known["name"] == name,
        None => known["port"] == port["number"],
    };
    let Some(port) = known.list("/spec/ports").iter().find(is_meant) else {
        return format!("{service}:{shown} (<error: the service has no such port>)");
    };
    let row = around.endpoints.iter().find(of_name);
    let mut all = row.map(|row| endpoints_of(row, port["name"].as_str(), "TCP")).unwrap_or_default();
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    let more = if more > 0 { format!(" + {more} more...") } else { String::new() };
    format!("{service}:{shown} ({}{more})", all.join(","))
}

/// Of the object, of its listeners and at its parents.
fn conditions(text: &mut String, row: &Row) {
    let refused: Vec<&str> = row
        .list("/status/conditions")
        .iter()
        .filter(|one| one["type"] == REFUSED)
        .filter_map(|one| one["message"].as_str())
        .collect();
    if !refused.is_empty() {
        text.push_str("Problems:\n");
        refused.iter().for_each(|message| {
            let _ = writeln!(text, "  {message}");
        });
    }
    table(text, "Conditions:", row.list("/status/conditions"));
    for listener in row.list("/status/listeners") {
        let title = format!(
            "Listener {} ({} routes):",
            listener["name"].as_str().unwrap_or_default(),
            listener["attachedRoutes"]
        );
        table(text, &title, listener["conditions"].as_array().map_or(&[], Vec::as_slice));
    }
    for parent in row.list("/status/parents") {
        let title = format!("At {}:", parent["parentRef"]["name"].as_str().unwrap_or_default());
        table(text, &title, parent["conditions"].as_array().map_or(&[], Vec::as_slice));
    }
}

fn table(text: &mut String, title: &str, all: &[Value]) {
    let mut shown = all.iter().filter(|one| one["type"] != REFUSED).peekable();
    if shown.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "{title}");
    for one in shown {
        let word = |key: &str| one[key].as_str().unwrap_or_default();
        let line = format!(
            "  {:<14} {:<6} {:<24} {}",
            word("type"),
            word("status"),
            word("reason"),
            word("message")
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
