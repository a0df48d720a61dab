//! A configuration that holds together.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;
use protocol::Namespace;
use store::desired::VXLAN_OVERHEAD;
use store::peers::{Own, PeerSpec};
use tracing_subscriber::EnvFilter;

use super::load_balancer::{self, LoadBalancer};
use super::nodes::{self, Etcd, Tunnel, Underlay};
use super::raw::{RawConfig, RawLog, RawWorkers};
use super::services::{self, Services};
use super::system::{self, Dns, Ingress};
use super::uplink::{self, Uplink};

/// Every IPv4 host takes packets of this size (RFC 791 §3.2).
const MIN_POD_MTU: i64 = 576;
/// 65,535 of a datagram less the 14 bytes of Ethernet in front of it.
const MAX_POD_MTU: i64 = 65_521;
/// Assumed where no underlay can be found: Ethernet's.
const DEFAULT_UNDERLAY_MTU: u32 = 1500;
/// 255 bytes of file name less the longest `<namespace>.<name>`.
const MAX_NETNS_PREFIX: usize = 11;
/// `IFNAMSIZ` less the terminating zero.
const MAX_DEVICE_NAME: usize = 15;
/// Each takes up to 15 MiB of tables and buffers; a node that wants more of them says so.
const MAX_AUTO_WORKERS: u8 = 8;
/// Between 1 address for a pod and the largest range whose ports fit `PortId::MAX_PORTS` many times.
const POD_PREFIX_LEN: std::ops::RangeInclusive<u8> = 16..=30;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not TOML, or a key that does not exist, or a value of the wrong type.
    #[error("configuration file {}: {source}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Line, column and what is wrong.
        source: toml::de::Error,
    },
    /// One key's value.
    #[error("configuration key \"{key}\": {problem}")]
    Value {
        /// Which.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// Which back-end TAPs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TapKind {
    /// The best one the kernel supports.
    Auto,
    /// With virtio-net header and offloads.
    Vnet,
    /// Bare frames.
    Plain,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// Whom the datapath process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// As configured.
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The effective configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// The node's name; the host's name unless set.
    pub(crate) node: String,
    /// Kept across restarts.
    pub(crate) state_dir: PathBuf,
    /// Sockets and the lock.
    pub(crate) run_dir: PathBuf,
    /// All pods of the cluster.
    pub(crate) cluster_cidr: IpNet,
    /// This node's pods. In a cluster with a store this is what [`Config::with_pod_cidr`] was told.
    pub(crate) pod_cidr: IpNet,
    /// Virtual addresses of services.
    pub(crate) service_cidr: IpNet,
    /// Put before the name of every pod's netns.
    pub(crate) netns_prefix: String,
    /// The gateway TAP's name.
    pub(crate) gateway_device: String,
    /// Threads that forward, 1 to 64.
    pub(crate) workers: u8,
    /// MTU of the pods; `None` is underlay MTU less the overlay's overhead, found at start.
    pub(crate) pod_mtu: Option<u16>,
    /// Frames the kernel holds per TAP while the datapath is away.
    pub(crate) txqueuelen: u32,
    /// Back-end.
    pub(crate) tap: TapKind,
    /// Suffix of service names.
    pub(crate) cluster_domain: String,
    /// Name server written to the pods' `resolv.conf`.
    pub(crate) cluster_dns: IpAddr,
    /// Life of a learned FDB entry.
    pub(crate) fdb_ageing_seconds: u32,
    /// Whom the datapath process runs as.
    pub(crate) datapath_user: User,
    /// TCP address of the metrics page, beside its Unix socket.
    pub(crate) metrics: Option<SocketAddr>,
    /// `tracing` directives.
    pub(crate) log_filter: String,
    /// How log lines look.
    pub(crate) log_format: LogFormat,
    /// Each flow that a policy refuses is a line of the log.
    pub(crate) log_denied: bool,
    /// The node's end of the tunnel, where there may be other nodes.
    pub(crate) tunnel: Option<Tunnel>,
    /// Other nodes.
    pub(crate) peers: Vec<PeerSpec>,
    /// The cluster's store, if there is one beside the node's own.
    pub(crate) etcd: Option<Etcd>,
    /// Where the node is, for services that prefer what is near.
    pub(crate) zone: Option<String>,
    /// What services may have.
    pub(crate) services: Services,
    /// The way out of the cluster.
    pub(crate) uplink: Option<Uplink>,
    /// Addresses for services outside.
    pub(crate) load_balancer: LoadBalancer,
    /// The cluster's DNS.
    pub(crate) dns: Dns,
    /// The L7 ingress.
    pub(crate) ingress: Ingress,
}

