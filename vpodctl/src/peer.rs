//! Other nodes, as the tunnel sees them: `get peers`, `describe peer`.

use std::fmt::Write as _;

use protocol::message::{Items, Kind};
use protocol::object::{Peer, PeerHealth, PeerOrigin, Timestamp};
use serde_json::Value;

use crate::output::table::{Column, column, wide};
use crate::output::{Resource, document, or_none};

impl Resource for Peer {
    const KIND: Kind = Kind::Peers;
    const COLUMNS: &'static [Column] = &[
        column("NAME"),
        column("STATUS"),
        column("ADDRESS"),
        column("POD-CIDRS"),
        column("RTT"),
        column("LOSS"),
        column("MTU"),
        column("LAST-SEEN"),
        wide("ORIGIN"),
        wide("PATH-MTU"),
        wide("TX-PACKETS"),
        wide("TX-BYTES"),
        wide("RX-PACKETS"),
        wide("RX-BYTES"),
    ];

    fn from_items(items: Items) -> Option<Vec<Self>> {
        let Items::Peers(rows) = items else { return None };
        Some(rows)
    }

    fn cells(&self, _now: Timestamp) -> Vec<String> {
        let health = &self.health;
        vec![
            self.name.clone(),
            status(health).to_owned(),
            outer(self),
            cidrs(self),
            or_none(rtt(health)),
            or_none(loss(health)),
            self.pod_mtu.to_string(),
            or_none(last_seen(health)),
            origin(self.origin).to_owned(),
            or_none(path_mtu(health)),
            health.tx_packets.to_string(),
            health.tx_bytes.to_string(),
            health.rx_packets.to_string(),
            health.rx_bytes.to_string(),
        ]
    }

    fn id(&self) -> String {
        self.name.clone()
    }

    fn is_named(&self, name: &str) -> bool {
        self.name == name || self.address.to_string() == name
    }

    fn document(&self) -> Value {
        document::of_kind("Peer", self)
    }

    /// Keep-alives pass all the time; what they count and measure is no news.
    fn differs(&self, earlier: &Self) -> bool {
        let quiet = |peer: &Self| {
            let reachable = peer.health.reachable;
            Self { health: PeerHealth { reachable, ..PeerHealth::default() }, ..peer.clone() }
        };
        quiet(self) != quiet(earlier)
    }
}

/// The lines of `describe peer`.
pub(crate) fn describe(peer: &Peer) -> String {
    let health = &peer.health;
    let mut text = String::new();
    let rows = [
        ("Name:", peer.name.clone()),
        ("Status:", status_meaning(health).to_owned()),
        ("Address:", outer(peer)),
        ("Pod CIDRs:", cidrs(peer)),
        ("Known from:", origin_meaning(peer.origin).to_owned()),
        ("Pod MTU:", peer.pod_mtu.to_string()),
        ("Path MTU:", or_none(path_mtu(health))),
        ("Round trip:", or_none(rtt(health))),
        ("Loss:", or_none(loss(health))),
        ("Last seen:", or_none(last_seen(health))),
        ("Sent:", format!("{} packets, {} bytes", health.tx_packets, health.tx_bytes)),
        ("Received:", format!("{} packets, {} bytes", health.rx_packets, health.rx_bytes)),
    ];
    for (label, value) in rows {
        let _ = writeln!(text, "{label:<12} {value}");
    }
    text
}

fn outer(peer: &Peer) -> String {
    format!("{}:{}", peer.address, peer.udp_port)
}

fn cidrs(peer: &Peer) -> String {
    or_none(peer.pod_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

const fn status(health: &PeerHealth) -> &'static str {
    match health.reachable {
        Some(true) => "Reachable",
        Some(false) => "Unreachable",
        None => "Unknown",
    }
}

const fn status_meaning(health: &PeerHealth) -> &'static str {
    match health.reachable {
        Some(true) => "Reachable",
        Some(false) => "Unreachable (it does not answer keep-alives; packets are sent to it all the same)",
        None => "Unknown (it is not asked, or not long enough yet)",
    }
}

const fn origin(origin: PeerOrigin) -> &'static str {
    match origin {
        PeerOrigin::Static => "static",
        PeerOrigin::Cluster => "cluster",
    }
}

const fn origin_meaning(origin: PeerOrigin) -> &'static str {
    match origin {
        PeerOrigin::Static => "the configuration file",
        PeerOrigin::Cluster => "the cluster's store",
    }
}

fn rtt(health: &PeerHealth) -> String {
    health.rtt_us.map(|us| format!("{}.{:03} ms", us / 1000, us % 1000)).unwrap_or_default()
}

fn loss(health: &PeerHealth) -> String {
    health.loss_percent.map(|percent| format!("{percent}%")).unwrap_or_default()
}

fn path_mtu(health: &PeerHealth) -> String {
    health.path_mtu.map(|mtu| mtu.to_string()).unwrap_or_default()
}

fn last_seen(health: &PeerHealth) -> String {
    health.last_seen_ms.map(|ms| format!("{}.{}s ago", ms / 1000, ms % 1000 / 100)).unwrap_or_default()
}
