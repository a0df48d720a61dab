//! The configuration file: TOML, every key with a default, unknown keys refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use crate::forward::Policy;
use crate::wire::name::Name;
use crate::zone::{PodRecords, Zone};

/// Where names are asked of servers that do not say otherwise.
const DNS_PORT: u16 = 53;
/// As CoreDNS allows.
const MAX_TTL: u32 = 3600;
/// Servers for names outside, or of one domain.
const MAX_UPSTREAMS: usize = 16;
/// Domains with servers of their own.
const MAX_STUB_DOMAINS: usize = 256;

/// As written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `vswitchd`'s read-only socket.
    pub socket: PathBuf,
    /// The node's name, for logs.
    pub node: String,
    /// The cluster's domain.
    pub zone: String,
    /// Networks whose addresses' names are the cluster's alone.
    pub reverse_cidrs: Vec<IpNet>,
    /// Where queries are answered, by UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Where `/health` is.
    pub health: SocketAddr,
    /// Where `/ready` is.
    pub ready: SocketAddr,
    /// Where `/metrics` is.
    pub metrics: SocketAddr,
    /// Seconds that answers may be kept.
    pub ttl: u32,
    /// Names of pods.
    pub pod_records: PodRecords,
    /// Servers for names outside: addresses, with a port or without.
    pub upstreams: Vec<String>,
    /// In which order they are asked.
    pub policy: Policy,
    /// Servers of single domains.
    pub stub_domains: BTreeMap<String, Vec<String>>,
    /// Answers from outside that are kept; none with zero.
    pub cache_entries: usize,
    /// Queries for names outside at one time; more are refused.
    pub max_concurrent: usize,
    /// Log every query.
    pub log_queries: bool,
    /// Seconds between the signal to end and the end.
    pub lameduck_seconds: u64,
    /// Threads that answer UDP; one per processor with zero.
    pub workers: usize,
}

impl Default for Config {
    fn default() -> Self {
        let everywhere = |port| SocketAddr::from(([0, 0, 0, 0], port));
        Self {
            socket: PathBuf::from("/run/vswitchd/ro.sock"),
            node: String::new(),
            zone: "cluster.local".to_owned(),
            reverse_cidrs: [([10, 244, 0, 0], 16), ([10, 96, 0, 0], 16)]
                .into_iter()
                .filter_map(|(address, len)| IpNet::new(IpAddr::from(address), len).ok())
                .collect(),
            listen: vec![everywhere(DNS_PORT)],
            health: everywhere(8080),
            ready: everywhere(8181),
            metrics: everywhere(9153),
            ttl: 5,
            pod_records: PodRecords::Disabled,
            upstreams: Vec::new(),
            policy: Policy::Random,
            stub_domains: BTreeMap::new(),
            cache_entries: 9984,
            max_concurrent: 1000,
            log_queries: false,
            lameduck_seconds: 5,
            workers: 0,
        }
    }
}

/// Why a configuration is none.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not there.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of another kind.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: toml::de::Error,
    },
    /// A value that cannot be.
    #[error("{key} = {value:?}: {problem}")]
    Value {
        /// Which.
        key: &'static str,
        /// As written.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

fn refuse(key: &'static str, value: impl ToString, problem: &'static str) -> ConfigError {
    ConfigError::Value { key, value: value.to_string(), problem }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or has a mistake.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
    }

    /// The zone it describes.
    ///
    /// # Errors
    /// If its name is none.
    pub fn zone(&self) -> Result<Zone, ConfigError> {
        if self.ttl > MAX_TTL {
            return Err(refuse("ttl", self.ttl, "an hour (3600) at most"));
        }
        if self.listen.is_empty() {
            return Err(refuse("listen", "", "name an address"));
        }
        let name = Name::from_text(&self.zone)
            .filter(|name| *name != Name::root())
            .ok_or_else(|| refuse("zone", &self.zone, "is no domain"))?;
        Zone::new(&name, self.reverse_cidrs.clone(), self.ttl, self.pod_records)
            .ok_or_else(|| refuse("zone", &self.zone, "leaves no room for names below"))
    }

    /// Who is asked for which domain; the root's are [`Config::upstreams`].
    ///
    /// # Errors
    /// If one is no address or no domain.
    pub fn upstreams(&self) -> Result<Vec<(Name, Vec<SocketAddr>)>, ConfigError> {
        if self.stub_domains.len() > MAX_STUB_DOMAINS {
            return Err(refuse("stub_domains", self.stub_domains.len(), "are more than 256"));
        }
        let mut all = Vec::new();
        for (domain, servers) in &self.stub_domains {
            let name =
                Name::from_text(domain).ok_or_else(|| refuse("stub_domains", domain, "is no domain"))?;
            all.push((name, addresses("stub_domains", servers)?));
        }
        if !self.upstreams.is_empty() {
            all.push((Name::root(), addresses("upstreams", &self.upstreams)?));
        }
        Ok(all)
    }
}

fn addresses(key: &'static str, servers: &[String]) -> Result<Vec<SocketAddr>, ConfigError> {
    if servers.is_empty() || servers.len() > MAX_UPSTREAMS {
        return Err(refuse(key, servers.len(), "name between one and sixteen servers"));
    }
    let address = |text: &String| {
        text.parse::<SocketAddr>()
            .or_else(|_| text.parse::<IpAddr>().map(|address| (address, DNS_PORT).into()))
            .map_err(|_| refuse(key, text, "is no address, with a port or without"))
    };
    servers.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_default_and_unknown_ones_are_refused() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
        let error = toml::from_str::<Config>("upstream = []").unwrap_err().to_string();
        assert!(error.contains("upstream") && error.contains("line 1"), "{error}");
    }

    #[test]
    fn servers_are_addresses_with_a_port_or_without() {
        let config: Config = toml::from_str(
            "upstreams = [\"192.0.2.1\", \"[2001:db8::1]:5353\"]\nstub_domains = { \"corp.example\" = [\"192.0.2.2:54\"] }",
        )
        .unwrap();
        let upstreams = config.upstreams().unwrap();
        assert_eq!(
            upstreams[0],
            (Name::from_text("corp.example").unwrap(), vec!["192.0.2.2:54".parse().unwrap()])
        );
        assert_eq!(
            upstreams[1].1,
            ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:5353".parse::<SocketAddr>().unwrap()]
        );
    }

    #[test]
    fn impossible_values_are_refused_by_their_key() {
        for (text, key) in [
            ("ttl = 3601", "ttl"),
            ("zone = \"\"", "zone"),
            ("zone = \"a..b\"", "zone"),
            ("listen = []", "listen"),
            ("upstreams = [\"dns.example\"]", "upstreams"),
            ("stub_domains = { \"a\" = [] }", "stub_domains"),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            let error = config.zone().err().or_else(|| config.upstreams().err()).unwrap().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
