//! Namespaces: `get namespaces`.

use protocol::message::{Items, Kind};
use protocol::object::Document;

use super::{Kept, Row, Shape};
use crate::output::table::{Column, column};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shaped;
pub(crate) type Namespaces = Kept<Shaped>;

impl Shape for Shaped {
    const KIND: Kind = Kind::Namespaces;
    const COLUMNS: &'static [Column] = &[column("NAME"), column("STATUS"), column("AGE")];

    fn documents(items: Items) -> Option<Vec<Document>> {
        let Items::Namespaces(rows) = items else { return None };
        Some(rows)
    }

    fn cells(row: &Row) -> Vec<String> {
        vec![row.document.name.to_string(), row.text("/status/phase")]
    }
}
