//! What one thread has answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::histogram::{Histogram, add};
use crate::wire::record::{Rcode, kind};

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Over UDP.
    Udp,
    /// Over TCP.
    Tcp,
}

/// From what kind of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address.
    #[must_use]
    pub fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What of the server answered, by the name of CoreDNS's plugin for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// The server itself, or nothing.
    None,
    /// The cluster's zone.
    Kubernetes,
    /// What was known from outside.
    Cache,
    /// Another server.
    Forward,
}

/// Types that are counted by name, as CoreDNS does; the rest is "other".
pub(super) const KINDS: [(u16, &str); 14] = [
    (kind::A, "A"),
    (kind::AAAA, "AAAA"),
    (kind::SRV, "SRV"),
    (kind::PTR, "PTR"),
    (kind::TXT, "TXT"),
    (kind::CNAME, "CNAME"),
    (kind::NS, "NS"),
    (kind::SOA, "SOA"),
    (kind::MX, "MX"),
    (kind::HTTPS, "HTTPS"),
    (kind::ANY, "ANY"),
    (kind::AXFR, "AXFR"),
    (kind::IXFR, "IXFR"),
    (0, "other"),
];
pub(super) const RCODES: [Rcode; 7] = [
    Rcode::NO_ERROR,
    Rcode::FORMAT_ERROR,
    Rcode::SERVER_FAILURE,
    Rcode::NAME_ERROR,
    Rcode::NOT_IMPLEMENTED,
    Rcode::REFUSED,
    Rcode::BAD_VERSION,
];
pub(super) const PLUGINS: [(Plugin, &str); 4] = [
    (Plugin::None, ""),
    (Plugin::Kubernetes, "kubernetes"),
    (Plugin::Cache, "cache"),
    (Plugin::Forward, "forward"),
];
/// Upper bounds in seconds, as CoreDNS has them: from a quarter of a millisecond to eight seconds.
pub(crate) const SECONDS: [f64; 16] = [
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048,
    4.096, 8.192,
];
/// Upper bounds in bytes, as CoreDNS has them.
pub(super) const SIZES: [f64; 14] = [
    0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16_000.0, 32_000.0, 48_000.0,
    64_000.0,
];
/// The same as numbers, for counting.
const BYTES: [usize; 14] =
    [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000];

/// One answer.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// How it came.
    pub protocol: Protocol,
    /// From where.
    pub family: Family,
    /// The type that was asked for.
    pub kind: u16,
    /// The name is the cluster's.
    pub ours: bool,
    /// How it was answered.
    pub rcode: Rcode,
    /// By what.
    pub plugin: Plugin,
    /// Signatures were wanted.
    pub dnssec_ok: bool,
    /// Of the query.
    pub request_bytes: usize,
    /// Of the answer.
    pub response_bytes: usize,
}

/// Of one zone and protocol.
#[derive(Default)]
pub(super) struct PerProtocol {
    /// By family and kind.
    pub(super) requests: [[AtomicU64; 14]; 2],
    pub(super) request_bytes: Histogram<14>,
    pub(super) response_bytes: Histogram<14>,
}

/// Of one zone: names outside, or ours.
#[derive(Default)]
pub(super) struct PerZone {
    pub(super) protocols: [PerProtocol; 2],
    /// By code and plugin.
    pub(super) responses: [[AtomicU64; 4]; 7],
    pub(super) dnssec_ok: AtomicU64,
    /// In nanoseconds.
    pub(super) seconds: Histogram<16>,
}

/// See the module's text.
#[derive(Default)]
pub struct Counters {
    pub(super) zones: [PerZone; 2],
    /// Queries without an answer, of floods.
    pub(super) dropped: AtomicU64,
}

impl Counters {
    fn zone(&self, ours: bool) -> &PerZone {
        let [outside, own] = &self.zones;
        if ours { own } else { outside }
    }

    /// Counts an answer.
    pub fn observe(&self, seen: &Observation) {
        let zone = self.zone(seen.ours);
        let kind = KINDS.iter().position(|(kind, _)| *kind == seen.kind).unwrap_or(KINDS.len() - 1);
        let [udp, tcp] = &zone.protocols;
        let counters = match seen.protocol {
            Protocol::Udp => udp,
            Protocol::Tcp => tcp,
        };
        let [v4, v6] = &counters.requests;
        let requests = if seen.family == Family::V4 { v4 } else { v6 };
        if let Some(count) = requests.get(kind) {
            add(count, 1);
        }
        counters.request_bytes.add(size_bucket(seen.request_bytes), 1, bytes(seen.request_bytes));
        counters.response_bytes.add(size_bucket(seen.response_bytes), 1, bytes(seen.response_bytes));
        let rcode = rcode_index(seen.rcode);
        let plugin = PLUGINS.iter().position(|(plugin, _)| *plugin == seen.plugin).unwrap_or_default();
        if let Some(count) = zone.responses.get(rcode).and_then(|plugins| plugins.get(plugin)) {
            add(count, 1);
        }
        if seen.dnssec_ok {
            add(&zone.dnssec_ok, 1);
        }
    }

    /// Counts how long answers took, each of them: so many for names outside, and so many for ours.
    pub fn took(&self, duration: Duration, answers: [u64; 2]) {
        for (zone, answers) in self.zones.iter().zip(answers) {
            if answers > 0 {
                zone.seconds.took(&SECONDS, duration, answers);
            }
        }
    }

    /// Counts a query that was dropped because its source sends too many.
    pub fn dropped(&self) {
        add(&self.dropped, 1);
    }
}

/// Where a code is in [`RCODES`]; others count as failures.
pub(super) fn rcode_index(rcode: Rcode) -> usize {
    RCODES.iter().position(|known| *known == rcode).unwrap_or(2)
}

fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn size_bucket(len: usize) -> Option<usize> {
    BYTES.iter().position(|bound| len <= *bound)
}

/// What is counted, when read.
pub(super) fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