impl Config {
    /// Checks each key and then the keys against each other.
    pub(super) fn check(raw: RawConfig) -> Result<Self, ConfigError> {
        let log = raw.log.clone().unwrap_or_default();
        let cluster_cidr = cidr("cluster_cidr", raw.cluster_cidr.clone(), "10.244.0.0/16")?;
        let pod_cidr = raw.pod_cidr.clone().map(|text| cidr("pod_cidr", Some(text), "")).transpose()?;
        let tunnel = nodes::tunnel(&raw)?;
        let service_cidr = cidr("service_cidr", raw.service_cidr, "10.96.0.0/16")?;
        let services = services::check(raw.services)?;
        let own_port = tunnel.as_ref().map_or(0, |tunnel| tunnel.udp_port);
        let config = Self {
            node: node_name(raw.node)?,
            state_dir: directory("state_dir", raw.state_dir, "/var/lib/vswitchd")?,
            run_dir: directory("run_dir", raw.run_dir, "/run/vswitchd")?,
            cluster_cidr,
            pod_cidr: pod_cidr.map_or_else(|| first_pod_cidr(cluster_cidr), Ok)?,
            service_cidr,
            netns_prefix: netns_prefix(raw.netns_prefix.unwrap_or_default())?,
            gateway_device: interface_name(
                "gateway_device",
                raw.gateway_device.unwrap_or_else(|| "vpod0".to_owned()),
            )?,
            workers: workers(raw.workers)?,
            pod_mtu: match raw.pod_mtu {
                None => None,
                Some(mtu) => Some(number("pod_mtu", Some(mtu), 0, MIN_POD_MTU..=MAX_POD_MTU)?),
            },
            txqueuelen: number("txqueuelen", raw.txqueuelen, 5000, 16..=100_000)?,
            tap: tap_kind(raw.tap.as_deref())?,
            cluster_domain: domain(raw.cluster_domain.unwrap_or_else(|| "cluster.local".to_owned()))?,
            cluster_dns: parse(
                "cluster_dns",
                raw.cluster_dns.as_deref().unwrap_or("10.96.0.10"),
                "an IP address",
            )?,
            fdb_ageing_seconds: number("fdb_ageing_seconds", raw.fdb_ageing_seconds, 300, 1..=86_400)?,
            datapath_user: user("datapath_user", raw.datapath_user.unwrap_or_else(|| "nobody".to_owned()))?,
            metrics: match raw.metrics.as_deref() {
                None => None,
                Some(text) => Some(parse("metrics", text, "an address and port such as 127.0.0.1:9474")?),
            },
            log_filter: log_filter(log.filter.unwrap_or_else(|| "info".to_owned()))?,
            log_format: log_format(log.format.as_deref())?,
            log_denied: log.denied_flows.unwrap_or(false),
            peers: nodes::peers(raw.peers, own_port)?,
            etcd: nodes::etcd(raw.etcd, pod_cidr)?,
            zone: raw.zone.map(zone).transpose()?,
            uplink: uplink::check(
                raw.uplink,
                &services.node_ports.0,
                [("cluster_cidr", cluster_cidr), ("service_cidr", service_cidr)],
            )?,
            services,
            load_balancer: load_balancer::check(raw.load_balancer)?,
            dns: system::dns(raw.dns)?,
            ingress: system::ingress(raw.ingress)?,
            tunnel,
        };
        config.cross_check()?;
        Ok(config)
    }

