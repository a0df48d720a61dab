//! What a pod's `resolv.conf` makes of a name.

use std::net::IpAddr;

/// As `resolv.conf(5)` has it.
const DEFAULT_NDOTS: usize = 1;

/// A pod's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolver {
    pub(super) server: IpAddr,
    pub(super) searches: Vec<String>,
    pub(super) ndots: usize,
}

impl Resolver {
    /// `None` without a server.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut server, mut searches, mut ndots) = (None, Vec::new(), DEFAULT_NDOTS);
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => server = server.or_else(|| words.next()?.parse().ok()),
                Some("search") => searches = words.map(str::to_owned).collect(),
                Some("options") => {
                    let given = words.rev().find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    ndots = given.unwrap_or(ndots);
                }
                Some(_) | None => {}
            }
        }
        Some(Self { server: server?, searches, ndots })
    }

    /// The cluster's domain, as its search list says it.
    pub(super) fn zone(&self) -> Option<&str> {
        self.searches.iter().find_map(|domain| domain.strip_prefix("svc."))
    }

    /// What is asked for, in order, each with a dot at its end.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let absolute = format!("{name}.");
        let found = self.searches.iter().map(|domain| format!("{name}.{}.", domain.trim_end_matches('.')));
        let mut all: Vec<String> = found.collect();
        let is_first = name.matches('.').count() >= self.ndots;
        all.insert(if is_first { 0 } else { all.len() }, absolute);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";

    #[test]
    fn short_names_are_searched_first_and_long_ones_last() {
        let resolver = Resolver::parse(POD).unwrap();
        assert_eq!(resolver.zone(), Some("cluster.local"));
        assert_eq!(
            resolver.candidates("web"),
            ["web.shop.svc.cluster.local.", "web.svc.cluster.local.", "web.cluster.local.", "web."]
        );
        assert_eq!(resolver.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f.");
        assert_eq!(resolver.candidates("example.com."), ["example.com."]);
    }

    #[test]
    fn a_file_without_a_server_is_none() {
        assert_eq!(Resolver::parse("search a"), None);
        assert_eq!(Resolver::parse("nameserver 192.0.2.1").unwrap().ndots, 1);
    }
}
