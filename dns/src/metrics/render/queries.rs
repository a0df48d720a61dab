//! What was asked and answered, by zone.

use std::fmt;

use super::super::counters::{KINDS, PLUGINS, RCODES, SECONDS, SIZES};
use super::{NANOSECONDS, Page, SERVER, Scrape, VIEW};

/// The `proto` label, by index.
const PROTOCOLS: [&str; 2] = ["udp", "tcp"];
/// The `family` label, by index.
const FAMILIES: [&str; 2] = ["1", "2"];

impl Scrape {
    pub(super) fn queries(&self, page: &mut Page<'_>) -> fmt::Result {
        let zones = self.zones();
        self.requests(page, &zones)?;
        self.responses(page, &zones)?;
        self.durations(page, &zones)?;
        self.sizes(page, &zones)?;
        let dropped = self.sum(|counters| Some(&counters.dropped));
        let help = "Queries without an answer, because their source sent many while others waited";
        page.counter("vpod_dns_dropped", help, &[], dropped)
    }

    fn requests(&self, page: &mut Page<'_>, zones: &[String; 2]) -> fmt::Result {
        let mut all = Vec::new();
        for (z, zone) in zones.iter().enumerate() {
            for (p, proto) in PROTOCOLS.into_iter().enumerate() {
                for (f, family) in FAMILIES.into_iter().enumerate() {
                    for (k, (_, kind)) in KINDS.iter().enumerate() {
                        let count = self.sum(|c| c.zones.get(z)?.protocols.get(p)?.requests.get(f)?.get(k));
                        let labels = vec![
                            SERVER,
                            ("zone", zone.as_str()),
                            VIEW,
                            ("proto", proto),
                            ("family", family),
                            ("type", *kind),
                        ];
                        all.push((labels, count));
                    }
                }
            }
        }
        page.counters(
            "coredns_dns_requests",
            "Counter of DNS requests made per zone, protocol and family",
            all,
        )?;
        let with_do = zones.iter().enumerate().map(|(z, zone)| {
            let count = self.sum(|c| Some(&c.zones.get(z)?.dnssec_ok));
            (vec![SERVER, ("zone", zone.as_str()), VIEW], count)
        });
        page.counters("coredns_dns_do_requests", "Counter of DNS requests with DO bit set per zone", with_do)
    }

    fn responses(&self, page: &mut Page<'_>, zones: &[String; 2]) -> fmt::Result {
        let mut all = Vec::new();
        for (z, zone) in zones.iter().enumerate() {
            for (r, rcode) in RCODES.iter().enumerate() {
                for (p, (_, plugin)) in PLUGINS.iter().enumerate() {
                    let count = self.sum(|c| c.zones.get(z)?.responses.get(r)?.get(p));
                    let labels = vec![
                        SERVER,
                        ("zone", zone.as_str()),
                        VIEW,
                        ("rcode", rcode.label()),
                        ("plugin", *plugin),
                    ];
                    all.push((labels, count));
                }
            }
        }
        page.counters("coredns_dns_responses", "Counter of response status codes", all)
    }

    fn durations(&self, page: &mut Page<'_>, zones: &[String; 2]) -> fmt::Result {
        let all = zones.iter().enumerate().map(|(z, zone)| {
            let sum = self.sums(&SECONDS, |c| Some(&c.zones.get(z)?.seconds));
            (vec![SERVER, ("zone", zone.as_str()), VIEW], sum)
        });
        let help = "Histogram of the time in seconds each request took per zone";
        page.histograms("coredns_dns_request_duration_seconds", help, NANOSECONDS, all)
    }

    fn sizes(&self, page: &mut Page<'_>, zones: &[String; 2]) -> fmt::Result {
        for (name, help, is_response) in [
            ("coredns_dns_request_size_bytes", "Size of the request in bytes", false),
            ("coredns_dns_response_size_bytes", "Size of the returned response in bytes", true),
        ] {
            let mut all = Vec::new();
            for (z, zone) in zones.iter().enumerate() {
                for (p, proto) in PROTOCOLS.into_iter().enumerate() {
                    let sum = self.sums(&SIZES, |counters| {
                        let counters = counters.zones.get(z)?.protocols.get(p)?;
                        Some(if is_response { &counters.response_bytes } else { &counters.request_bytes })
                    });
                    all.push((vec![SERVER, ("zone", zone.as_str()), VIEW, ("proto", proto)], sum));
                }
            }
            page.histograms(name, help, 1.0, all)?;
        }
        Ok(())
    }
}
