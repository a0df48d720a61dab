//! `[dns]` and `[ingress]`: the programs that the daemon runs in system pods, and what they are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::checked::{ConfigError, User, cidr, number, parse, user, value};
use super::raw::{RawDns, RawIngress};

/// Users of the programs, which no distribution gives to anybody: numbers from 65,536 to 524,287 are free (systemd's
/// `docs/UIDS-GIDS.md`).
const DNS_USER: &str = "98053";
const INGRESS_USER: &str = "98080";
/// What `pod_records` may be.
const POD_RECORDS: [&str; 3] = ["disabled", "insecure", "verified"];
/// Where name servers listen.
const DNS_PORT: u16 = 53;

/// A program in a system pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// It is to run.
    pub(crate) enabled: bool,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whom it runs as.
    pub(crate) user: User,
}

/// The cluster's DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) program: Program,
    /// Seconds that answers about the cluster may be kept.
    pub(crate) ttl: u32,
    /// Whether addresses of pods have names: `disabled`, `insecure`, `verified`.
    pub(crate) pod_records: String,
    /// Whom to ask about other names; the node's own resolvers where empty.
    pub(crate) upstreams: Vec<SocketAddr>,
    /// Whom to ask about names in these domains.
    pub(crate) stub_domains: BTreeMap<String, Vec<SocketAddr>>,
    pub(crate) cache_entries: Option<u32>,
    pub(crate) max_concurrent: Option<u32>,
    /// Log every query.
    pub(crate) log_queries: bool,
    /// Seconds that it goes on answering after it was told to stop.
    pub(crate) lameduck_seconds: Option<u32>,
}

/// The L7 ingress.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ingress {
    pub(crate) program: Program,
    /// Name of the IngressClass that is its own.
    pub(crate) class: String,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// Whose word on client addresses is taken.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Connections of trusted proxies begin with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// It is reached at these ports of each node as well.
    pub(crate) host_ports: bool,
    /// Each request is a line of its log.
    pub(crate) access_log: bool,
    /// Passed to the program as they are.
    pub(crate) options: toml::Table,
}

impl Ingress {
    /// Whose connections are those of the ingress.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.program.enabled.then_some(self.program.user.uid)
    }
}

pub(super) fn dns(raw: Option<RawDns>) -> Result<Dns, ConfigError> {
    let raw = raw.unwrap_or_default();
    let pod_records = raw.pod_records.unwrap_or_else(|| "disabled".to_owned());
    if !POD_RECORDS.contains(&pod_records.as_str()) {
        let problem = format!("\"{pod_records}\" is none of {}", POD_RECORDS.join(", "));
        return Err(value("dns.pod_records", problem));
    }
    let stub_domains = raw.stub_domains.unwrap_or_default().into_iter().map(|(domain, all)| {
        let key = format!("dns.stub_domains.{domain}");
        check_domain(&key, &domain)?;
        if all.is_empty() {
            return Err(value(key, "is empty: want at least one name server"));
        }
        Ok((domain, servers(&key, all)?))
    });
    Ok(Dns {
        program: program("dns", "vpod-dns", DNS_USER, (raw.enabled, raw.program, raw.user))?,
        ttl: number("dns.ttl", raw.ttl, 5, 0..=3600)?,
        pod_records,
        upstreams: servers("dns.upstreams", raw.upstreams.unwrap_or_default())?,
        stub_domains: stub_domains.collect::<Result<_, _>>()?,
        cache_entries: optional("dns.cache_entries", raw.cache_entries, 0..=10_000_000)?,
        max_concurrent: optional("dns.max_concurrent", raw.max_concurrent, 1..=1_000_000)?,
        log_queries: raw.log_queries.unwrap_or(false),
        lameduck_seconds: optional("dns.lameduck_seconds", raw.lameduck_seconds, 0..=600)?,
    })
}

