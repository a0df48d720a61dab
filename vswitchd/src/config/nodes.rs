//! Other nodes: `[tunnel]`, `[[peer]]` and `[etcd]`.
//!
//! A node has a tunnel if any of the three is there: without other nodes no UDP port is opened.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use protocol::{Mac, ObjectName};
use store::peers::{Own, PeerSpec, router_mac};

use super::checked::{ConfigError, cidr, directory, interface_name, number, parse, value};
use super::raw::{RawConfig, RawEtcd, RawPeer, RawTunnel};

/// RFC 7348 §5: a VNI has 24 bits.
const VNI: std::ops::RangeInclusive<i64> = 1..=0xff_ffff;
const UDP_PORT: std::ops::RangeInclusive<i64> = 1..=65_535;
/// RFC 7348 §5, IANA.
const DEFAULT_UDP_PORT: i64 = 4789;
/// Long enough for an election of etcd's (1 s) and a pause of the machine's, short enough for a node
/// that is gone to be seen to be.
const LEASE_SECONDS: std::ops::RangeInclusive<i64> = 5..=3600;
const DEFAULT_LEASE_SECONDS: i64 = 15;
/// As many as anybody runs; etcd's own advice ends at seven.
const MAX_ENDPOINTS: usize = 16;

/// The node's end of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// VXLAN network identifier, 1 to 2^24 - 1.
    pub(crate) vni: u32,
    /// UDP port, our own.
    pub(crate) udp_port: u16,
    /// Where its outer address comes from.
    pub(crate) underlay: Underlay,
    /// Lower the MSS in TCP SYNs to what fits the tunnel.
    pub(crate) clamp_mss: bool,
}

/// Where the tunnel's outer address comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Underlay {
    /// The interface of the default route, and its first address.
    DefaultRoute,
    /// The first address of this interface.
    Device(String),
    /// This address, whichever interface has it.
    Address(Ipv4Addr),
}

/// The cluster's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Etcd {
    /// URLs of its members.
    pub(crate) endpoints: Vec<String>,
    /// Certificate of who signs theirs; with TLS.
    pub(crate) ca: Option<PathBuf>,
    /// Our certificate and key, if we show one.
    pub(crate) identity: Option<Identity>,
    /// User and the file with the password, if we log in.
    pub(crate) login: Option<Login>,
    /// A node that is not heard of for this long counts as away.
    pub(crate) lease_seconds: u32,
    /// The Pod CIDR that is asked for; any free one without.
    pub(crate) requested_cidr: Option<IpNet>,
}

/// A TLS client's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A user of etcd's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password_file: PathBuf,
}

pub(super) fn tunnel(raw: &RawConfig) -> Result<Option<Tunnel>, ConfigError> {
    if raw.tunnel.is_none() && raw.peers.is_none() && raw.etcd.is_none() {
        return Ok(None);
    }
    let RawTunnel { vni, udp_port, device, address, clamp_mss } = raw.tunnel.clone().unwrap_or_default();
    let underlay = match (device, address) {
        (None, None) => Underlay::DefaultRoute,
        (Some(device), None) => Underlay::Device(interface_name("tunnel.device", device)?),
        (None, Some(address)) => Underlay::Address(own_address("tunnel.address", &address)?),
        (Some(_), Some(_)) => {
            return Err(value("tunnel.device", "give either tunnel.device or tunnel.address, not both"));
        }
    };
    Ok(Some(Tunnel {
        vni: number("tunnel.vni", vni, 1, VNI)?,
        udp_port: number("tunnel.udp_port", udp_port, DEFAULT_UDP_PORT, UDP_PORT)?,
        underlay,
        clamp_mss: clamp_mss.unwrap_or(false),
    }))
}

fn own_address(key: &str, text: &str) -> Result<Ipv4Addr, ConfigError> {
    let address: Ipv4Addr = parse(key, text, "an IPv4 address")?;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(value(key, format!("{address} is not an address of an interface")));
    }
    Ok(address)
}

