//! Answers from outside that are kept.

use std::fmt;

use super::super::counters::load;
use super::{Page, SERVER, Scrape, VIEW, number};

/// The `zones` label: everything that is not the cluster's.
const ZONES: (&str, &str) = ("zones", ".");
/// The `type` label, by index: answers with records, and those that say that there are none.
const TYPES: [&str; 2] = ["success", "denial"];

impl Scrape {
    pub(super) fn cache(&self, page: &mut Page<'_>) -> fmt::Result {
        let cache = self.0.outside.cache();
        let by_type = |counts: [u64; 2]| {
            TYPES
                .into_iter()
                .zip(counts)
                .map(|(kind, count)| (vec![SERVER, ("type", kind), ZONES, VIEW], count))
        };
        let hits = [&cache.hits[0], &cache.hits[1]].map(load);
        let misses = load(&cache.misses);
        page.counters("coredns_cache_hits", "The count of cache hits", by_type(hits))?;
        let asked = hits.iter().sum::<u64>() + misses;
        for (name, help, count) in [
            ("coredns_cache_misses", "The count of cache misses", misses),
            ("coredns_cache_requests", "The count of cache requests", asked),
            (
                "coredns_cache_served_stale",
                "The number of requests served from stale cache entries",
                load(&cache.stale),
            ),
            (
                "coredns_cache_prefetch",
                "The number of times the cache has prefetched a cached item",
                load(&cache.prefetches),
            ),
            (
                "coredns_cache_drops",
                "The number of responses that are not cached, because they cannot be believed",
                load(&self.0.outside.not_believed),
            ),
        ] {
            page.counter(name, help, &[SERVER, ZONES, VIEW], count)?;
        }
        let evictions = [&cache.evictions[0], &cache.evictions[1]].map(load);
        page.counters("coredns_cache_evictions", "The count of cache evictions", by_type(evictions))?;
        let [success, denial] = cache.kept().map(number);
        page.gauges(
            "coredns_cache_entries",
            "The number of elements in the cache",
            &[
                (&[SERVER, ("type", "success"), ZONES, VIEW], success),
                (&[SERVER, ("type", "denial"), ZONES, VIEW], denial),
            ],
        )
    }
}