    fn cross_check(&self) -> Result<(), ConfigError> {
        let (pods, cluster, services) = (self.pod_cidr, self.cluster_cidr, self.service_cidr);
        if !matches!(pods, IpNet::V4(_)) {
            return Err(value(
                "pod_cidr",
                format!("{pods} is not an IPv4 range; this release gives pods IPv4 addresses"),
            ));
        }
        if !cluster.contains(&pods) {
            return Err(value("pod_cidr", format!("{pods} is not inside cluster_cidr {cluster}")));
        }
        if !POD_PREFIX_LEN.contains(&pods.prefix_len()) {
            let (min, max) = (POD_PREFIX_LEN.start(), POD_PREFIX_LEN.end());
            return Err(value("pod_cidr", format!("{pods}: the prefix length must be {min} to {max}")));
        }
        if !matches!(services, IpNet::V4(_)) {
            return Err(value(
                "service_cidr",
                format!("{services} is not an IPv4 range; this release gives services IPv4 addresses"),
            ));
        }
        if overlap(cluster, services) {
            return Err(value("service_cidr", format!("{services} overlaps cluster_cidr {cluster}")));
        }
        load_balancer::check_ranges(self)?;
        if self.state_dir == self.run_dir {
            let problem = format!("is the same directory as state_dir, {}", self.run_dir.display());
            return Err(value("run_dir", problem));
        }
        // A range that the store is still to give contradicts nobody.
        let own_is_known = self.etcd.as_ref().is_none_or(|etcd| etcd.requested_cidr.is_some());
        if own_is_known { nodes::check_peers(&self.own(), &self.peers) } else { Ok(()) }
    }

    /// The same node with the Pod CIDR that the cluster's store gave it.
    pub(crate) fn with_pod_cidr(self, pod_cidr: IpNet) -> Result<Self, ConfigError> {
        let config = Self { pod_cidr, ..self };
        config.cross_check()?;
        nodes::check_peers(&config.own(), &config.peers)?;
        Ok(config)
    }

    /// What peers must not contradict, as far as the configuration says it.
    pub(crate) fn own(&self) -> Own {
        let address = self.tunnel.as_ref().and_then(|tunnel| match tunnel.underlay {
            Underlay::Address(address) => Some(address),
            Underlay::DefaultRoute | Underlay::Device(_) => None,
        });
        Own {
            name: self.node.clone(),
            pod_cidr: self.pod_cidr,
            cluster_cidr: self.cluster_cidr,
            service_cidr: self.service_cidr,
            address,
            node_addresses: Vec::new(),
        }
    }

    /// The pods' default gateway: first address of their range.
    pub(crate) fn gateway(&self) -> IpAddr {
        store::ipam::Ipam::new(self.pod_cidr).gateway()
    }

    /// MTU of the pods over an underlay with `underlay_mtu`, if that is known.
    pub(crate) fn effective_pod_mtu(&self, underlay_mtu: Option<u32>) -> u16 {
        self.pod_mtu.unwrap_or_else(|| {
            let auto =
                i64::from(underlay_mtu.unwrap_or(DEFAULT_UNDERLAY_MTU).saturating_sub(VXLAN_OVERHEAD.into()));
            u16::try_from(auto.clamp(MIN_POD_MTU, MAX_POD_MTU)).unwrap_or(u16::MAX)
        })
    }