pub(super) fn ingress(raw: Option<RawIngress>) -> Result<Ingress, ConfigError> {
    let raw = raw.unwrap_or_default();
    let class = raw.class.unwrap_or_else(|| "vpod".to_owned());
    if let Err(error) = class.parse::<protocol::ObjectName>() {
        return Err(value("ingress.class", error.to_string()));
    }
    let at = |key: &str, text: Option<String>, default: &str| -> Result<SocketAddr, ConfigError> {
        parse(key, text.as_deref().unwrap_or(default), "an address and port such as 0.0.0.0:80")
    };
    let proxies = raw.trusted_proxies.unwrap_or_default().into_iter().enumerate();
    let proxies =
        proxies.map(|(index, text)| cidr(&format!("ingress.trusted_proxies[{index}]"), Some(text), ""));
    Ok(Ingress {
        program: program("ingress", "vpod-ingress", INGRESS_USER, (raw.enabled, raw.program, raw.user))?,
        class,
        http: at("ingress.http", raw.http, "0.0.0.0:80")?,
        https: at("ingress.https", raw.https, "0.0.0.0:443")?,
        trusted_proxies: proxies.collect::<Result<_, _>>()?,
        proxy_protocol: raw.proxy_protocol.unwrap_or(false),
        host_ports: raw.host_ports.unwrap_or(false),
        access_log: raw.access_log.unwrap_or(false),
        options: raw.options.unwrap_or_default(),
    })
}

/// Enabled unless told otherwise where it is found, which is beside the daemon unless told otherwise.
fn program(
    section: &str,
    name: &str,
    default_user: &str,
    (enabled, path, who): (Option<bool>, Option<String>, Option<String>),
) -> Result<Program, ConfigError> {
    let is_named = path.is_some();
    let path = match path {
        Some(text) => {
            let path = PathBuf::from(text);
            if !path.is_absolute() {
                let problem = format!("\"{}\" is not an absolute path", path.display());
                return Err(value(format!("{section}.program"), problem));
            }
            path
        }
        None => beside_the_daemon(name),
    };
    let enabled = enabled.unwrap_or_else(|| is_named || path.exists());
    let key = format!("{section}.user");
    let user = user(&key, who.unwrap_or_else(|| default_user.to_owned()))?;
    if user.uid == 0 {
        return Err(value(key, "is root; the program needs no rights"));
    }
    Ok(Program { enabled, path, user })
}

fn beside_the_daemon(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or_else(|| Path::new("/usr/sbin")).join(name)
}

fn servers(key: &str, all: Vec<String>) -> Result<Vec<SocketAddr>, ConfigError> {
    let one = |(index, text): (usize, String)| {
        let address = text.parse().map(|ip| SocketAddr::new(ip, DNS_PORT)).or_else(|_| text.parse());
        address.map_err(|_| {
            let problem = format!("\"{text}\" is not an address such as 192.0.2.53 or 192.0.2.53:5353");
            value(format!("{key}[{index}]"), problem)
        })
    };
    all.into_iter().enumerate().map(one).collect()
}

fn check_domain(key: &str, domain: &str) -> Result<(), ConfigError> {
    let labels = domain.trim_end_matches('.').split('.');
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if domain.len() <= 253 && labels.clone().all(good) {
        return Ok(());
    }
    Err(value(key, format!("\"{domain}\" is not a domain name such as corp.example")))
}

fn optional(
    key: &str,
    given: Option<i64>,
    range: std::ops::RangeInclusive<i64>,
) -> Result<Option<u32>, ConfigError> {
    given.map(|given| number(key, Some(given), 0, range)).transpose()
}

