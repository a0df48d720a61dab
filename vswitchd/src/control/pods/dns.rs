//! A pod's `/etc/resolv.conf`, as the kubelet composes it from `dnsPolicy`, `dnsConfig` and the node's own
//! (`pkg/kubelet/network/dns/dns.go`, limits of `pkg/apis/core/validation`).

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use protocol::Namespace;
use protocol::object::{DnsOption, DnsPolicy, PodDns};

/// glibc reads no more (`MAXNS`).
const MAX_NAMESERVERS: usize = 3;
/// Kubernetes' limits since 1.28; resolvers that read less (6 and 256 before glibc 2.26) ignore the rest.
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;
/// Bounded for ourselves; `resolv.conf(5)` knows some twenty.
const MAX_OPTIONS: usize = 32;
const MAX_OPTION_BYTES: usize = 64;
/// A domain name (RFC 1035 §2.3.4).
const MAX_DOMAIN_BYTES: usize = 253;

/// Where a node says how it resolves names. systemd-resolved's own file leads to a server on the node's loopback, which a pod
/// does not reach; what that asks is in the second one.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// What there is in a `resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResolvConf {
    pub(crate) nameservers: Vec<IpAddr>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<DnsOption>,
}

/// The node's.
pub(crate) fn of_node() -> ResolvConf {
    let read = |path: &str| fs::read_to_string(Path::new(path)).ok().map(|text| ResolvConf::parse(&text));
    let own = read(RESOLV_CONF).unwrap_or_default();
    if own.nameservers.iter().all(IpAddr::is_loopback)
        && let Some(behind) = read(BEHIND_RESOLVED)
    {
        return behind;
    }
    own
}

impl ResolvConf {
    /// As the kubelet reads it: of several `search` and `options` lines the last counts; what makes no sense is passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines().map(str::trim) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone (`%eth0`) means nothing in another namespace.
                    let address: Option<IpAddr> =
                        words.next().and_then(|word| word.split('%').next()?.parse().ok());
                    conf.nameservers.extend(address);
                }
                Some("search") => {
                    let domains = words.map(|word| word.trim_end_matches('.').to_owned());
                    conf.searches = domains.filter(|domain| !domain.is_empty()).collect();
                }
                Some("options") => conf.options = words.map(option).collect(),
                Some(_) | None => {}
            }
        }
        conf
    }

    /// As text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            let _ = writeln!(text, "search {}", self.searches.join(" "));
        }
        for nameserver in &self.nameservers {
            let _ = writeln!(text, "nameserver {nameserver}");
        }
        if !self.options.is_empty() {
            let options: Vec<String> = self.options.iter().map(written).collect();
            let _ = writeln!(text, "options {}", options.join(" "));
        }
        text
    }

    /// Without what is there twice, and what is too much: it was there last.
    fn bounded(mut self) -> Self {
        self.nameservers = distinct(self.nameservers);
        self.nameservers.truncate(MAX_NAMESERVERS);
        self.searches = distinct(self.searches);
        self.searches.truncate(MAX_SEARCHES);
        while joined(&self.searches) > MAX_SEARCH_BYTES {
            self.searches.pop();
        }
        self
    }
}

/// The cluster's DNS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClusterDns<'a> {
    pub(crate) address: IpAddr,
    pub(crate) domain: &'a str,
}

/// What a pod of `namespace` is given; `node` is only asked where the policy wants it.
pub(crate) fn compose(
    namespace: &Namespace,
    dns: &PodDns,
    cluster: ClusterDns<'_>,
    node: impl FnOnce() -> ResolvConf,
) -> ResolvConf {
    let mut conf = match dns.policy {
        DnsPolicy::ClusterFirst | DnsPolicy::ClusterFirstWithHostNet => {
            let domain = cluster.domain;
            let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
            ResolvConf {
                nameservers: vec![cluster.address],
                searches: own.into_iter().chain(node().searches).collect(),
                options: vec![DnsOption { name: "ndots".to_owned(), value: Some("5".to_owned()) }],
            }
        }
        DnsPolicy::Default => node(),
        DnsPolicy::None => ResolvConf::default(),
    };
    conf.nameservers.extend(&dns.nameservers);
    conf.searches.extend(dns.searches.iter().map(|domain| trimmed(domain).to_owned()));
    for option in &dns.options {
        match conf.options.iter_mut().find(|known| known.name == option.name) {
            Some(known) => known.value.clone_from(&option.value),
            None => conf.options.push(option.clone()),
        }
    }
    conf.bounded()
}

