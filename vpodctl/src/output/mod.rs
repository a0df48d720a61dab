//! What the printers share: one trait per kind of object, tables, documents, ages.

pub(crate) mod age;
pub(crate) mod document;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::io::Write as _;

use clap::ValueEnum;
use protocol::message::{Items, Kind};
use protocol::object::Timestamp;
use serde_json::Value;

use crate::cli::kind;
use crate::error::CliError;
use table::{Column, View};

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// More columns
    Wide,
    /// JSON, for programs
    Json,
    /// YAML
    Yaml,
    /// KIND/NAME, one a line
    Name,
}

/// An object with its table and its document: the one printer of its kind.
pub(crate) trait Resource: Clone + PartialEq {
    const KIND: Kind;
    /// Columns of its table, in order.
    const COLUMNS: &'static [Column];

    /// The rows of a page, if it is a page of this kind.
    fn from_items(items: Items) -> Option<Vec<Self>>;
    /// One text per column.
    fn cells(&self, now: Timestamp) -> Vec<String>;
    /// What tells it apart from every other row of its kind.
    fn id(&self) -> String;
    /// Whether `name` on the command line means this row.
    fn is_named(&self, name: &str) -> bool;
    /// Kubernetes-shaped, with `apiVersion` and `kind`.
    fn document(&self) -> Value;
    /// What `-o name` prints.
    fn name(&self) -> String {
        format!("{}/{}", kind::names(Self::KIND).singular, self.id())
    }
    /// A change worth a line of `-w`; rows with an age override it.
    fn differs(&self, earlier: &Self) -> bool {
        self != earlier
    }
    /// How a row that has gone looks in `-w`.
    fn cells_when_gone(&self, now: Timestamp) -> Vec<String> {
        self.cells(now)
    }
}

/// A list as text; `single` prints one object instead of a list of one.
pub(crate) fn render<R: Resource>(
    rows: &[R],
    format: Format,
    view: View,
    single: bool,
    now: Timestamp,
) -> Result<String, CliError> {
    let document = || match rows {
        [row] if single => row.document(),
        rows => document::list(rows.iter().map(R::document).collect()),
    };
    match format {
        Format::Table | Format::Wide => {
            Ok(table::lines::<R>(rows.iter().map(|row| row.cells(now)), view).concat())
        }
        Format::Json => document::json(&document()),
        Format::Yaml => document::yaml(&document()),
        Format::Name => Ok(rows.iter().map(|row| row.name() + "\n").collect()),
    }
}

/// Writes to standard output; a closed pipe is an error that ends the command silently.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes())
}

/// See [`print()`].
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(CliError::Stdout)
}

/// `<none>` where there is nothing, as kubectl prints it.
pub(crate) fn or_none(text: impl Into<String>) -> String {
    let text = text.into();
    if text.is_empty() { "<none>".to_owned() } else { text }
}