pub(super) fn raw_dns(dns: &Dns) -> RawDns {
    let texts = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect();
    RawDns {
        enabled: Some(dns.program.enabled),
        program: Some(dns.program.path.display().to_string()),
        user: Some(dns.program.user.name.clone()),
        ttl: Some(dns.ttl.into()),
        pod_records: Some(dns.pod_records.clone()),
        upstreams: Some(texts(&dns.upstreams)),
        cache_entries: dns.cache_entries.map(i64::from),
        max_concurrent: dns.max_concurrent.map(i64::from),
        log_queries: Some(dns.log_queries),
        lameduck_seconds: dns.lameduck_seconds.map(i64::from),
        stub_domains: match &dns.stub_domains {
            none if none.is_empty() => None,
            some => Some(some.iter().map(|(domain, all)| (domain.clone(), texts(all))).collect()),
        },
    }
}

pub(super) fn raw_ingress(ingress: &Ingress) -> RawIngress {
    RawIngress {
        enabled: Some(ingress.program.enabled),
        program: Some(ingress.program.path.display().to_string()),
        user: Some(ingress.program.user.name.clone()),
        class: Some(ingress.class.clone()),
        http: Some(ingress.http.to_string()),
        https: Some(ingress.https.to_string()),
        trusted_proxies: Some(ingress.trusted_proxies.iter().map(ToString::to_string).collect()),
        proxy_protocol: Some(ingress.proxy_protocol),
        host_ports: Some(ingress.host_ports),
        access_log: Some(ingress.access_log),
        options: Some(ingress.options.clone()).filter(|options| !options.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::tests::problem;

    #[test]
    fn programs_that_are_not_found_do_not_run_unless_they_are_asked_for() {
        let config = Config::of("");
        assert!(!config.dns.program.enabled && !config.ingress.program.enabled);
        assert_eq!(config.ingress.uid(), None);
        assert!(config.dns.program.path.ends_with("vpod-dns"), "{:?}", config.dns.program.path);
        let asked = Config::of("[dns]\nenabled = true\n[ingress]\nprogram = \"/no/such\"\nuser = \"777\"");
        assert!(asked.dns.program.enabled && asked.dns.program.user.uid == 98_053);
        assert_eq!(asked.ingress.uid(), Some(777));
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        let text = r#"
            [dns]
            program = "/usr/libexec/vpod-dns"
            user = "4053"
            ttl = 30
            pod_records = "verified"
            upstreams = ["192.0.2.53", "[2001:db8::53]:5353"]
            cache_entries = 1000
            max_concurrent = 50
            log_queries = true
            lameduck_seconds = 2
            [dns.stub_domains]
            "corp.example" = ["192.0.2.54"]
            [ingress]
            enabled = false
            class = "outer"
            http = "0.0.0.0:8000"
            https = "[::]:8443"
            trusted_proxies = ["192.0.2.0/24"]
            proxy_protocol = true
            host_ports = true
            access_log = true
            [ingress.options]
            body_bytes = 1000
            tls = { minimum = "1.3" }
        "#;
        let config = Config::of(text);
        assert_eq!(config.dns.upstreams[0].port(), 53);
        assert_eq!(Config::of(&config.to_toml()), config);
    }

    #[test]
    fn bad_values_are_refused_by_key() {
        for (text, part) in [
            ("[dns]\npod_records = \"yes\"", "dns.pod_records"),
            ("[dns]\nupstreams = [\"resolver\"]", "dns.upstreams[0]"),
            ("[dns]\nttl = 3601", "dns.ttl"),
            ("[dns]\nuser = \"root\"", "dns.user"),
            ("[dns]\nprogram = \"vpod-dns\"", "dns.program"),
            ("[dns]\nmax_concurrent = 0", "dns.max_concurrent"),
            ("[dns.stub_domains]\n\"a..b\" = [\"192.0.2.1\"]", "dns.stub_domains.a..b"),
            ("[dns.stub_domains]\na = []", "dns.stub_domains.a"),
            ("[ingress]\nclass = \"A\"", "ingress.class"),
            ("[ingress]\nhttp = \"80\"", "ingress.http"),
            ("[ingress]\ntrusted_proxies = [\"192.0.2.1/24\"]", "ingress.trusted_proxies[0]"),
        ] {
            let problem = problem(text);
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