/// Each on its own; [`check_peers`] holds them against each other.
pub(super) fn peers(raw: Option<Vec<RawPeer>>, own_port: u16) -> Result<Vec<PeerSpec>, ConfigError> {
    raw.unwrap_or_default().into_iter().enumerate().map(|(index, raw)| peer(index, raw, own_port)).collect()
}

fn peer(index: usize, raw: RawPeer, own_port: u16) -> Result<PeerSpec, ConfigError> {
    let key = |name: &str| format!("peer[{index}].{name}");
    let required = |name: &str, given: Option<String>| given.ok_or_else(|| value(key(name), "is missing"));
    let name = required("name", raw.name)?;
    name.parse::<ObjectName>().map_err(|e| value(key("name"), e.to_string()))?;
    let address: Ipv4Addr =
        parse(&key("address"), &required("address", raw.address)?, "an IPv4 address such as 192.0.2.2")?;
    let mut pod_cidrs: Vec<IpNet> = Vec::new();
    for (n, text) in raw.pod_cidrs.unwrap_or_default().into_iter().enumerate() {
        pod_cidrs.push(cidr(&key(&format!("pod_cidrs[{n}]")), Some(text), "")?);
    }
    let first = pod_cidrs.first().ok_or_else(|| value(key("pod_cidrs"), "want at least one range"))?;
    let router_mac = match raw.router_mac {
        None => router_mac(*first),
        Some(text) => station(&key("router_mac"), &text)?,
    };
    let node_addresses = match raw.node_addresses {
        None => vec![IpAddr::V4(address)],
        Some(texts) => node_addresses(&key("node_addresses"), &texts)?,
    };
    Ok(PeerSpec {
        name,
        address,
        udp_port: number(&key("udp_port"), raw.udp_port, own_port.into(), UDP_PORT)?,
        pod_cidrs,
        node_addresses,
        router_mac,
        keep_alive: raw.keep_alive.unwrap_or(true),
        has_pods: true,
    })
}

fn station(key: &str, text: &str) -> Result<Mac, ConfigError> {
    let mac: Mac = parse(key, text, "a MAC address such as 0a:58:0a:f4:01:01")?;
    if !mac.is_valid_source() {
        return Err(value(key, format!("{mac} is a group address or zero, which no router may have")));
    }
    Ok(mac)
}

fn node_addresses(key: &str, texts: &[String]) -> Result<Vec<IpAddr>, ConfigError> {
    let one = |(n, text): (usize, &String)| parse(&format!("{key}[{n}]"), text, "an IPv4 address");
    texts.iter().enumerate().map(one).collect()
}

/// Holds peers against this node and each other. The error names the first value that cannot be.
pub(crate) fn check_peers(own: &Own, peers: &[PeerSpec]) -> Result<(), ConfigError> {
    match store::peers::check(own, peers).into_iter().next() {
        None => Ok(()),
        Some(found) => Err(value(format!("peer[{}].{}", found.peer, found.subject), found.text)),
    }
}

pub(super) fn etcd(raw: Option<RawEtcd>, requested_cidr: Option<IpNet>) -> Result<Option<Etcd>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let endpoints = endpoints(raw.endpoints.unwrap_or_default())?;
    let tls = endpoints.iter().all(|url| url.starts_with("https://"));
    let file = |key: &str, path: Option<String>| path.map(|p| directory(key, Some(p), "")).transpose();
    let (ca, cert, key) =
        (file("etcd.ca", raw.ca)?, file("etcd.cert", raw.cert)?, file("etcd.key", raw.key)?);
    for (name, given) in [("etcd.ca", &ca), ("etcd.cert", &cert)] {
        if given.is_some() && !tls {
            return Err(value(name, "is of no use without TLS; write https:// in etcd.endpoints"));
        }
    }
    if tls && ca.is_none() {
        return Err(value(
            "etcd.ca",
            "is missing: https:// in etcd.endpoints needs the certificate of its CA",
        ));
    }
    let identity = match (cert, key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(Identity { cert, key }),
        (Some(_), None) => return Err(value("etcd.key", "is missing: etcd.cert needs its key")),
        (None, Some(_)) => return Err(value("etcd.cert", "is missing: etcd.key needs its certificate")),
    };
    let login = match (raw.user, file("etcd.password_file", raw.password_file)?) {
        (None, None) => None,
        (Some(user), Some(_)) if user.is_empty() => return Err(value("etcd.user", "is empty")),
        (Some(user), Some(password_file)) => Some(Login { user, password_file }),
        (Some(_), None) => return Err(value("etcd.password_file", "is missing: etcd.user needs a password")),
        (None, Some(_)) => return Err(value("etcd.user", "is missing: whose password is it?")),
    };
    let lease = number("etcd.lease_seconds", raw.lease_seconds, DEFAULT_LEASE_SECONDS, LEASE_SECONDS)?;
    Ok(Some(Etcd { endpoints, ca, identity, login, lease_seconds: lease, requested_cidr }))
}

