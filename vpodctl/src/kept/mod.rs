//! Kinds that the daemon keeps as Kubernetes writes them: their tables are made from the object itself.

pub(crate) mod described;
pub(crate) mod endpoints;
mod namespace;
pub(crate) mod routing;
pub(crate) mod routing_described;
pub(crate) mod service;

use std::collections::BTreeMap;

use protocol::message::{Items, Kind};
use protocol::object::{Document, ServiceCounters, Timestamp};
use serde_json::Value;

use crate::cli::kind;
use crate::output::table::Column;
use crate::output::{Resource, age};

pub(crate) use endpoints::{Endpoints, Slices};
pub(crate) use namespace::Namespaces;
pub(crate) use routing::{GatewayClasses, Gateways, HttpRoutes, IngressClasses, Ingresses, Secrets};
pub(crate) use service::Services;

/// What differs from kind to kind.
pub(crate) trait Shape: Clone + PartialEq {
    const KIND: Kind;
    const COLUMNS: &'static [Column];

    fn documents(items: Items) -> Option<Vec<Document>>;
    /// One text per column, without the age.
    fn cells(row: &Row) -> Vec<String>;
    /// `-o wide` says what they have to do.
    const HAS_TRAFFIC: bool = false;
}

/// An object, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) document: Document,
    pub(crate) value: Value,
    /// What it has to do on this node, if that was asked for and is known.
    pub(crate) traffic: Option<ServiceCounters>,
}

impl Row {
    pub(crate) fn new(document: Document) -> Self {
        let value = serde_json::from_str(&document.json).unwrap_or_default();
        Self { document, value, traffic: None }
    }

    pub(crate) fn text(&self, path: &str) -> String {
        self.value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub(crate) fn list(&self, path: &str) -> &[Value] {
        self.value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        pairs(self.value.pointer("/metadata/labels"))
    }

    pub(crate) fn namespace(&self) -> String {
        self.document.namespace.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// The text values of an object.
pub(crate) fn pairs(value: Option<&Value>) -> BTreeMap<String, String> {
    let all = value.and_then(Value::as_object).into_iter().flatten();
    all.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// `a=b,c=d`.
pub(crate) fn joined(pairs: &BTreeMap<String, String>) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A row of kind `S`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept<S> {
    pub(crate) row: Row,
    shape: std::marker::PhantomData<S>,
}

/// A row that is an object.
pub(crate) trait AsRow {
    fn as_row(&self) -> &Row;
}

impl<S> AsRow for Kept<S> {
    fn as_row(&self) -> &Row {
        &self.row
    }
}

/// Where the age is among the columns, from the end, counted over those that are always shown.
impl<S: Shape> Resource for Kept<S> {
    const KIND: Kind = S::KIND;
    const COLUMNS: &'static [Column] = S::COLUMNS;

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let rows = S::documents(items)?.into_iter();
        Some(rows.map(|document| Self { row: Row::new(document), shape: std::marker::PhantomData }).collect())
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let mut cells = S::cells(&self.row);
        let at = S::COLUMNS.iter().position(|column| column.title == "AGE").unwrap_or(cells.len());
        cells.insert(at.min(cells.len()), age::human(self.row.document.created.until(now)));
        cells
    }

    fn id(&self) -> String {
        let Document { namespace, name, .. } = &self.row.document;
        namespace.as_ref().map_or_else(|| name.to_string(), |namespace| format!("{namespace}/{name}"))
    }

    fn is_named(&self, name: &str) -> bool {
        self.row.document.name.as_str() == name
    }

    fn document(&self) -> Value {
        self.row.value.clone()
    }

    /// What it has to do changes all the time.
    fn differs(&self, earlier: &Self) -> bool {
        self.row.document != earlier.row.document
    }

    /// As kubectl has it: without the namespace, which the request has named.
    fn name(&self) -> String {
        format!("{}/{}", kind::names(S::KIND).singular, self.row.document.name)
    }
}
