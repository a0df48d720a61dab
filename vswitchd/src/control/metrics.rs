//! Prometheus text: counters are read from the datapath at each scrape, nothing is kept here.

mod services;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use protocol::link::Summary;
use protocol::object::{Peer, PeerHealth, Port, PortCounters, Traffic};

use super::node::Control;
use super::services::{self as control_services, Readings};
use super::{peers, tables};

/// Why something is not served over HTTP.
#[derive(Debug, thiserror::Error)]
#[error("{what} on {place}: {problem}")]
pub(crate) struct MetricsError {
    what: &'static str,
    place: String,
    problem: String,
}

impl MetricsError {
    pub(crate) fn new(what: &'static str, place: &dyn std::fmt::Display, problem: String) -> Self {
        Self { what, place: place.to_string(), problem }
    }
}

/// All metrics, as text.
pub(crate) fn text(control: &Control) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot::take(control)));
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        // Writing to a string does not fail; a collector's own error would end here.
        let _ = writeln!(text, "# incomplete");
    }
    text
}

/// One scrape.
#[derive(Debug)]
struct Snapshot {
    ports: Vec<Port>,
    summary: Summary,
    datapath_up: bool,
    datapath_restarts: u64,
    pods: u64,
    addresses_used: u64,
    problems: u64,
    /// By name.
    peers: Vec<Peer>,
    /// False in a cluster with a store that does not answer.
    store_up: bool,
    /// By service.
    traffic: Vec<Traffic>,
    readings: Readings,
}

/// A counter per port: its name, meaning and where it is found.
type PortMetric = (&'static str, &'static str, fn(&PortCounters) -> u64);

const PORT_COUNTERS: [PortMetric; 12] = [
    ("vswitch_port_receive_frames", "Frames read from the port's device; a superframe is one", |c| {
        c.rx_frames
    }),
    ("vswitch_port_receive_bytes", "Bytes of those", |c| c.rx_bytes),
    ("vswitch_port_forwarded_frames", "Frames received there that left by at least one port", |c| {
        c.forwarded
    }),
    ("vswitch_port_transmit_frames", "Frames written to the port's device", |c| c.tx_frames),
    ("vswitch_port_transmit_bytes", "Bytes of those", |c| c.tx_bytes),
    ("vswitch_port_transmit_refused_frames", "Frames the port's device refused", |c| c.tx_refused),
    ("vswitch_port_originated_frames", "Frames the switch made itself and wrote there", |c| c.originated),
    ("vswitch_port_delayed_frames", "Frames that waited for the pod's ingress rate", |c| c.delayed_frames),
    ("vswitch_port_delayed_bytes", "Bytes of those", |c| c.delayed_bytes),
    ("vswitch_port_limited_frames", "Frames for the pod beyond its ingress rate, dropped", |c| {
        c.limited_frames
    }),
    ("vswitch_port_limited_bytes", "Bytes of those", |c| c.limited_bytes),
    ("vswitch_port_pauses", "Times the pod had used up its egress rate and was not read for a while", |c| {
        c.pauses
    }),
];

/// A counter per peer.
type PeerMetric = (&'static str, &'static str, fn(&PeerHealth) -> u64);

const PEER_COUNTERS: [PeerMetric; 4] = [
    ("vswitch_peer_transmit_packets", "Inner packets sent to another node", |h| h.tx_packets),
    ("vswitch_peer_transmit_bytes", "Bytes of those, from the inner Ethernet header on", |h| h.tx_bytes),
    ("vswitch_peer_receive_packets", "Inner packets accepted from another node", |h| h.rx_packets),
    ("vswitch_peer_receive_bytes", "Bytes of those, from the inner Ethernet header on", |h| h.rx_bytes),
];

/// A gauge per peer, which is left out for peers of which it is not known.
type PeerGauge = (&'static str, &'static str, fn(&PeerHealth) -> Option<f64>);

const PEER_GAUGES: [PeerGauge; 4] = [
    ("vswitch_peer_reachable", "1 if another node answers keep-alives, 0 if not", |h| {
        h.reachable.map(|up| if up { 1.0 } else { 0.0 })
    }),
    ("vswitch_peer_round_trip_seconds", "Round trip of keep-alives, smoothed", |h| {
        h.rtt_us.map(|us| f64::from(us) / 1e6)
    }),
    ("vswitch_peer_loss_ratio", "Keep-alives of the last 100 that went unanswered", |h| {
        h.loss_percent.map(|percent| f64::from(percent) / 100.0)
    }),
    ("vswitch_peer_path_mtu_bytes", "Largest outer packet that is known to arrive", |h| {
        h.path_mtu.map(f64::from)
    }),
];

/// Peers with metrics of their own, the first by name; `vswitch_peers` counts all. Eight series each.
const MAX_PEER_SERIES: usize = 1000;

