//! Translated connections: `get conntrack`.

use std::net::IpAddr;
use std::time::Duration;

use protocol::message::{Items, Kind};
use protocol::object::{ConnTuple, Connection, Timestamp};
use serde_json::Value;

use crate::flow::{end, protocol_name};
use crate::output::table::{Column, column, wide};
use crate::output::{Resource, age, document};

impl Resource for Connection {
    const KIND: Kind = Kind::Connections;
    const COLUMNS: &'static [Column] = &[
        column("PROTOCOL"),
        column("CLIENT"),
        column("SERVICE"),
        column("BACKEND"),
        column("STATE"),
        column("IDLE"),
        column("TIMEOUT"),
        column("OWNER"),
        wide("SEEN-AS"),
        wide("AGE"),
    ];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Connections(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let time = |millis| age::human(Duration::from_millis(millis));
        vec![
            protocol_name(self.protocol),
            end(self.original.source, self.original.source_port),
            end(self.original.destination, self.original.destination_port),
            end(self.reply.source, self.reply.source_port),
            self.state.clone(),
            time(self.idle_ms),
            time(self.timeout_ms),
            self.owner_name.clone(),
            end(self.reply.destination, self.reply.destination_port),
            time(self.age_ms),
        ]
    }

    fn id(&self) -> String {
        let ConnTuple { source, source_port, destination, destination_port } = self.original;
        let protocol = protocol_name(self.protocol);
        format!("{protocol}:{}-{}", end(source, source_port), end(destination, destination_port))
    }

    /// By any address of it, its owner's name, its state, or the whole identity.
    fn is_named(&self, name: &str) -> bool {
        let ConnTuple { source, destination, .. } = self.original;
        let addresses = [source, destination, self.reply.source, self.reply.destination];
        name.parse::<IpAddr>().is_ok_and(|ip| addresses.contains(&ip))
            || self.owner_name == name
            || self.state.eq_ignore_ascii_case(name)
            || self.id() == name
    }

    fn document(&self) -> Value {
        document::of_kind("Connection", self)
    }

    fn differs(&self, earlier: &Self) -> bool {
        let lasting = |row: &Self| Self { age_ms: 0, idle_ms: 0, timeout_ms: 0, ..row.clone() };
        lasting(self) != lasting(earlier)
    }
}
