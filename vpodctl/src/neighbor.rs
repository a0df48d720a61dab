//! The neighbour table: `get neighbors`.

use std::net::IpAddr;

use protocol::message::{Items, Kind};
use protocol::object::{NeighborEntry, Timestamp};
use serde_json::Value;

use crate::fdb::entry_type;
use crate::output::table::{Column, column};
use crate::output::{Resource, age, document};

impl Resource for NeighborEntry {
    const KIND: Kind = Kind::Neighbors;
    const COLUMNS: &'static [Column] =
        &[column("IP"), column("MAC"), column("PORT"), column("PORT-NAME"), column("TYPE"), column("AGE")];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Neighbors(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        vec![
            self.ip.to_string(),
            self.mac.to_string(),
            self.port.to_string(),
            self.port_name.clone(),
            entry_type(self.is_static).to_owned(),
            age::of_entry(self.is_static, self.age_ms),
        ]
    }

    fn id(&self) -> String {
        self.ip.to_string()
    }

    fn is_named(&self, name: &str) -> bool {
        name.parse::<IpAddr>().is_ok_and(|ip| ip == self.ip)
    }

    fn document(&self) -> Value {
        document::of_kind("NeighborEntry", self)
    }

    fn differs(&self, earlier: &Self) -> bool {
        Self { age_ms: 0, ..self.clone() } != Self { age_ms: 0, ..earlier.clone() }
    }
}