impl Snapshot {
    fn take(control: &Control) -> Self {
        let summary = tables::summary(control);
        let inventory = control.inventory.lock();
        let (pods, addresses_used) = (inventory.len() as u64, inventory.ipam.used() as u64);
        drop(inventory);
        Self {
            datapath_up: summary.is_ok(),
            summary: summary.unwrap_or_default(),
            ports: tables::ports(control).unwrap_or_default(),
            datapath_restarts: control.switch.link().status().restarts.into(),
            pods,
            addresses_used,
            problems: tables::status(control).problems.len() as u64,
            peers: peers::rows(control).unwrap_or_default(),
            store_up: control.cluster.as_ref().is_none_or(|cluster| cluster.status().connected),
            traffic: control_services::first_traffic(control, services::MAX_SERIES).unwrap_or_default(),
            readings: control_services::readings(control),
        }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, value) in PORT_COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for port in &self.ports {
                let labels = [("port", port.name.as_str())];
                ConstCounter::new(value(&port.counters)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Frames dropped, by the port they came in and the reason";
        let mut family =
            encoder.encode_descriptor("vswitch_dropped_frames", help, None, MetricType::Counter)?;
        for port in &self.ports {
            for drop in &port.counters.drops {
                let labels = [("port", port.name.as_str()), ("reason", drop.reason.as_str())];
                ConstCounter::new(drop.frames).encode(family.encode_family(&labels)?)?;
            }
        }
        self.encode_peers(&mut encoder)?;
        services::encode_traffic(&self.traffic, &mut encoder)?;
        services::encode_readings(&self.readings, &mut encoder)?;
        let help = "Entries that left the flow table, by cause";
        let mut family =
            encoder.encode_descriptor("vswitch_flow_evictions", help, None, MetricType::Counter)?;
        for (cause, flows) in self.summary.flow_evictions.by_cause() {
            ConstCounter::new(flows).encode(family.encode_family(&[("cause", cause)])?)?;
        }
        let help = "Translated connections made, ended and refused";
        let mut family =
            encoder.encode_descriptor("vswitch_connection_events", help, None, MetricType::Counter)?;
        for (event, connections) in self.summary.connection_events.by_event() {
            ConstCounter::new(connections).encode(family.encode_family(&[("event", event)])?)?;
        }
        let help =
            "New TCP connections given to another backend of their service, by what the one before did";
        let mut family = encoder.encode_descriptor("vswitch_fail_overs", help, None, MetricType::Counter)?;
        for (cause, connections) in self.summary.fail_overs.by_cause() {
            ConstCounter::new(connections).encode(family.encode_family(&[("cause", cause)])?)?;
        }
        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
        };
        counter("vswitch_datapath_restarts", "Times the datapath was started again", self.datapath_restarts)?;
        let help = "Frames that left as part of another: bursts of small frames are merged";
        counter("vswitch_merged_frames", help, self.summary.merged)?;
        let help = "Session affinities that made room for others";
        counter("vswitch_affinity_evictions", help, self.summary.affinity_evictions)?;
        let mut gauge = |name: &str, help: &str, value: u64| {
            let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("vswitch_datapath_up", "1 if the datapath answers", self.datapath_up.into())?;
        gauge("vswitch_workers", "Threads that forward", self.summary.workers.into())?;
        gauge("vswitch_datapath_epoch", "Number of the active configuration", self.summary.epoch)?;
        gauge("vswitch_fdb_entries", "Entries of the forwarding database", self.summary.fdb_entries.into())?;
        gauge("vswitch_neighbor_entries", "Entries of the neighbour table", self.summary.neighbors.into())?;
        gauge("vswitch_flow_entries", "Entries of the flow table", self.summary.flows.into())?;
        gauge("vswitch_connections", "Translated connections", self.summary.connections.into())?;
        gauge("vswitch_pods", "Pods on this node", self.pods)?;
        gauge("vswitch_peers", "Other nodes", self.peers.len() as u64)?;
        let help = "0 if the cluster has a store that does not answer";
        gauge("vswitch_cluster_store_up", help, self.store_up.into())?;
        gauge("vswitch_addresses_used", "Addresses of the node's range in use", self.addresses_used)?;
        gauge("vswitch_problems", "What status calls a problem", self.problems)
    }
}

impl Snapshot {
    fn encode_peers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let peers = || self.peers.iter().take(MAX_PEER_SERIES);
        if self.peers.is_empty() {
            return Ok(());
        }
        for (name, help, value) in PEER_COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for peer in peers() {
                let labels = [("peer", peer.name.as_str())];
                ConstCounter::new(value(&peer.health)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, value) in PEER_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for peer in peers() {
                let Some(value) = value(&peer.health) else { continue };
                let labels = [("peer", peer.name.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Serves metrics on the run directory's socket, and on TCP if configured.
pub(crate) fn serve(control: &Arc<Control>) -> Result<(), MetricsError> {
    let path = control.config.metrics_socket();
    serve_unix(control, path)?;
    match control.config.metrics {
        Some(address) => serve_tcp(control, address),
        None => Ok(()),
    }
}

fn serve_unix(control: &Arc<Control>, path: PathBuf) -> Result<(), MetricsError> {
    let fail = |problem: String| MetricsError::new("metrics", &path.display(), problem);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e.to_string())),
        Ok(()) | Err(_) => {}
    }
    let server = tiny_http::Server::http_unix(&path).map_err(|e| fail(e.to_string()))?;
    answer_on_thread(control, server).map_err(|e| fail(e.to_string()))
}

fn serve_tcp(control: &Arc<Control>, address: SocketAddr) -> Result<(), MetricsError> {
    let fail = |problem: String| MetricsError::new("metrics", &address, problem);
    let server = tiny_http::Server::http(address).map_err(|e| fail(e.to_string()))?;
    answer_on_thread(control, server).map_err(|e| fail(e.to_string()))
}

fn answer_on_thread(control: &Arc<Control>, server: tiny_http::Server) -> io::Result<()> {
    let control = Arc::clone(control);
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        for request in server.incoming_requests() {
            let response = match request.url() {
                "/metrics" => tiny_http::Response::from_string(text(&control)),
                _ => tiny_http::Response::from_string("see /metrics\n").with_status_code(404),
            };
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            let header = tiny_http::Header::from_bytes("Content-Type", kind);
            let response = header.into_iter().fold(response, tiny_http::Response::with_header);
            // A scraper that hangs up gets nothing; there is nothing to do about it.
            let _ = request.respond(response);
        }
    })?;
    Ok(())
}
