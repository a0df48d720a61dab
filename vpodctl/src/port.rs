//! Attachments to the switch: `get ports`, `describe port`.

use std::fmt::Write as _;

use protocol::Offloads;
use protocol::message::{Items, Kind};
use protocol::object::{Port, PortKind, PortState, Timestamp};
use serde_json::{Value, json};

use crate::output::table::{self, Column, column, wide};
use crate::output::{Resource, document, or_none};

impl Resource for Port {
    const KIND: Kind = Kind::Ports;
    const COLUMNS: &'static [Column] = &[
        column("ID"),
        column("NAME"),
        column("KIND"),
        column("STATE"),
        column("MAC"),
        column("RX-FRAMES"),
        column("TX-FRAMES"),
        column("DROPPED"),
        wide("ADDRESSES"),
        wide("MTU"),
        wide("OFFLOADS"),
        wide("SECURITY"),
        wide("RX-BYTES"),
        wide("TX-BYTES"),
        wide("FORWARDED"),
        wide("TX-REFUSED"),
        wide("ORIGINATED"),
    ];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Ports(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let counters = &self.counters;
        vec![
            self.id.to_string(),
            self.name.clone(),
            kind_name(self.kind).to_owned(),
            state_name(self.state).to_owned(),
            self.mac.to_string(),
            counters.rx_frames.to_string(),
            counters.tx_frames.to_string(),
            dropped(self).to_string(),
            addresses(self),
            self.ip_mtu.to_string(),
            self.offloads.to_string(),
            on_off(self.port_security).to_owned(),
            counters.rx_bytes.to_string(),
            counters.tx_bytes.to_string(),
            counters.forwarded.to_string(),
            counters.tx_refused.to_string(),
            counters.originated.to_string(),
        ]
    }

    fn id(&self) -> String {
        self.name.clone()
    }

    fn is_named(&self, name: &str) -> bool {
        self.name == name || self.id.to_string() == name
    }

    fn document(&self) -> Value {
        let mut object = document::of_kind("Port", self);
        object["offloads"] = match self.offloads {
            Offloads::NONE => json!([]),
            offloads => offloads.to_string().split(',').collect(),
        };
        object
    }
}

/// The lines of `describe port`, also the port's part of `describe pod`.
pub(crate) fn describe(port: &Port) -> String {
    let counters = &port.counters;
    let mut text = String::new();
    let rows = [
        ("Port:", format!("{} ({})", port.id, port.name)),
        ("Kind:", kind_name(port.kind).to_owned()),
        ("State:", state_meaning(port.state).to_owned()),
        ("MAC:", port.mac.to_string()),
        ("Addresses:", addresses(port)),
        ("MTU:", port.ip_mtu.to_string()),
        ("Offloads:", port.offloads.to_string()),
        ("Security:", on_off(port.port_security).to_owned()),
        ("Received:", format!("{} frames, {} bytes", counters.rx_frames, counters.rx_bytes)),
        ("Forwarded:", format!("{} frames", counters.forwarded)),
        ("Dropped:", format!("{} frames", dropped(port))),
        ("Sent:", format!("{} frames, {} bytes", counters.tx_frames, counters.tx_bytes)),
        ("Refused:", format!("{} frames (the device did not take them)", counters.tx_refused)),
        ("Originated:", format!("{} frames (the switch's own)", counters.originated)),
    ];
    for (label, value) in rows {
        let _ = writeln!(text, "{label:<12} {value}");
    }
    // Only of ports with a limit.
    let limits = [
        (
            "Delayed:",
            counters.delayed_frames,
            format!(
                "{} frames, {} bytes (they waited for the ingress rate)",
                counters.delayed_frames, counters.delayed_bytes
            ),
        ),
        (
            "Limited:",
            counters.limited_frames,
            format!(
                "{} frames, {} bytes (beyond the ingress rate, dropped)",
                counters.limited_frames, counters.limited_bytes
            ),
        ),
        ("Pauses:", counters.pauses, format!("{} (the egress rate was used up)", counters.pauses)),
    ];
    for (label, _, value) in limits.iter().filter(|(_, count, _)| *count > 0) {
        let _ = writeln!(text, "{label:<12} {value}");
    }
    if !counters.drops.is_empty() {
        text.push_str("Drops:\n");
        let mut drops = vec![vec!["  REASON".to_owned(), "FRAMES".to_owned()]];
        drops.extend(counters.drops.iter().map(|d| vec![format!("  {}", d.reason), d.frames.to_string()]));
        text.extend(table::aligned(drops));
    }
    text
}

fn addresses(port: &Port) -> String {
    or_none(port.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

fn dropped(port: &Port) -> u64 {
    port.counters.drops.iter().map(|drop| drop.frames).sum()
}

const fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

const fn kind_name(kind: PortKind) -> &'static str {
    match kind {
        PortKind::Pod => "pod",
        PortKind::Gateway => "gateway",
        PortKind::Tunnel => "tunnel",
        PortKind::Uplink => "uplink",
    }
}

const fn state_name(state: PortState) -> &'static str {
    match state {
        PortState::Closed => "Closed",
        PortState::Active => "Active",
        PortState::Detached => "Detached",
        PortState::Quarantined => "Quarantined",
    }
}

const fn state_meaning(state: PortState) -> &'static str {
    match state {
        PortState::Closed => "Closed (its configuration is not complete yet)",
        PortState::Active => "Active",
        PortState::Detached => {
            "Detached (its device or namespace is gone; delete the pod and create it again)"
        }
        PortState::Quarantined => "Quarantined (a frame from it crashed the datapath; it is no longer read)",
    }
}