/// What is wrong with it, by the field of a manifest.
pub(crate) fn check(dns: &PodDns) -> Result<(), String> {
    let field = |name: &str, problem: String| Err(format!("spec.dnsConfig.{name}: {problem}"));
    if dns.policy == DnsPolicy::None && dns.nameservers.is_empty() {
        let problem = "Required value: must provide at least one DNS nameserver when `dnsPolicy` is None";
        return field("nameservers", problem.to_owned());
    }
    if dns.nameservers.len() > MAX_NAMESERVERS {
        return field("nameservers", format!("must not have more than {MAX_NAMESERVERS} nameservers"));
    }
    if let Some(index) = dns.nameservers.iter().position(|ip| ip.is_unspecified() || ip.is_multicast()) {
        let problem = format!("{}: is not an address of a server", dns.nameservers[index]);
        return field(&format!("nameservers[{index}]"), problem);
    }
    if dns.searches.len() > MAX_SEARCHES {
        return field("searches", format!("must not have more than {MAX_SEARCHES} search paths"));
    }
    if joined(&dns.searches) > MAX_SEARCH_BYTES {
        let limit = MAX_SEARCH_BYTES;
        return field(
            "searches",
            format!("must not have more than {limit} characters (including spaces) in the search list"),
        );
    }
    for (index, domain) in dns.searches.iter().enumerate() {
        if !is_search(domain) {
            let problem = format!("Invalid value: \"{domain}\": must be a domain name such as corp.example");
            return field(&format!("searches[{index}]"), problem);
        }
    }
    if dns.options.len() > MAX_OPTIONS {
        return field("options", format!("must not have more than {MAX_OPTIONS} options"));
    }
    for (index, option) in dns.options.iter().enumerate() {
        let is_word = |text: &str| {
            (1..=MAX_OPTION_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if option.name.is_empty() {
            return field(&format!("options[{index}].name"), "Required value".to_owned());
        }
        if !is_word(&option.name) || option.name.contains(':') {
            let problem = format!("Invalid value: \"{}\": must be one word without ':'", option.name);
            return field(&format!("options[{index}].name"), problem);
        }
        if let Some(value) = option.value.as_ref().filter(|value| !is_word(value)) {
            return field(
                &format!("options[{index}].value"),
                format!("Invalid value: \"{value}\": must be one word"),
            );
        }
    }
    Ok(())
}

/// A subdomain, absolute or not, in which labels may begin with an underscore (KEP-4427), or the root.
fn is_search(domain: &str) -> bool {
    let good = |label: &str| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        let outer = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        label.len() <= 63
            && bytes.first().is_some_and(outer)
            && bytes.last().is_some_and(outer)
            && bytes.iter().all(|b| outer(b) || *b == b'-' || *b == b'_')
    };
    domain == "." || (domain.len() <= MAX_DOMAIN_BYTES && trimmed(domain).split('.').all(good))
}

/// An absolute name is written without its dot, but for the root.
fn trimmed(domain: &str) -> &str {
    domain.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(domain)
}

pub(super) fn option(word: &str) -> DnsOption {
    match word.split_once(':') {
        Some((name, value)) => DnsOption { name: name.to_owned(), value: Some(value.to_owned()) },
        None => DnsOption { name: word.to_owned(), value: None },
    }
}

pub(super) fn written(option: &DnsOption) -> String {
    match &option.value {
        Some(value) => format!("{}:{value}", option.name),
        None => option.name.clone(),
    }
}

/// Bytes of a search list, with the spaces between.
fn joined(searches: &[String]) -> usize {
    searches.iter().map(|domain| domain.len() + 1).sum::<usize>().saturating_sub(1)
}

fn distinct<T: PartialEq>(all: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(all.len());
    for one in all {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "# by hand\nsearch corp.example. lab.example\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\noptions ndots:1 rotate\n";

    fn text(dns: &PodDns) -> String {
        let cluster = ClusterDns { address: "10.96.0.10".parse().unwrap(), domain: "cluster.local" };
        compose(&"shop".parse().unwrap(), dns, cluster, || ResolvConf::parse(NODE)).text()
    }

    fn with(policy: DnsPolicy) -> PodDns {
        PodDns { policy, ..PodDns::default() }
    }

    fn added(policy: DnsPolicy) -> PodDns {
        PodDns {
            policy,
            nameservers: vec!["192.0.2.9".parse().unwrap()],
            searches: vec!["corp.example".to_owned(), "_tcp.example.".to_owned()],
            options: vec![option("ndots:2"), option("edns0")],
        }
    }

    #[test]
    fn policies_are_the_kubelets() {
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example lab.example\nnameserver 10.96.0.10\noptions ndots:5\n";
        assert_eq!(text(&with(DnsPolicy::ClusterFirst)), cluster);
        assert_eq!(text(&with(DnsPolicy::ClusterFirstWithHostNet)), cluster);
        assert_eq!(
            text(&with(DnsPolicy::Default)),
            "search corp.example lab.example\nnameserver 192.0.2.53\nnameserver fe80::1\noptions ndots:1 rotate\n"
        );
    }

    #[test]
    fn a_config_is_added_to_the_policy_and_its_options_prevail() {
        assert_eq!(
            text(&added(DnsPolicy::ClusterFirst)),
            "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example lab.example _tcp.example\n\
             nameserver 10.96.0.10\nnameserver 192.0.2.9\noptions ndots:2 edns0\n"
        );
        assert_eq!(
            text(&added(DnsPolicy::None)),
            "search corp.example _tcp.example\nnameserver 192.0.2.9\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn long_search_lists_are_taken_and_what_is_too_long_is_cut() {
        let domains = |count: usize, len: usize| -> Vec<String> {
            (0..count).map(|n| format!("{}{n:02}.example", "a".repeat(len - 10))).collect()
        };
        // More than six, of more than 256 characters.
        let dns = PodDns { searches: domains(20, 30), ..with(DnsPolicy::ClusterFirst) };
        assert_eq!(check(&dns), Ok(()));
        assert_eq!(text(&dns).lines().next().unwrap().split(' ').count(), 1 + 3 + 2 + 20);
        let full = PodDns { searches: domains(32, 60), ..with(DnsPolicy::ClusterFirst) };
        assert_eq!(check(&full), Ok(()));
        assert!(text(&full).lines().next().unwrap().len() <= "search ".len() + MAX_SEARCH_BYTES);
    }

    #[test]
    fn bad_configs_are_refused_by_field() {
        let servers = |count: u8| (1..=count).map(|n| IpAddr::from([192, 0, 2, n])).collect::<Vec<_>>();
        let search = |domain: &str| PodDns { searches: vec![domain.to_owned()], ..PodDns::default() };
        let opt = |name: &str, value: Option<&str>| PodDns {
            options: vec![DnsOption { name: name.to_owned(), value: value.map(str::to_owned) }],
            ..PodDns::default()
        };
        for (dns, part) in [
            (with(DnsPolicy::None), "spec.dnsConfig.nameservers: Required"),
            (PodDns { nameservers: servers(4), ..PodDns::default() }, "more than 3 nameservers"),
            (PodDns { nameservers: vec![[0, 0, 0, 0].into()], ..PodDns::default() }, "nameservers[0]"),
            (PodDns { searches: vec!["a".to_owned(); 33], ..PodDns::default() }, "more than 32"),
            (PodDns { searches: vec!["a".repeat(70); 30], ..PodDns::default() }, "more than 2048 characters"),
            (search("a b"), "searches[0]"),
            (search("Upper.example"), "searches[0]"),
            (search("a..b"), "searches[0]"),
            (search("a\nnameserver 192.0.2.1"), "searches[0]"),
            (opt("", None), "options[0].name: Required"),
            (opt("a b", None), "options[0].name"),
            (opt("ndots", Some("5\nsearch x")), "options[0].value"),
        ] {
            let problem = check(&dns).unwrap_err();
            assert!(problem.contains(part), "{dns:?}: {problem}");
        }
        assert_eq!(check(&search(".")), Ok(()));
        assert_eq!(check(&search("_sip._tcp.corp.example.")), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_in_a_file_is_passed_over() {
        let conf =
            ResolvConf::parse("nameserver nowhere\nnameserver\nsearch a\nsearch b c\ngarbage\n;x\noptions");
        assert_eq!(
            conf,
            ResolvConf { searches: vec!["b".to_owned(), "c".to_owned()], ..ResolvConf::default() }
        );
    }
}
