//! The forwarding database: `get fdb`.

use protocol::Mac;
use protocol::message::{Items, Kind};
use protocol::object::{FdbEntry, Timestamp};
use serde_json::Value;

use crate::output::table::{Column, column};
use crate::output::{Resource, age, document};

impl Resource for FdbEntry {
    const KIND: Kind = Kind::Fdb;
    const COLUMNS: &'static [Column] =
        &[column("MAC"), column("PORT"), column("PORT-NAME"), column("TYPE"), column("AGE")];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Fdb(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        vec![
            self.mac.to_string(),
            self.port.to_string(),
            self.port_name.clone(),
            entry_type(self.is_static).to_owned(),
            age::of_entry(self.is_static, self.age_ms),
        ]
    }

    fn id(&self) -> String {
        self.mac.to_string()
    }

    fn is_named(&self, name: &str) -> bool {
        name.parse::<Mac>().is_ok_and(|mac| mac == self.mac)
    }

    fn document(&self) -> Value {
        document::of_kind("FdbEntry", self)
    }

    fn differs(&self, earlier: &Self) -> bool {
        Self { age_ms: 0, ..self.clone() } != Self { age_ms: 0, ..earlier.clone() }
    }
}

/// How an entry came to be.
pub(crate) const fn entry_type(is_static: bool) -> &'static str {
    if is_static { "static" } else { "learned" }
}
