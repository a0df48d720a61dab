//! The flow table: `get flows`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use protocol::message::{Items, Kind};
use protocol::object::{Flow, Timestamp};
use serde_json::Value;

use crate::output::table::{Column, column, wide};
use crate::output::{Resource, age, document, or_none};

// IANA protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

impl Resource for Flow {
    const KIND: Kind = Kind::Flows;
    const COLUMNS: &'static [Column] = &[
        column("PROTOCOL"),
        column("SOURCE"),
        column("DESTINATION"),
        column("INGRESS"),
        column("EGRESS"),
        column("FRAMES"),
        column("BYTES"),
        column("IDLE"),
        wide("INGRESS-PORT"),
        wide("EGRESS-PORT"),
        wide("BECOMES"),
    ];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Flows(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        vec![
            protocol_name(self.protocol),
            end(self.source, self.source_port),
            end(self.destination, destination_port(self)),
            self.ingress_name.clone(),
            self.egress_name.clone(),
            self.frames.to_string(),
            self.bytes.to_string(),
            age::human(Duration::from_millis(self.idle_ms)),
            self.ingress.to_string(),
            self.egress.to_string(),
            self.becomes.map_or_else(
                || or_none(""),
                |to| {
                    format!("{}-{}", end(to.source, to.source_port), end(to.destination, to.destination_port))
                },
            ),
        ]
    }

    fn id(&self) -> String {
        let protocol = protocol_name(self.protocol);
        let source = end(self.source, self.source_port);
        let destination = end(self.destination, destination_port(self));
        format!("{protocol}:{source}-{destination}@{}", self.ingress)
    }

    /// By either address, either port's name, or the whole identity.
    fn is_named(&self, name: &str) -> bool {
        let address = name.parse::<IpAddr>().ok();
        address.is_some_and(|ip| ip == self.source || ip == self.destination)
            || self.ingress_name == name
            || self.egress_name == name
            || self.id() == name
    }

    fn document(&self) -> Value {
        document::of_kind("Flow", self)
    }

    fn differs(&self, earlier: &Self) -> bool {
        Self { idle_ms: 0, ..self.clone() } != Self { idle_ms: 0, ..earlier.clone() }
    }
}

/// An ICMP flow has its identifier at the source; what it has here (a type) is no port.
fn destination_port(flow: &Flow) -> u16 {
    match flow.protocol {
        ICMP | ICMPV6 => 0,
        _ => flow.destination_port,
    }
}

/// Address and port, where there is one.
pub(crate) fn end(ip: IpAddr, port: u16) -> String {
    if port == 0 { ip.to_string() } else { SocketAddr::new(ip, port).to_string() }
}

/// The usual name of an IP protocol number, else the number.
pub(crate) fn protocol_name(number: u8) -> String {
    match number {
        ICMP => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}
