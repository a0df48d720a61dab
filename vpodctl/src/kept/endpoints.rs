//! Endpoints: `get endpoints`, one row a service, and `get endpointslices`.

use protocol::message::{Items, Kind};
use protocol::object::Document;
use serde_json::Value;

use super::{Kept, Row, Shape};
use crate::output::or_none;
use crate::output::table::{Column, all_namespaces, column};

/// So many are listed in a table; then how many more there are.
const SHOWN: usize = 3;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WholeShape;
pub(crate) type Endpoints = Kept<WholeShape>;

impl Shape for WholeShape {
    const KIND: Kind = Kind::Endpoints;
    const COLUMNS: &'static [Column] =
        &[all_namespaces("NAMESPACE"), column("NAME"), column("ENDPOINTS"), column("AGE")];

    fn documents(items: Items) -> Option<Vec<Document>> {
        let Items::Endpoints(rows) = items else { return None };
        Some(rows)
    }

    fn cells(row: &Row) -> Vec<String> {
        vec![row.namespace(), row.document.name.to_string(), shortened(all_addresses(row))]
    }
}

/// Ready `address:port` of all ports.
fn all_addresses(row: &Row) -> Vec<String> {
    let mut all = Vec::new();
    for subset in row.list("/subsets") {
        for port in subset["ports"].as_array().into_iter().flatten() {
            all.extend(at(subset, port));
        }
    }
    all
}

fn at<'a>(subset: &'a Value, port: &'a Value) -> impl Iterator<Item = String> + 'a {
    let all = subset["addresses"].as_array().into_iter().flatten();
    all.filter_map(move |address| Some(format!("{}:{}", address["ip"].as_str()?, port["port"])))
}

/// Ready `address:port` of one port of the service.
pub(crate) fn addresses(row: &Row, name: Option<&str>, protocol: &str) -> Vec<String> {
    let mut all = Vec::new();
    for subset in row.list("/subsets") {
        let ports = subset["ports"].as_array().into_iter().flatten();
        for port in ports.filter(|port| port["name"].as_str() == name && port["protocol"] == protocol) {
            all.extend(at(subset, port));
        }
    }
    all
}

fn shortened(all: Vec<String>) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let text = or_none(all.into_iter().take(SHOWN).collect::<Vec<_>>().join(","));
    if more == 0 { text } else { format!("{text} + {more} more...") }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SliceShape;
pub(crate) type Slices = Kept<SliceShape>;

impl Shape for SliceShape {
    const KIND: Kind = Kind::EndpointSlices;
    const COLUMNS: &'static [Column] = &[
        all_namespaces("NAMESPACE"),
        column("NAME"),
        column("ADDRESSTYPE"),
        column("PORTS"),
        column("ENDPOINTS"),
        column("AGE"),
    ];

    fn documents(items: Items) -> Option<Vec<Document>> {
        let Items::EndpointSlices(rows) = items else { return None };
        Some(rows)
    }

    fn cells(row: &Row) -> Vec<String> {
        let ports = row.list("/ports").iter().map(|port| port["port"].to_string()).collect::<Vec<_>>();
        let first = |endpoint: &Value| endpoint["addresses"][0].as_str().map(str::to_owned);
        let ends: Vec<String> = row.list("/endpoints").iter().filter_map(first).collect();
        vec![
            row.namespace(),
            row.document.name.to_string(),
            row.text("/addressType"),
            or_none(ports.join(",")),
            shortened(ends),
        ]
    }
}
