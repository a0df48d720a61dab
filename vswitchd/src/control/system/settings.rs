//! What a program in a system pod is told: a TOML file beside the socket.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Serialize;

use super::super::node::Control;
use super::super::pods::dns;
use super::{MOUNTED, NODE, OWN, Role};
use crate::config::Config;

/// Where a name server listens.
const DNS_PORT: u16 = 53;
/// Where both say how they are.
const HEALTH: &str = "0.0.0.0:8080";
const READY: &str = "0.0.0.0:8181";
const METRICS: &str = "0.0.0.0:9153";

/// `vpod-dns --config`.
#[derive(Debug, Serialize)]
struct DnsFile {
    socket: String,
    node: String,
    zone: String,
    /// Whose addresses have names in the cluster only.
    reverse_cidrs: Vec<String>,
    listen: Vec<String>,
    health: &'static str,
    ready: &'static str,
    metrics: &'static str,
    ttl: u32,
    pod_records: String,
    upstreams: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_entries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrent: Option<u32>,
    log_queries: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lameduck_seconds: Option<u32>,
    stub_domains: BTreeMap<String, Vec<String>>,
}

/// `vpod-ingress --config`.
#[derive(Debug, Serialize)]
struct IngressFile {
    socket: String,
    node: String,
    http: String,
    https: String,
    /// At both of these it says how it is, and nowhere else: other ports may be those of Gateways.
    ready: &'static str,
    metrics: &'static str,
    class: String,
    trusted_proxies: Vec<String>,
    proxy_protocol: Vec<String>,
    /// Where a successor is given the listeners.
    handover: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_log: Option<&'static str>,
    options: toml::Table,
}

/// The settings of a role as they are now.
pub(super) fn text(control: &Control, role: Role) -> String {
    let config = &control.config;
    let text = match role {
        Role::Dns => toml::to_string(&dns_file(config, upstreams(config, &dns::of_node().nameservers))),
        Role::Ingress => toml::to_string(&ingress_file(config)),
    };
    // Strings, numbers and tables: nothing TOML cannot express.
    text.unwrap_or_else(|error| format!("# {error}\n"))
}

/// Writes them where the program reads them; true if they were others.
pub(super) fn write(control: &Control, role: Role) -> io::Result<bool> {
    let text = text(control, role);
    let path = control.config.system_dir().join(role.file_name());
    if fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(false);
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, &path)?;
    Ok(true)
}

/// The command line of a role's program.
pub(super) fn command(role: Role) -> Vec<String> {
    let file = Path::new(MOUNTED).join(NODE).join(role.file_name());
    vec![role.mounted().display().to_string(), "--config".to_owned(), file.display().to_string()]
}

fn socket() -> String {
    Path::new(MOUNTED).join(NODE).join("ro.sock").display().to_string()
}

/// In the one place that the ingress may write to.
fn handover() -> String {
    Path::new(MOUNTED).join(NODE).join(OWN).join("handover.sock").display().to_string()
}

fn dns_file(config: &Config, upstreams: Vec<SocketAddr>) -> DnsFile {
    let texts = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let dns = &config.dns;
    DnsFile {
        socket: socket(),
        node: config.node.clone(),
        zone: config.cluster_domain.clone(),
        reverse_cidrs: vec![config.cluster_cidr.to_string(), config.service_cidr.to_string()],
        listen: vec![format!("0.0.0.0:{DNS_PORT}")],
        health: HEALTH,
        ready: READY,
        metrics: METRICS,
        ttl: dns.ttl,
        pod_records: dns.pod_records.clone(),
        upstreams: texts(&upstreams),
        cache_entries: dns.cache_entries,
        max_concurrent: dns.max_concurrent,
        log_queries: dns.log_queries,
        lameduck_seconds: dns.lameduck_seconds,
        stub_domains: dns.stub_domains.iter().map(|(domain, all)| (domain.clone(), texts(all))).collect(),
    }
}

fn ingress_file(config: &Config) -> IngressFile {
    let ingress = &config.ingress;
    let proxies: Vec<String> = ingress.trusted_proxies.iter().map(ToString::to_string).collect();
    IngressFile {
        socket: socket(),
        node: config.node.clone(),
        http: ingress.http.to_string(),
        https: ingress.https.to_string(),
        ready: READY,
        metrics: METRICS,
        class: ingress.class.clone(),
        proxy_protocol: if ingress.proxy_protocol { proxies.clone() } else { Vec::new() },
        trusted_proxies: proxies,
        handover: handover(),
        access_log: ingress.access_log.then_some("-"),
        options: ingress.options.clone(),
    }
}

/// Those that are configured, or else the node's. A pod does not reach the node's loopback, and must not ask itself.
fn upstreams(config: &Config, of_node: &[IpAddr]) -> Vec<SocketAddr> {
    if !config.dns.upstreams.is_empty() {
        return config.dns.upstreams.clone();
    }
    let is_usable = |ip: &&IpAddr| ip.is_ipv4() && !ip.is_loopback() && **ip != config.cluster_dns;
    of_node.iter().filter(is_usable).map(|ip| SocketAddr::new(*ip, DNS_PORT)).collect()
}

/// Whether names outside of the cluster can be asked about.
pub(super) fn has_upstreams(config: &Config) -> bool {
    !upstreams(config, &dns::of_node().nameservers).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_asks_neither_the_nodes_loopback_nor_itself() {
        let of_node: Vec<IpAddr> =
            ["127.0.0.53", "::1", "10.96.0.10", "192.0.2.53"].map(|ip| ip.parse().unwrap()).into();
        let found = upstreams(&Config::of(""), &of_node);
        assert_eq!(found, ["192.0.2.53:53".parse().unwrap()]);
        let configured = Config::of("[dns]\nupstreams = [\"192.0.2.54\"]");
        assert_eq!(upstreams(&configured, &of_node), ["192.0.2.54:53".parse().unwrap()]);
    }

    #[test]
    fn settings_are_toml() {
        let config = Config::of(
            "node = \"n1\"\ncluster_cidr = \"10.32.0.0/16\"\npod_cidr = \"10.32.7.0/24\"\nservice_cidr = \"10.100.0.0/20\"\ncluster_dns = \"10.100.0.10\"\n\
             [dns]\ncache_entries = 5\nstub_domains = { \"corp.example\" = [\"192.0.2.54\"] }\n[ingress.options]\nx = 1",
        );
        let text = toml::to_string(&dns_file(&config, Vec::new())).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["zone"].as_str(), Some("cluster.local"));
        // Whose addresses are nobody else's to name: not the defaults but the cluster's own.
        assert_eq!(table["reverse_cidrs"].to_string(), "[\"10.32.0.0/16\", \"10.100.0.0/20\"]");
        assert_eq!(table["socket"].as_str(), Some("/run/vpod/node/ro.sock"));
        assert_eq!(table["stub_domains"]["corp.example"][0].as_str(), Some("192.0.2.54:53"));
        assert!(!table.contains_key("lameduck_seconds"));
        let table: toml::Table = toml::to_string(&ingress_file(&config)).unwrap().parse().unwrap();
        assert_eq!(table["options"]["x"].as_integer(), Some(1));
    }
}
