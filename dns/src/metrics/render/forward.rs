//! Other servers: what they were asked, and how they answered. Twice, under the names of CoreDNS before 1.11 and since.

use std::fmt;

use super::super::counters::{RCODES, SECONDS, load};
use super::super::histogram::Sum;
use super::{NANOSECONDS, Page, Scrape};
use crate::forward::Upstream;

/// What CoreDNS calls the plugin that asks.
const PROXY: (&str, &str) = ("proxy_name", "forward");

impl Scrape {
    pub(super) fn forward(&self, page: &mut Page<'_>) -> fmt::Result {
        let outside = &self.0.outside;
        let rejected = outside.rejected() + self.0.waiting.refused();
        page.counter(
            "coredns_forward_max_concurrent_rejects",
            "Counter of the number of queries rejected because the concurrent queries were at maximum",
            &[],
            rejected,
        )?;
        page.counter(
            "coredns_forward_healthcheck_broken",
            "Counter of the number of complete failures of the healthchecks",
            &[],
            load(&outside.all_down),
        )?;
        page.gauge("vpod_dns_waiting", "Queries that wait for another server", self.0.waiting.held())?;
        let upstreams: Vec<_> =
            outside.upstreams().map(|upstream| (upstream.address().to_string(), upstream)).collect();
        counts(page, &upstreams)?;
        answers(page, &upstreams)
    }
}

type Upstreams<'u> = [(String, &'u std::sync::Arc<Upstream>)];

fn counts(page: &mut Page<'_>, upstreams: &Upstreams<'_>) -> fmt::Result {
    let counts = |of: fn(&Upstream) -> u64, proxy: bool| {
        upstreams.iter().map(move |(to, upstream)| {
            let mut labels = vec![("to", to.as_str())];
            if proxy {
                labels.insert(0, PROXY);
            }
            (labels, of(upstream))
        })
    };
    let requests = |upstream: &Upstream| load(&upstream.requests);
    page.counters(
        "coredns_forward_requests",
        "Counter of requests made per upstream",
        counts(requests, false),
    )?;
    let failures = |upstream: &Upstream| load(&upstream.failures);
    let help = "Counter of requests without a usable answer, per upstream";
    page.counters("vpod_dns_upstream_failures", help, counts(failures, false))?;
    let checks = |upstream: &Upstream| load(&upstream.failed_checks);
    let help = "Counter of the number of failed healthchecks";
    page.counters("coredns_forward_healthcheck_failures", help, counts(checks, false))?;
    page.counters("coredns_proxy_healthcheck_failures", help, counts(checks, true))?;
    let help = "Whether a server is not asked, because it is silent or asks us";
    let labels: Vec<_> = upstreams.iter().map(|(to, _)| [("to", to.as_str())]).collect();
    let all: Vec<_> = labels
        .iter()
        .zip(upstreams)
        .map(|(labels, (_, upstream))| (labels.as_slice(), u64::from(!upstream.is_usable())))
        .collect();
    page.gauges("vpod_dns_upstream_down", help, &all)
}

fn answers(page: &mut Page<'_>, upstreams: &Upstreams<'_>) -> fmt::Result {
    let durations = |proxy: bool| {
        upstreams.iter().flat_map(move |(to, upstream)| {
            RCODES.iter().zip(&upstream.answers.seconds).filter_map(move |(rcode, seconds)| {
                let sum = Sum::of(&SECONDS, std::iter::once(seconds));
                let mut labels = vec![("to", to.as_str()), ("rcode", rcode.label())];
                if proxy {
                    labels.insert(0, PROXY);
                }
                (sum.count() > 0).then_some((labels, sum))
            })
        })
    };
    let responses = durations(false).map(|(labels, sum)| (labels, sum.count()));
    page.counters("coredns_forward_responses", "Counter of responses received per upstream", responses)?;
    let help = "Histogram of the time each request took";
    page.histograms("coredns_forward_request_duration_seconds", help, NANOSECONDS, durations(false))?;
    page.histograms("coredns_proxy_request_duration_seconds", help, NANOSECONDS, durations(true))
}