    /// As TOML that reads back as this configuration.
    pub(crate) fn to_toml(&self) -> String {
        let text = |value: &dyn fmt::Display| Some(value.to_string());
        let raw = RawConfig {
            node: Some(self.node.clone()),
            state_dir: text(&self.state_dir.display()),
            run_dir: text(&self.run_dir.display()),
            cluster_cidr: text(&self.cluster_cidr),
            pod_cidr: match &self.etcd {
                None => text(&self.pod_cidr),
                Some(etcd) => etcd.requested_cidr.map(|cidr| cidr.to_string()),
            },
            service_cidr: text(&self.service_cidr),
            netns_prefix: Some(self.netns_prefix.clone()),
            gateway_device: Some(self.gateway_device.clone()),
            workers: Some(RawWorkers::Number(self.workers.into())),
            pod_mtu: self.pod_mtu.map(i64::from),
            txqueuelen: Some(self.txqueuelen.into()),
            tap: Some(self.tap.word().to_owned()),
            cluster_domain: Some(self.cluster_domain.clone()),
            cluster_dns: text(&self.cluster_dns),
            fdb_ageing_seconds: Some(self.fdb_ageing_seconds.into()),
            datapath_user: Some(self.datapath_user.name.clone()),
            metrics: self.metrics.map(|address| address.to_string()),
            log: Some(RawLog {
                filter: Some(self.log_filter.clone()),
                format: Some(self.log_format.word().to_owned()),
                denied_flows: Some(self.log_denied),
            }),
            tunnel: self.tunnel.as_ref().map(nodes::raw_tunnel),
            peers: match self.peers.as_slice() {
                [] => None,
                peers => Some(peers.iter().map(nodes::raw_peer).collect()),
            },
            etcd: self.etcd.as_ref().map(nodes::raw_etcd),
            zone: self.zone.clone(),
            services: Some(services::raw(&self.services)),
            uplink: Some(uplink::raw(self.uplink.as_ref())),
            load_balancer: load_balancer::raw(&self.load_balancer),
            dns: Some(system::raw_dns(&self.dns)),
            ingress: Some(system::raw_ingress(&self.ingress)),
        };
        // Strings, integers and one table of them: nothing TOML cannot express.
        toml::to_string(&raw).unwrap_or_else(|e| format!("# {e}\n"))
    }
}

impl TapKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Vnet => "vnet",
            Self::Plain => "plain",
        }
    }
}

impl LogFormat {
    const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

pub(super) fn value(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.into(), problem: problem.into() }
}

pub(super) fn parse<T: FromStr>(key: &str, text: &str, want: &str) -> Result<T, ConfigError> {
    text.parse().map_err(|_| value(key, format!("\"{text}\" is not {want}")))
}

pub(super) fn cidr(key: &str, text: Option<String>, default: &str) -> Result<IpNet, ConfigError> {
    let text = text.unwrap_or_else(|| default.to_owned());
    let net: IpNet = parse(key, &text, "a range such as 10.244.0.0/16")?;
    if net.trunc() != net {
        return Err(value(
            key,
            format!("\"{text}\" has bits behind its prefix length; did you mean {}?", net.trunc()),
        ));
    }
    Ok(net)
}

