//! The process, its health, and how it keeps up with the cluster.

use std::fmt;
use std::sync::atomic::Ordering;

use super::super::counters::load;
use super::super::events::{HEALTH_SECONDS, PROGRAMMING_SECONDS};
use super::super::histogram::Sum;
use super::{NANOSECONDS, Page, SERVER, Scrape, VIEW};

impl Scrape {
    pub(super) fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        page.gauges(
            "coredns_build_info",
            "A metric with a constant '1' value labeled by version, revision, and goversion from which the server was built",
            &[(&[("version", version), ("revision", "vpod-dns"), ("goversion", "")], 1)],
        )?;
        // A panic ends the process, so one that counts has had none.
        page.counter("coredns_panics", "A metrics that counts the number of panics", &[], 0)?;
        let plugins = ["cache", "errors", "forward", "health", "kubernetes", "loop", "prometheus", "ready"];
        let labels = plugins.map(|name| [SERVER, ("zone", "."), ("name", name), VIEW]);
        let enabled: Vec<_> = labels.iter().map(|labels| (labels.as_slice(), 1)).collect();
        let help = "A metric that indicates whether a plugin is enabled on per server and zone basis";
        page.gauges("coredns_plugin_enabled", help, &enabled)?;
        self.health(page)?;
        self.programming(page)?;
        self.state(page)
    }

    fn health(&self, page: &mut Page<'_>) -> fmt::Result {
        let health = &self.0.health;
        let sum = Sum::of(&HEALTH_SECONDS, std::iter::once(&health.seconds));
        let help = "Histogram of the time (in seconds) each request took";
        page.histograms("coredns_health_request_duration_seconds", help, NANOSECONDS, [(Vec::new(), sum)])?;
        let help = "The number of times the self health check failed";
        page.counter("coredns_health_request_failures", help, &[], load(&health.failures))
    }

    fn programming(&self, page: &mut Page<'_>) -> fmt::Result {
        let programming = &self.0.programming;
        let all =
            [("cluster_ip", &programming.cluster_ip), ("headless_with_selector", &programming.headless)].map(
                |(kind, histogram)| {
                    let sum = Sum::of(&PROGRAMMING_SECONDS, std::iter::once(histogram));
                    (vec![("service_kind", kind)], sum)
                },
            );
        let help = "Histogram of the time (in seconds) it took to program a dns instance";
        page.histograms("coredns_kubernetes_dns_programming_duration_seconds", help, NANOSECONDS, all)
    }

    fn state(&self, page: &mut Page<'_>) -> fmt::Result {
        let names = self.0.names.load();
        let services = names.as_ref().map_or(0, |names| names.services());
        for (name, help, value) in [
            ("vpod_dns_synced", "Whether the cluster's names are known", usize::from(names.is_some())),
            ("vpod_dns_services", "Services that have a name", services),
            ("vpod_dns_tcp_connections", "TCP connections that are open", self.0.connections.held()),
            (
                "vpod_dns_query_log",
                "Whether every query is logged",
                usize::from(self.0.log_queries.load(Ordering::Relaxed)),
            ),
        ] {
            page.gauge(name, help, value)?;
        }
        let help = "TCP connections that were closed because there were as many as may be";
        page.counter("vpod_dns_tcp_refused", help, &[], self.0.connections.refused())
    }
}
