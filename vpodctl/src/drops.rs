//! Frames that were not forwarded, by port and reason: `get drops`.

use protocol::message::{Items, Kind};
use protocol::object::{DropEntry, Timestamp};
use serde_json::Value;

use crate::output::table::{Column, column, wide};
use crate::output::{Resource, document};

impl Resource for DropEntry {
    const KIND: Kind = Kind::Drops;
    const COLUMNS: &'static [Column] =
        &[column("PORT"), column("PORT-NAME"), column("REASON"), column("FRAMES"), wide("DESCRIPTION")];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Drops(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        vec![
            self.port.to_string(),
            self.port_name.clone(),
            self.reason.clone(),
            self.frames.to_string(),
            self.description.clone(),
        ]
    }

    fn id(&self) -> String {
        format!("{}:{}", self.port_name, self.reason)
    }

    fn is_named(&self, name: &str) -> bool {
        self.port_name == name || self.reason == name || self.port.to_string() == name || self.id() == name
    }

    fn document(&self) -> Value {
        document::of_kind("DropEntry", self)
    }
}
