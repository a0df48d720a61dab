//! What services and their backends have to do: `get traffic`, and a part of `describe service`.

use protocol::message::{Items, Kind};
use protocol::object::{ServiceCounters, Timestamp, Traffic};
use serde_json::Value;

use crate::flow::{end, protocol_name};
use crate::output::table::{Column, column, wide};
use crate::output::{Resource, document, or_none};

impl Resource for Traffic {
    const KIND: Kind = Kind::Traffic;
    const COLUMNS: &'static [Column] = &[
        column("SERVICE"),
        column("PORT"),
        column("BACKEND"),
        column("ACTIVE"),
        column("CONNECTIONS"),
        column("PACKETS-IN"),
        column("BYTES-IN"),
        column("PACKETS-OUT"),
        column("BYTES-OUT"),
        column("REFUSED"),
        wide("POD"),
    ];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Traffic(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let counters = &self.counters;
        let backend = self.backend.as_ref();
        vec![
            format!("{}/{}", self.namespace, self.service),
            format!("{}/{}", self.port, protocol_name(self.protocol)),
            backend.map_or_else(|| "all".to_owned(), |backend| end(backend.address, backend.port)),
            counters.active.to_string(),
            counters.connections.to_string(),
            counters.packets_in.to_string(),
            counters.bytes_in.to_string(),
            counters.packets_out.to_string(),
            counters.bytes_out.to_string(),
            refused(counters),
            or_none(backend.map(|backend| backend.pod.clone()).unwrap_or_default()),
        ]
    }

    fn id(&self) -> String {
        let cells = self.cells(Timestamp(0));
        cells.into_iter().take(3).collect::<Vec<_>>().join(":")
    }

    /// By its service, with or without the namespace, by the backend's address or its pod.
    fn is_named(&self, name: &str) -> bool {
        let full = format!("{}/{}", self.namespace, self.service);
        let is_backend = self.backend.as_ref().is_some_and(|backend| {
            backend.pod == name || name.parse().is_ok_and(|ip: std::net::IpAddr| ip == backend.address)
        });
        full == name || self.service.as_str() == name || is_backend
    }

    fn document(&self) -> Value {
        document::of_kind("Traffic", self)
    }
}

/// How many, and why.
fn refused(counters: &ServiceCounters) -> String {
    let all = counters.refused.iter().map(|drop| format!("{} {}", drop.frames, drop.reason));
    let text = all.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "0".to_owned() } else { text }
}
