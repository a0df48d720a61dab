//! Which cluster address or NodePort a service gets. Pure: who has which is asked elsewhere.
//!
//! Both pools have a static band at their low end, where people put what they choose themselves; what is chosen for
//! them comes from the rest first, in random order, so that two nodes that choose at the same time rarely meet
//! (Kubernetes' KEP-3070 and KEP-3668).

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use protocol::link::Transport;

use super::names::{ObjectRef, transport_word};

/// Numbers from 0, of which the first `band` are for static use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pool {
    size: u32,
    band: u32,
}

impl Pool {
    fn new(size: u32, step: u32, limit: u32) -> Self {
        const LEAST: u32 = 16;
        let band = if size <= LEAST { 0 } else { (size / step).clamp(LEAST, limit) };
        Self { size, band }
    }

    /// Every number once: those behind the band, then the band.
    fn order(self, seed: u64) -> impl Iterator<Item = u32> {
        let behind = cycle(self.size - self.band, seed).map(move |number| number + self.band);
        behind.chain(cycle(self.band, seed))
    }
}

/// The numbers below `size`, each once, in an order that the seed chooses: a step that has no divisor in common
/// with the size comes everywhere.
fn cycle(size: u32, seed: u64) -> impl Iterator<Item = u32> {
    let length = u64::from(size).max(1);
    let start = mix(seed) % length;
    let mut step = mix(seed ^ 1) % length;
    while gcd(step, length) != 1 {
        step += 1;
    }
    // Below `size`, so it fits.
    (0..u64::from(size)).map(move |n| u32::try_from((start + n * step) % length).unwrap_or(0))
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One round of SplitMix64.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Cluster addresses: all of the range, but for its first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterIps {
    /// The service CIDR.
    pub cidr: Ipv4Net,
    /// The name server that pods are told, kept for its service.
    pub dns: Option<Ipv4Addr>,
}

/// Services that may have the name server's address.
const DNS_SERVICES: [&str; 2] = ["kube-system/kube-dns", "kube-system/vpod-dns"];

impl ClusterIps {
    fn pool(&self) -> Pool {
        let hosts = 32 - u32::from(self.cidr.prefix_len());
        Pool::new(((1u64 << hosts).saturating_sub(2)).try_into().unwrap_or(u32::MAX), 16, 256)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.pool().size
    }

    /// The range has no room for any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Addresses to try for a service that asks for none.
    pub fn candidates(&self, seed: u64) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, dns) = (self.cidr.network().to_bits() + 1, self.dns);
        let all = self.pool().order(seed).map(move |number| Ipv4Addr::from_bits(first + number));
        all.filter(move |ip| Some(*ip) != dns)
    }

    /// Why `service` may not have an address, whoever has it now.
    #[must_use]
    pub fn refuse(&self, ip: Ipv4Addr, service: &ObjectRef) -> Option<String> {
        let cidr = self.cidr;
        if !cidr.contains(&ip) {
            return Some(format!("the provided IP is not in the valid range: it is outside of {cidr}"));
        }
        if ip == cidr.network() || ip == cidr.broadcast() {
            return Some(format!("it is the first or the last address of {cidr}"));
        }
        if Some(ip) == self.dns && !DNS_SERVICES.contains(&service.to_string().as_str()) {
            return Some(format!(
                "it is the address of the name server (cluster_dns), kept for {}",
                DNS_SERVICES[1]
            ));
        }
        None
    }
}

/// NodePorts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePorts(pub RangeInclusive<u16>);

impl Default for NodePorts {
    /// Kubernetes' `--service-node-port-range`.
    fn default() -> Self {
        Self(30_000..=32_767)
    }
}

impl NodePorts {
    fn pool(&self) -> Pool {
        Pool::new(u32::try_from(self.0.len()).unwrap_or(0), 32, 128)
    }

    /// Ports to try for a service that asks for none.
    pub fn candidates(&self, seed: u64) -> impl Iterator<Item = u16> + use<> {
        let first = *self.0.start();
        // Below the size of the range, so it fits.
        self.pool().order(seed).map(move |number| first + u16::try_from(number).unwrap_or(0))
    }

    /// Why nobody may have a port.
    #[must_use]
    pub fn refuse(&self, port: u16) -> Option<String> {
        let (first, last) = (self.0.start(), self.0.end());
        (!self.0.contains(&port)).then(|| {
            format!("provided port is not in the valid range. The range of valid ports is {first}-{last}")
        })
    }
}

