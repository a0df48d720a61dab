//! What the ingress reads: `get` of Ingress, IngressClass, Secret, GatewayClass, Gateway and HTTPRoute.

use std::collections::BTreeSet;

use protocol::message::{Items, Kind};
use protocol::object::Document;
use serde_json::Value;

use super::{Kept, Row, Shape};
use crate::output::or_none;
use crate::output::table::{Column, all_namespaces, column};

/// So many hosts are listed in a table; then how many more there are.
const SHOWN: usize = 3;

fn routed(items: Items, wanted: Kind) -> Option<Vec<Document>> {
    match items {
        Items::Documents(kind, rows) if kind == wanted => Some(rows),
        _ => None,
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IngressShape;
pub(crate) type Ingresses = Kept<IngressShape>;

impl Shape for IngressShape {
    const KIND: Kind = Kind::Ingresses;
    const COLUMNS: &'static [Column] = &[
        all_namespaces("NAMESPACE"),
        column("NAME"),
        column("CLASS"),
        column("HOSTS"),
        column("ADDRESS"),
        column("PORTS"),
        column("AGE"),
    ];

    fn documents(items: Items) -> Option<Vec<Document>> {
        routed(items, Self::KIND)
    }

    fn cells(row: &Row) -> Vec<String> {
        let mut hosts = BTreeSet::new();
        let rules = row.list("/spec/rules").iter();
        let hosts: Vec<String> = rules
            .filter_map(|rule| rule["host"].as_str().filter(|host| !host.is_empty()))
            .filter(|host| hosts.insert(*host))
            .map(str::to_owned)
            .collect();
        let ports = if row.list("/spec/tls").is_empty() { "80" } else { "80, 443" };
        vec![
            row.namespace(),
            row.document.name.to_string(),
            or_none(class(row)),
            if hosts.is_empty() { "*".to_owned() } else { shortened(&hosts) },
            addresses(row, "/status/loadBalancer/ingress", "ip").join(","),
            ports.to_owned(),
        ]
    }
}

/// The class that an Ingress names.
pub(super) fn class(row: &Row) -> String {
    let named = row.text("/spec/ingressClassName");
    if named.is_empty() { row.text("/metadata/annotations/kubernetes.io~1ingress.class") } else { named }
}

/// Texts of the objects in a list.
pub(super) fn addresses(row: &Row, path: &str, key: &str) -> Vec<String> {
    row.list(path).iter().filter_map(|one| one[key].as_str()).map(str::to_owned).collect()
}

fn shortened(hosts: &[String]) -> String {
    match hosts.get(..SHOWN) {
        Some(shown) if hosts.len() > SHOWN => {
            format!("{} + {} more...", shown.join(","), hosts.len() - SHOWN)
        }
        _ => hosts.join(","),
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IngressClassShape;
pub(crate) type IngressClasses = Kept<IngressClassShape>;

impl Shape for IngressClassShape {
    const KIND: Kind = Kind::IngressClasses;
    const COLUMNS: &'static [Column] =
        &[column("NAME"), column("CONTROLLER"), column("PARAMETERS"), column("AGE")];

    fn documents(items: Items) -> Option<Vec<Document>> {
        routed(items, Self::KIND)
    }

    fn cells(row: &Row) -> Vec<String> {
        let parameters = row.value.pointer("/spec/parameters");
        let text = |key: &str| parameters.and_then(|all| all[key].as_str()).unwrap_or_default();
        let parameters = parameters.map(|_| format!("{}/{}", text("kind"), text("name")));
        vec![
            row.document.name.to_string(),
            row.text("/spec/controller"),
            or_none(parameters.unwrap_or_default()),
        ]
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SecretShape;
pub(crate) type Secrets = Kept<SecretShape>;

impl Shape for SecretShape {
    const KIND: Kind = Kind::Secrets;
    const COLUMNS: &'static [Column] =
        &[all_namespaces("NAMESPACE"), column("NAME"), column("TYPE"), column("DATA"), column("AGE")];

    fn documents(items: Items) -> Option<Vec<Document>> {
        routed(items, Self::KIND)
    }

    fn cells(row: &Row) -> Vec<String> {
        let count = row.value.pointer("/data").and_then(Value::as_object).map_or(0, serde_json::Map::len);
        vec![row.namespace(), row.document.name.to_string(), row.text("/type"), count.to_string()]
    }
}

/// `True`, `False`, or `Unknown` where nobody has said it.
fn condition(row: &Row, name: &str) -> String {
    let found = row.list("/status/conditions").iter().find(|condition| condition["type"] == name);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("Unknown").to_owned()
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GatewayClassShape;
pub(crate) type GatewayClasses = Kept<GatewayClassShape>;

impl Shape for GatewayClassShape {
    const KIND: Kind = Kind::GatewayClasses;
    const COLUMNS: &'static [Column] =
        &[column("NAME"), column("CONTROLLER"), column("ACCEPTED"), column("AGE")];

    fn documents(items: Items) -> Option<Vec<Document>> {
        routed(items, Self::KIND)
    }

    fn cells(row: &Row) -> Vec<String> {
        vec![row.document.name.to_string(), row.text("/spec/controllerName"), condition(row, "Accepted")]
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GatewayShape;
pub(crate) type Gateways = Kept<GatewayShape>;

impl Shape for GatewayShape {
    const KIND: Kind = Kind::Gateways;
    const COLUMNS: &'static [Column] = &[
        all_namespaces("NAMESPACE"),
        column("NAME"),
        column("CLASS"),
        column("ADDRESS"),
        column("PROGRAMMED"),
        column("AGE"),
    ];

    fn documents(items: Items) -> Option<Vec<Document>> {
        routed(items, Self::KIND)
    }

    fn cells(row: &Row) -> Vec<String> {
        vec![
            row.namespace(),
            row.document.name.to_string(),
            row.text("/spec/gatewayClassName"),
            addresses(row, "/status/addresses", "value").join(","),
            condition(row, "Programmed"),
        ]
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpRouteShape;
pub(crate) type HttpRoutes = Kept<HttpRouteShape>;

impl Shape for HttpRouteShape {
    const KIND: Kind = Kind::HttpRoutes;
    const COLUMNS: &'static [Column] =
        &[all_namespaces("NAMESPACE"), column("NAME"), column("HOSTNAMES"), column("AGE")];

    fn documents(items: Items) -> Option<Vec<Document>> {
        routed(items, Self::KIND)
    }

    fn cells(row: &Row) -> Vec<String> {
        let hosts: Vec<String> =
            row.list("/spec/hostnames").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        vec![row.namespace(), row.document.name.to_string(), shortened(&hosts)]
    }
}
