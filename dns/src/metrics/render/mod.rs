//! All counters together, as text for Prometheus.

mod cache;
mod forward;
mod process;
mod queries;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::counters::{Counters, load};
use super::histogram::{Histogram, Sum};
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
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        self.queries(&mut page)?;
        self.cache(&mut page)?;
        self.forward(&mut page)?;
        self.process(&mut page)
    }
}

impl Scrape {
    fn sum(&self, of: impl Fn(&Counters) -> Option<&AtomicU64>) -> u64 {
        self.0.counters.iter().filter_map(|counters| of(counters)).map(load).sum()
    }

    fn sums<const N: usize>(
        &self,
        bounds: &[f64; N],
        of: impl Fn(&Counters) -> Option<&Histogram<N>>,
    ) -> Sum {
        Sum::of(bounds, self.0.counters.iter().filter_map(|counters| of(counters)))
    }

    /// The `zone` label of names outside and of ours.
    fn zones(&self) -> [String; 2] {
        [".".to_owned(), self.0.zone.origin().to_string()]
    }
}

type Labels<'l> = &'l [(&'l str, &'l str)];

/// Where metrics are written: a name, what it means, and its numbers by labels.
struct Page<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl Page<'_> {
    /// Counters; those of zero are left out where there are labels, as CoreDNS does, which has never heard of them.
    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        all: impl IntoIterator<Item = (Vec<(&'l str, &'l str)>, u64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in all.into_iter().filter(|(_, count)| *count > 0) {
            ConstCounter::new(count).encode(family.encode_family(&labels.as_slice())?)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, count: u64) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        if labels.is_empty() {
            return ConstCounter::new(count).encode(family);
        }
        ConstCounter::new(count).encode(family.encode_family(&labels)?)
    }

    fn gauges(&mut self, name: &str, help: &str, all: &[(Labels<'_>, u64)]) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in all {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            ConstGauge::new(value).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) -> fmt::Result {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// Histograms; `unit` is what their sums are divided by.
    fn histograms<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: f64,
        all: impl IntoIterator<Item = (Vec<(&'l str, &'l str)>, Sum)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, sum) in all {
            let (count, total) = (sum.count(), float(sum.sum) / unit);
            if labels.is_empty() {
                return family.encode_histogram::<NoLabelSet>(total, count, &sum.buckets, None);
            }
            family.encode_family(&labels.as_slice())?.encode_histogram::<NoLabelSet>(
                total,
                count,
                &sum.buckets,
                None,
            )?;
        }
        Ok(())
    }
}

/// What sums of durations are divided by: they are counted in nanoseconds, and rounded from 2^53 on, 104 days.
const NANOSECONDS: f64 = 1e9;

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats; sums beyond 2^53 are rounded")]
fn float(value: u64) -> f64 {
    value as f64
}
