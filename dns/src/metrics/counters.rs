//! What one thread has answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
pub(super) const SECONDS: [f64; 16] = [
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048,
    4.096, 8.192,
];
/// Upper bounds in bytes, as CoreDNS has them.
pub(super) const SIZES: [u32; 14] =
    [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000];

/// One answer, or silence.
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
    /// Of the query.
    pub request_bytes: usize,
    /// Of the answer.
    pub response_bytes: usize,
}

/// A histogram.
pub(super) struct Histogram<const N: usize> {
    pub(super) buckets: [AtomicU64; N],
    pub(super) above: AtomicU64,
    pub(super) sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::default()),
            above: AtomicU64::default(),
            sum: AtomicU64::default(),
        }
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&self, bucket: Option<usize>, count: u64, sum: u64) {
        add(bucket.and_then(|at| self.buckets.get(at)).unwrap_or(&self.above), count);
        add(&self.sum, sum);
    }
}

/// Of one protocol.
#[derive(Default)]
pub(super) struct PerProtocol {
    /// By zone (outside, ours), family and kind.
    pub(super) requests: [[[AtomicU64; 14]; 2]; 2],
    pub(super) request_bytes: Histogram<14>,
    pub(super) response_bytes: Histogram<14>,
}

/// See the module's text.
#[derive(Default)]
pub struct Counters {
    pub(super) protocols: [PerProtocol; 2],
    /// By zone (outside, ours), code and plugin.
    pub(super) responses: [[[AtomicU64; 4]; 7]; 2],
    /// In nanoseconds.
    pub(super) seconds: Histogram<16>,
}

impl Counters {
    /// Counts an answer.
    pub fn observe(&self, seen: &Observation) {
        let zone = usize::from(seen.ours);
        let kind = KINDS.iter().position(|(kind, _)| *kind == seen.kind).unwrap_or(KINDS.len() - 1);
        let [udp, tcp] = &self.protocols;
        let counters = match seen.protocol {
            Protocol::Udp => udp,
            Protocol::Tcp => tcp,
        };
        let family = usize::from(seen.family == Family::V6);
        if let Some(count) = counters.requests.get(zone).and_then(|f| f.get(family)?.get(kind)) {
            add(count, 1);
        }
        counters.request_bytes.add(size_bucket(seen.request_bytes), 1, bytes(seen.request_bytes));
        counters.response_bytes.add(size_bucket(seen.response_bytes), 1, bytes(seen.response_bytes));
        let rcode = RCODES.iter().position(|rcode| *rcode == seen.rcode).unwrap_or(2);
        let plugin = PLUGINS.iter().position(|(plugin, _)| *plugin == seen.plugin).unwrap_or_default();
        if let Some(count) = self.responses.get(zone).and_then(|r| r.get(rcode)?.get(plugin)) {
            add(count, 1);
        }
    }

    /// Counts how long `answers` took, each of them.
    pub fn took(&self, duration: Duration, answers: u64) {
        let seconds = duration.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.seconds.add(bucket, answers, nanoseconds.saturating_mul(answers));
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn size_bucket(len: usize) -> Option<usize> {
    SIZES.iter().position(|bound| bytes(len) <= u64::from(*bound))
}
