//! Metrics of services: what they have to do, and how quickly changes of them are active.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use protocol::object::{ServiceCounters, Traffic};

use super::super::services::Readings;

/// Service ports with metrics of their own; as many of their backends. Five series each.
pub(super) const MAX_SERIES: usize = 2000;

/// A counter: its name, meaning and where it is found.
type Metric = (&'static str, &'static str, fn(&ServiceCounters) -> u64);

const OF_SERVICES: [Metric; 5] = [
    ("vpod_service_connections", "Connections begun to a service", |c| c.connections),
    ("vpod_service_receive_packets", "Packets of a service's clients; a superframe is one", |c| c.packets_in),
    ("vpod_service_receive_bytes", "Bytes of those, from the Ethernet header on", |c| c.bytes_in),
    ("vpod_service_transmit_packets", "Packets to a service's clients", |c| c.packets_out),
    ("vpod_service_transmit_bytes", "Bytes of those", |c| c.bytes_out),
];

const OF_BACKENDS: [Metric; 5] = [
    ("vpod_service_backend_connections", "Connections begun to a backend of a service", |c| c.connections),
    ("vpod_service_backend_receive_packets", "Packets of clients to a backend", |c| c.packets_in),
    ("vpod_service_backend_receive_bytes", "Bytes of those", |c| c.bytes_in),
    ("vpod_service_backend_transmit_packets", "Packets of a backend to clients", |c| c.packets_out),
    ("vpod_service_backend_transmit_bytes", "Bytes of those", |c| c.bytes_out),
];

/// What services have to do.
pub(super) fn encode_traffic(
    rows: &[Traffic],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let services = || rows.iter().filter(|row| row.backend.is_none()).take(MAX_SERIES);
    for (name, help, value) in OF_SERVICES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for row in services() {
            ConstCounter::new(value(&row.counters)).encode(family.encode_family(&labels(row))?)?;
        }
    }
    let help = "Connections to a service that were refused, by reason";
    let mut family = encoder.encode_descriptor("vpod_service_refused", help, None, MetricType::Counter)?;
    for row in services() {
        for drop in &row.counters.refused {
            let [a, b, c] = labels(row);
            let labels = [a, b, c, ("reason", drop.reason.clone())];
            ConstCounter::new(drop.frames).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Connections to a service that are open";
    let mut family =
        encoder.encode_descriptor("vpod_service_active_connections", help, None, MetricType::Gauge)?;
    for row in services() {
        let active = i64::try_from(row.counters.active).unwrap_or(i64::MAX);
        ConstGauge::new(active).encode(family.encode_family(&labels(row))?)?;
    }
    let backends = || rows.iter().filter_map(|row| Some((row, row.backend.as_ref()?))).take(MAX_SERIES);
    for (name, help, value) in OF_BACKENDS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (row, backend) in backends() {
            let [a, b, c] = labels(row);
            let labels = [a, b, c, ("backend", format!("{}:{}", backend.address, backend.port))];
            ConstCounter::new(value(&row.counters)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn labels(row: &Traffic) -> [(&'static str, String); 3] {
    [
        ("namespace", row.namespace.to_string()),
        ("service", row.service.to_string()),
        ("port", row.port.clone()),
    ]
}

/// How changes come through.
pub(super) fn encode_readings(
    readings: &Readings,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let histograms = [
        (
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "One round of telling services to the datapath",
            &readings.sync,
        ),
        (
            "kubeproxy_network_programming_duration_seconds",
            "From the first change heard of to the datapath running it",
            &readings.programming,
        ),
    ];
    for (name, help, histogram) in histograms {
        histogram.encode(encoder.encode_descriptor(name, help, None, MetricType::Histogram)?)?;
    }
    for (name, help, value) in [
        ("kubeproxy_sync_proxy_rules_service_changes", "Changes of services taken", readings.service_changes),
        (
            "kubeproxy_sync_proxy_rules_endpoint_changes",
            "Changes of endpoints taken",
            readings.endpoint_changes,
        ),
    ] {
        let metric = ConstCounter::new(value);
        metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let [services, endpoints] = readings.pending;
    for (name, help, value) in [
        ("kubeproxy_sync_proxy_rules_service_changes_pending", "Changes of services not taken yet", services),
        (
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "Changes of endpoints not taken yet",
            endpoints,
        ),
        (
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When the datapath was last told",
            readings.last_sync,
        ),
        (
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When a change last came",
            readings.last_queued,
        ),
    ] {
        let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    }
    let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    let help = "Service ports of a Local policy without endpoints on this node";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (policy, count) in ["internal", "external"].into_iter().zip(readings.no_local_endpoints) {
        let metric = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        metric.encode(family.encode_family(&[("traffic_policy", policy)])?)?;
    }
    Ok(())
}
