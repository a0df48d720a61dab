//! Services: `get services` and `describe service`.

use std::fmt::Write as _;

use protocol::message::{Items, Kind};
use protocol::object::{Document, Timestamp};
use serde_json::Value;

use super::endpoints::addresses;
use super::{Kept, Row, Shape, joined, pairs};
use crate::output::table::{Column, all_namespaces, column, wide};
use crate::output::{age, or_none};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shaped;
pub(crate) type Services = Kept<Shaped>;

impl Shape for Shaped {
    const KIND: Kind = Kind::Services;
    const COLUMNS: &'static [Column] = &[
        all_namespaces("NAMESPACE"),
        column("NAME"),
        column("TYPE"),
        column("CLUSTER-IP"),
        column("EXTERNAL-IP"),
        column("PORT(S)"),
        column("AGE"),
        wide("SELECTOR"),
        wide("ENDPOINTS"),
        wide("ANNOUNCED-BY"),
        wide("CONNS"),
        wide("PKTS-IN"),
        wide("PKTS-OUT"),
        wide("BYTES-IN"),
        wide("BYTES-OUT"),
    ];
    const HAS_TRAFFIC: bool = true;

    fn documents(items: Items) -> Option<Vec<Document>> {
        let Items::Services(rows) = items else { return None };
        Some(rows)
    }

    fn cells(row: &Row) -> Vec<String> {
        let mut cells = vec![
            row.namespace(),
            row.document.name.to_string(),
            row.text("/spec/type"),
            or_none(row.text("/spec/clusterIP")),
            external(row),
            or_none(row.list("/spec/ports").iter().map(port).collect::<Vec<_>>().join(",")),
            or_none(joined(&pairs(row.value.pointer("/spec/selector")))),
            format!("{}/{}", row.document.ready, row.document.endpoints),
            or_none(announcers(row).join(",")),
        ];
        cells.extend(traffic(row));
        cells
    }
}

/// In the order of `ipvsadm --stats`, on this node.
fn traffic(row: &Row) -> [String; 5] {
    let Some(all) = &row.traffic else { return std::array::from_fn(|_| "<unknown>".to_owned()) };
    let numbers = [all.connections, all.packets_in, all.packets_out, all.bytes_in, all.bytes_out];
    numbers.map(|number| number.to_string())
}

/// As kubectl shows it.
fn external(row: &Row) -> String {
    let mut all: Vec<String> = ingress(row);
    all.extend(row.list("/spec/externalIPs").iter().filter_map(Value::as_str).map(str::to_owned));
    match row.text("/spec/type").as_str() {
        "ExternalName" => row.text("/spec/externalName"),
        "LoadBalancer" if all.is_empty() => "<pending>".to_owned(),
        _ => or_none(all.join(",")),
    }
}

fn ingress(row: &Row) -> Vec<String> {
    let all = row.list("/status/loadBalancer/ingress").iter();
    all.filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str())).map(str::to_owned).collect()
}

/// The nodes that announce its addresses.
fn announcers(row: &Row) -> Vec<String> {
    let of = conditions(row).filter(|(name, _)| *name == "vpod.io/Announced");
    of.filter_map(|(_, text)| Some(text.split_once(" is announced by ")?.1.to_owned())).collect()
}

/// Types and messages of its conditions.
fn conditions(row: &Row) -> impl Iterator<Item = (&str, &str)> {
    let all = row.list("/status/conditions").iter();
    all.filter_map(|one| Some((one["type"].as_str()?, one["message"].as_str()?)))
}

/// `80:30080/TCP`.
fn port(port: &Value) -> String {
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    match port["nodePort"].as_u64() {
        Some(node_port) => format!("{}:{node_port}/{protocol}", port["port"]),
        None => format!("{}/{protocol}", port["port"]),
    }
}

/// Everything about a service; `endpoints` are those of its name, if there are any.
pub(crate) fn describe(service: &Services, endpoints: Option<&Row>, now: Timestamp) -> String {
    let row = &service.row;
    let created = row.document.created;
    let annotations = joined(&pairs(row.value.pointer("/metadata/annotations")));
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{label:<25} {value}");
        }
    };
    line("Name:", row.document.name.to_string());
    line("Namespace:", row.namespace());
    line("Labels:", or_none(joined(&row.labels())));
    line("Annotations:", or_none(annotations));
    line("Created:", format!("{created} ({} ago)", age::human(created.until(now))));
    line("Selector:", or_none(joined(&pairs(row.value.pointer("/spec/selector")))));
    line("Type:", row.text("/spec/type"));
    line("External Name:", row.text("/spec/externalName"));
    line("IP:", row.text("/spec/clusterIP"));
    line("External IPs:", {
        let all = row.list("/spec/externalIPs").iter().filter_map(Value::as_str);
        all.collect::<Vec<_>>().join(",")
    });
    line("LoadBalancer Ingress:", ingress(row).join(","));
    line("LoadBalancer Class:", row.text("/spec/loadBalancerClass"));
    for port in row.list("/spec/ports") {
        let name = port["name"].as_str().unwrap_or("<unset>");
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        line("Port:", format!("{name}  {}/{protocol}", port["port"]));
        let target =
            port["targetPort"].as_str().map_or_else(|| port["targetPort"].to_string(), str::to_owned);
        line("TargetPort:", format!("{target}/{protocol}"));
        if !port["nodePort"].is_null() {
            line("NodePort:", format!("{name}  {}/{protocol}", port["nodePort"]));
        }
        let found = endpoints.map(|row| addresses(row, port["name"].as_str(), protocol)).unwrap_or_default();
        line("Endpoints:", or_none(found.join(",")));
    }
    line("Session Affinity:", affinity(row));
    line("External Traffic Policy:", row.text("/spec/externalTrafficPolicy"));
    line("HealthCheck NodePort:", {
        row.value.pointer("/spec/healthCheckNodePort").map(ToString::to_string).unwrap_or_default()
    });
    let sources = row.list("/spec/loadBalancerSourceRanges").iter().filter_map(Value::as_str);
    line("Source Ranges:", sources.collect::<Vec<_>>().join(","));
    line("Internal Traffic Policy:", row.text("/spec/internalTrafficPolicy"));
    line("Traffic Distribution:", row.text("/spec/trafficDistribution"));
    if row.value.pointer("/spec/publishNotReadyAddresses") == Some(&Value::Bool(true)) {
        line("Not Ready Addresses:", "published".to_owned());
    }
    for (name, message) in conditions(row) {
        line(&format!("{}:", word(name)), message.to_owned());
    }
    text
}

/// `ClientIP (10800 s)`.
fn affinity(row: &Row) -> String {
    let time = row.value.pointer("/spec/sessionAffinityConfig/clientIP/timeoutSeconds");
    let kind = row.text("/spec/sessionAffinity");
    match time {
        Some(seconds) if kind == "ClientIP" => format!("{kind} ({seconds} s)"),
        _ => kind,
    }
}

/// What conditions are called here.
fn word(condition: &str) -> &str {
    match condition {
        "vpod.io/LoadBalancerAddress" => "Pending",
        "vpod.io/Announced" => "Announcement",
        "vpod.io/Served" => "Left Out",
        other => other,
    }
}