/// The cluster's first /24, or the whole of a smaller one.
fn first_pod_cidr(cluster: IpNet) -> Result<IpNet, ConfigError> {
    let len = cluster.prefix_len().max(24);
    IpNet::new(cluster.network(), len).map_err(|e| value("pod_cidr", format!("no default in {cluster}: {e}")))
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

pub(super) fn directory(key: &str, text: Option<String>, default: &str) -> Result<PathBuf, ConfigError> {
    let path = PathBuf::from(text.unwrap_or_else(|| default.to_owned()));
    let plain = path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
    if !path.is_absolute() || !plain || path == Path::new("/") {
        let problem =
            format!("\"{}\" is not an absolute path of a directory, without \"..\"", path.display());
        return Err(value(key, problem));
    }
    Ok(path)
}

pub(super) fn number<T: TryFrom<i64>>(
    key: &str,
    given: Option<i64>,
    default: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Result<T, ConfigError> {
    let number = given.unwrap_or(default);
    let problem = || value(key, format!("{number} is not between {} and {}", range.start(), range.end()));
    if !range.contains(&number) {
        return Err(problem());
    }
    T::try_from(number).map_err(|_| problem())
}

fn workers(given: Option<RawWorkers>) -> Result<u8, ConfigError> {
    match given {
        Some(RawWorkers::Number(given)) => number("workers", Some(given), 0, 1..=64),
        Some(RawWorkers::Word(word)) if word != "auto" => {
            Err(value("workers", format!("\"{word}\" is not \"auto\" or a number between 1 and 64")))
        }
        Some(RawWorkers::Word(_)) | None => {
            Ok(auto_workers(std::thread::available_parallelism().map_or(1, NonZeroUsize::get)))
        }
    }
}

/// A quarter of the processors forwards; the others are the pods', which have to make the frames and
/// to take them. So up to four processors have one worker.
pub(super) fn auto_workers(processors: usize) -> u8 {
    u8::try_from(processors.div_ceil(4)).unwrap_or(u8::MAX).clamp(1, MAX_AUTO_WORKERS)
}

fn node_name(given: Option<String>) -> Result<String, ConfigError> {
    let name = match given {
        Some(name) => name,
        None => nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().to_lowercase())
            .map_err(|e| value("node", format!("not set, and the host has no name: {e}")))?,
    };
    name.parse::<protocol::ObjectName>().map_err(|e| value("node", e.to_string()))?;
    Ok(name)
}

/// The value of the label `topology.kubernetes.io/zone`.
fn zone(text: String) -> Result<String, ConfigError> {
    match protocol::name::check_label("zone", &text) {
        Ok(()) if !text.is_empty() => Ok(text),
        Ok(()) | Err(_) => Err(value("zone", format!("\"{text}\" is not the value of a label"))),
    }
}

fn netns_prefix(text: String) -> Result<String, ConfigError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.len() > MAX_NETNS_PREFIX || !text.bytes().all(good) || text.starts_with('.') {
        let problem = format!(
            "\"{text}\": want at most {MAX_NETNS_PREFIX} letters, digits, '-', '_' and '.', not starting with '.'"
        );
        return Err(value("netns_prefix", problem));
    }
    Ok(text)
}

pub(super) fn interface_name(key: &str, text: String) -> Result<String, ConfigError> {
    let good = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if text.is_empty()
        || text.len() > MAX_DEVICE_NAME
        || !text.chars().all(good)
        || text == "."
        || text == ".."
    {
        let problem = format!("\"{text}\" is not an interface name of 1 to {MAX_DEVICE_NAME} characters");
        return Err(value(key, problem));
    }
    Ok(text)
}

fn domain(text: String) -> Result<String, ConfigError> {
    let good = text.split('.').all(|label| label.parse::<Namespace>().is_ok());
    if !good {
        return Err(value(
            "cluster_domain",
            format!("\"{text}\" is not a domain name such as cluster.local"),
        ));
    }
    Ok(text)
}

fn tap_kind(text: Option<&str>) -> Result<TapKind, ConfigError> {
    match text {
        None | Some("auto") => Ok(TapKind::Auto),
        Some("vnet") => Ok(TapKind::Vnet),
        Some("plain") => Ok(TapKind::Plain),
        Some(other) => Err(value("tap", format!("\"{other}\" is not \"auto\", \"vnet\" or \"plain\""))),
    }
}

/// A name of the user database, or a number.
pub(super) fn user(key: &str, text: String) -> Result<User, ConfigError> {
    if let Ok(uid) = text.parse::<u32>() {
        return Ok(User { name: text, uid, gid: uid });
    }
    match nix::unistd::User::from_name(&text) {
        Ok(Some(user)) => Ok(User { name: text, uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
        Ok(None) => Err(value(key, format!("there is no user \"{text}\""))),
        Err(e) => Err(value(key, format!("cannot look up user \"{text}\": {e}"))),
    }
}

fn log_filter(text: String) -> Result<String, ConfigError> {
    match EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(e) => Err(value("log.filter", format!("\"{text}\": {e}"))),
    }
}

fn log_format(text: Option<&str>) -> Result<LogFormat, ConfigError> {
    match text {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => Err(value("log.format", format!("\"{other}\" is not \"text\" or \"json\""))),
    }
}
