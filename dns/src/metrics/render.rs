//! All counters together, as text for Prometheus.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::counters::{Counters, Histogram, KINDS, PLUGINS, RCODES, SECONDS, SIZES};
use crate::server::Shared;

/// The `server` label, as CoreDNS writes the one at every address.
const SERVER: (&str, &str) = ("server", "dns://:53");
/// The `view` label: there are none.
const VIEW: (&str, &str) = ("view", "");

/// All metrics, as text.
#[must_use]
pub fn text(shared: &Arc<Shared>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::clone(shared))));
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        text.push_str("# incomplete\n");
    }
    text
}

struct Scrape(Arc<Shared>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.requests(&mut encoder)?;
        self.responses(&mut encoder)?;
        self.histograms(&mut encoder)?;
        self.cache(&mut encoder)?;
        self.forward(&mut encoder)?;
        self.state(&mut encoder)
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Scrape {
    fn sum(&self, of: impl Fn(&Counters) -> Option<&AtomicU64>) -> u64 {
        self.0.counters.iter().filter_map(|counters| of(counters)).map(load).sum()
    }

    /// The `zone` label of names outside and of ours.
    fn zones(&self) -> [String; 2] {
        [".".to_owned(), self.0.zone.origin().to_string()]
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Counter of DNS requests made per zone, protocol and family";
        let mut family =
            encoder.encode_descriptor("coredns_dns_requests", help, None, MetricType::Counter)?;
        for (z, zone) in self.zones().into_iter().enumerate() {
            for (p, proto) in ["udp", "tcp"].into_iter().enumerate() {
                for (f, number) in ["1", "2"].into_iter().enumerate() {
                    for (k, (_, kind)) in KINDS.iter().enumerate() {
                        let count = self.sum(|c| c.protocols.get(p)?.requests.get(z)?.get(f)?.get(k));
                        if count == 0 {
                            continue;
                        }
                        let labels = [
                            SERVER,
                            ("zone", zone.as_str()),
                            VIEW,
                            ("proto", proto),
                            ("family", number),
                            ("type", *kind),
                        ];
                        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn responses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Counter of response status codes";
        let mut family =
            encoder.encode_descriptor("coredns_dns_responses", help, None, MetricType::Counter)?;
        for (z, zone) in self.zones().into_iter().enumerate() {
            for (r, rcode) in RCODES.iter().enumerate() {
                for (p, (_, plugin)) in PLUGINS.iter().enumerate() {
                    let count = self.sum(|c| c.responses.get(z)?.get(r)?.get(p));
                    if count == 0 {
                        continue;
                    }
                    let labels = [
                        SERVER,
                        ("zone", zone.as_str()),
                        VIEW,
                        ("rcode", rcode.label()),
                        ("plugin", *plugin),
                    ];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn histograms(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Histogram of the time in seconds each request took";
        let name = "coredns_dns_request_duration_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let (sum, count, buckets) = self.histogram(&SECONDS, |counters| Some(&counters.seconds));
        // Counted in nanoseconds; a sum of more than 2^53 of them, 104 days, is rounded.
        family.encode_family(&[SERVER, ("zone", "."), VIEW])?.encode_histogram::<NoLabelSet>(
            float(sum) / 1e9,
            count,
            &buckets,
            None,
        )?;
        let bounds = SIZES.map(f64::from);
        for (name, help, response) in [
            ("coredns_dns_request_size_bytes", "Size of the request in bytes", false),
            ("coredns_dns_response_size_bytes", "Size of the returned response in bytes", true),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (p, proto) in ["udp", "tcp"].into_iter().enumerate() {
                let (sum, count, buckets) = self.histogram(&bounds, |counters| {
                    let counters = counters.protocols.get(p)?;
                    Some(if response { &counters.response_bytes } else { &counters.request_bytes })
                });
                family
                    .encode_family(&[SERVER, ("zone", "."), VIEW, ("proto", proto)])?
                    .encode_histogram::<NoLabelSet>(float(sum), count, &buckets, None)?;
            }
        }
        Ok(())
    }

    fn histogram<const N: usize>(
        &self,
        bounds: &[f64; N],
        of: impl Fn(&Counters) -> Option<&Histogram<N>>,
    ) -> (u64, u64, Vec<(f64, u64)>) {
        let mut buckets: Vec<(f64, u64)> = bounds.iter().map(|bound| (*bound, 0)).collect();
        buckets.push((f64::MAX, 0));
        let mut sum = 0;
        for histogram in self.0.counters.iter().filter_map(|counters| of(counters)) {
            let counts = histogram.buckets.iter().chain([&histogram.above]);
            for ((_, total), count) in buckets.iter_mut().zip(counts) {
                *total += load(count);
            }
            sum += load(&histogram.sum);
        }
        (sum, buckets.iter().map(|(_, count)| count).sum(), buckets)
    }

    fn cache(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let cache = self.0.outside.cache();
        for (name, help, value) in [
            ("coredns_cache_hits", "The count of cache hits", &cache.hits),
            ("coredns_cache_misses", "The count of cache misses", &cache.misses),
            ("coredns_cache_served_stale", "The number of requests served from stale entries", &cache.stale),
            ("coredns_cache_evictions", "The count of cache evictions", &cache.evictions),
            (
                "coredns_cache_prefetch",
                "The number of times the cache has prefetched an item",
                &cache.prefetches,
            ),
        ] {
            counter(encoder, name, help, load(value))?;
        }
        gauge(encoder, "coredns_cache_entries", "The number of elements in the cache", cache.len())
    }

    fn forward(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let outside = &self.0.outside;
        let rejected = load(&outside.rejected);
        let help = "Counter of queries rejected because there are as many as may be";
        counter(encoder, "coredns_forward_max_concurrent_rejects", help, rejected)?;
        for (name, help, kind, value) in UPSTREAMS {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for upstream in outside.upstreams() {
                let labels = [("to", upstream.address().to_string())];
                let place = family.encode_family(&labels)?;
                match kind {
                    MetricType::Gauge => ConstGauge::new(i64::from(!upstream.is_usable())).encode(place)?,
                    _ => ConstCounter::new(value(upstream)).encode(place)?,
                }
            }
        }
        Ok(())
    }

    fn state(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let names = self.0.names.load();
        let services = names.as_ref().map_or(0, |names| names.services());
        gauge(
            encoder,
            "vpod_dns_synced",
            "Whether the cluster's names are known",
            usize::from(names.is_some()),
        )?;
        gauge(encoder, "vpod_dns_services", "Services that have a name", services)?;
        let connections = self.0.connections.load(Ordering::Relaxed);
        gauge(encoder, "vpod_dns_tcp_connections", "TCP connections that are open", connections)
    }
}

type OfUpstream = (&'static str, &'static str, MetricType, fn(&crate::forward::Upstream) -> u64);

const UPSTREAMS: [OfUpstream; 4] = [
    ("coredns_forward_requests", "Counter of requests made per upstream", MetricType::Counter, |u| {
        load(&u.requests)
    }),
    (
        "coredns_forward_failures",
        "Counter of requests without an answer, per upstream",
        MetricType::Counter,
        |u| load(&u.failures),
    ),
    ("coredns_proxy_healthcheck_failures", "Counter of failed health checks", MetricType::Counter, |u| {
        load(&u.failed_checks)
    }),
    (
        "vpod_dns_upstream_down",
        "Whether a server is not asked, because it is silent or asks us",
        MetricType::Gauge,
        |_| 0,
    ),
];

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: usize) -> fmt::Result {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats; sums beyond 2^53 are rounded")]
fn float(value: u64) -> f64 {
    value as f64
}