fn endpoints(urls: Vec<String>) -> Result<Vec<String>, ConfigError> {
    if urls.is_empty() || urls.len() > MAX_ENDPOINTS {
        let problem = format!("{} URLs; want 1 to {MAX_ENDPOINTS}", urls.len());
        return Err(value("etcd.endpoints", problem));
    }
    for (index, url) in urls.iter().enumerate() {
        let key = || format!("etcd.endpoints[{index}]");
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let good = host.is_some_and(|host| {
            let authority = host.strip_suffix('/').unwrap_or(host);
            let port = authority.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>()));
            authority.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'@' | b'?' | b'#'))
                && matches!(port, Some((name, Ok(1..))) if !name.is_empty())
        });
        if !good {
            return Err(value(key(), format!("\"{url}\" is not a URL such as https://192.0.2.9:2379")));
        }
        if urls.iter().take(index).any(|other| other == url) {
            return Err(value(key(), format!("\"{url}\" is there twice")));
        }
        if url.starts_with("https://") != urls.first().is_some_and(|first| first.starts_with("https://")) {
            return Err(value(key(), "http:// and https:// cannot be mixed"));
        }
    }
    Ok(urls)
}

/// As they would be written.
pub(super) fn raw_tunnel(tunnel: &Tunnel) -> RawTunnel {
    let (device, address) = match &tunnel.underlay {
        Underlay::DefaultRoute => (None, None),
        Underlay::Device(name) => (Some(name.clone()), None),
        Underlay::Address(address) => (None, Some(address.to_string())),
    };
    RawTunnel {
        vni: Some(tunnel.vni.into()),
        udp_port: Some(tunnel.udp_port.into()),
        device,
        address,
        clamp_mss: Some(tunnel.clamp_mss),
    }
}

pub(super) fn raw_peer(peer: &PeerSpec) -> RawPeer {
    RawPeer {
        name: Some(peer.name.clone()),
        address: Some(peer.address.to_string()),
        udp_port: Some(peer.udp_port.into()),
        pod_cidrs: Some(peer.pod_cidrs.iter().map(ToString::to_string).collect()),
        node_addresses: Some(peer.node_addresses.iter().map(ToString::to_string).collect()),
        router_mac: Some(peer.router_mac.to_string()),
        keep_alive: Some(peer.keep_alive),
    }
}

pub(super) fn raw_etcd(etcd: &Etcd) -> RawEtcd {
    let text = |path: &PathBuf| path.display().to_string();
    RawEtcd {
        endpoints: Some(etcd.endpoints.clone()),
        ca: etcd.ca.as_ref().map(text),
        cert: etcd.identity.as_ref().map(|identity| text(&identity.cert)),
        key: etcd.identity.as_ref().map(|identity| text(&identity.key)),
        user: etcd.login.as_ref().map(|login| login.user.clone()),
        password_file: etcd.login.as_ref().map(|login| text(&login.password_file)),
        lease_seconds: Some(etcd.lease_seconds.into()),
    }
}