/// Something that one service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allocation {
    /// A cluster address.
    ClusterIp(Ipv4Addr),
    /// A port of all nodes.
    NodePort(Transport, u16),
}

/// Where owners of cluster addresses are.
pub const CLUSTER_IPS: &str = "/vpod/v1/allocations/clusterip/";
/// Where owners of NodePorts are.
pub const NODE_PORTS: &str = "/vpod/v1/allocations/nodeport/";

impl Allocation {
    /// Where its owner is.
    #[must_use]
    pub fn key(self) -> String {
        match self {
            Self::ClusterIp(ip) => format!("{CLUSTER_IPS}{ip}"),
            Self::NodePort(transport, port) => {
                format!("{NODE_PORTS}{}-{port}", transport_word(transport).to_ascii_lowercase())
            }
        }
    }

    /// As errors name it.
    pub(super) fn describe(self) -> String {
        match self {
            Self::ClusterIp(ip) => ip.to_string(),
            Self::NodePort(_, port) => port.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ips(cidr: &str) -> ClusterIps {
        ClusterIps { cidr: cidr.parse().unwrap(), dns: Some(Ipv4Addr::new(10, 96, 0, 10)) }
    }

    #[test]
    fn every_address_comes_once_and_those_behind_the_band_first() {
        for (cidr, len, band) in
            [("10.96.0.0/16", 65_534, 256), ("10.96.0.0/24", 254, 16), ("10.96.0.0/22", 1022, 63)]
        {
            for seed in 0..20 {
                let all: Vec<Ipv4Addr> = ips(cidr).candidates(seed).collect();
                assert_eq!(all.len(), len - 1, "all but the name server's");
                assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), len - 1);
                let first = u32::from(Ipv4Addr::new(10, 96, 0, 1));
                let (behind, static_band) = all.split_at(len - band);
                assert!(behind.iter().all(|ip| u32::from(*ip) - first >= u32::try_from(band).unwrap()));
                assert!(static_band.iter().all(|ip| u32::from(*ip) - first < u32::try_from(band).unwrap()));
            }
        }
        assert_ne!(ips("10.96.0.0/16").candidates(1).next(), ips("10.96.0.0/16").candidates(2).next());
    }

    #[test]
    fn small_ranges_have_no_band_and_the_smallest_nothing() {
        assert_eq!(ips("10.0.0.0/28").candidates(7).count(), 14);
        assert_eq!(ips("10.0.0.0/30").candidates(7).count(), 2);
        assert!(ips("10.0.0.0/31").is_empty() && ips("10.0.0.0/32").is_empty());
        assert_eq!(ips("10.0.0.0/32").candidates(7).count(), 0);
    }

    #[test]
    fn node_ports_keep_the_first_86_for_the_end() {
        let all: Vec<u16> = NodePorts::default().candidates(3).collect();
        assert_eq!(all.len(), 2768);
        assert!(all[..2768 - 86].iter().all(|port| *port >= 30_086));
        assert!(all[2768 - 86..].iter().all(|port| *port < 30_086));
        assert_eq!(NodePorts(5..=5).candidates(3).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn addresses_that_cannot_be_are_refused_by_name() {
        let web = ObjectRef { namespace: "default".parse().unwrap(), name: "web".parse().unwrap() };
        let dns = ObjectRef { namespace: "kube-system".parse().unwrap(), name: "kube-dns".parse().unwrap() };
        let pool = ips("10.96.0.0/16");
        for (ip, reason) in [
            ("10.97.0.1", "outside of 10.96.0.0/16"),
            ("10.96.0.0", "first or the last"),
            ("10.96.255.255", "first or the last"),
            ("10.96.0.10", "name server"),
        ] {
            let why = pool.refuse(ip.parse().unwrap(), &web).unwrap();
            assert!(why.contains(reason), "{ip}: {why}");
        }
        assert_eq!(pool.refuse("10.96.0.10".parse().unwrap(), &dns), None);
        assert_eq!(pool.refuse("10.96.0.1".parse().unwrap(), &web), None);
        assert!(
            NodePorts::default().refuse(29_999).is_some() && NodePorts::default().refuse(32_768).is_some()
        );
        assert_eq!(NodePorts::default().refuse(30_000), None);
    }
}
