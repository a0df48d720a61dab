//! `[load_balancer]`: addresses for services outside of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use protocol::name::check_label;
use protocol::{Namespace, ObjectName};
use store::services::{AddressPool, AddressPools, AddressRange};

use super::checked::{Config, ConfigError, number, value};
use super::nodes::Underlay;
use super::raw::{RawLoadBalancer, RawPool};

/// etcd's shortest lease is 2 s; who waits for a minute needs no election.
const LEASE_SECONDS: std::ops::RangeInclusive<i64> = 2..=60;

/// The same on all nodes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadBalancer {
    /// Addresses to give to services.
    pub(crate) pools: AddressPools,
    /// A node that is not heard of for this long loses the addresses it announces.
    pub(crate) lease_seconds: u32,
}

pub(super) fn check(raw: Option<RawLoadBalancer>) -> Result<LoadBalancer, ConfigError> {
    let RawLoadBalancer { lease_seconds, pools } = raw.unwrap_or_default();
    let pools = pools.unwrap_or_default().into_iter().enumerate().map(|(index, raw)| pool(index, raw));
    let pools = AddressPools::new(pools.collect::<Result<_, _>>()?);
    Ok(LoadBalancer {
        pools: pools.map_err(|error| value("load_balancer.pool", error.to_string()))?,
        lease_seconds: number("load_balancer.lease_seconds", lease_seconds, 2, LEASE_SECONDS)?,
    })
}

fn pool(index: usize, raw: RawPool) -> Result<AddressPool, ConfigError> {
    let key = |name: &str| format!("load_balancer.pool[{index}].{name}");
    let name = raw.name.ok_or_else(|| value(key("name"), "is missing"))?;
    name.parse::<ObjectName>().map_err(|error| value(key("name"), error.to_string()))?;
    let addresses = ranges(raw.addresses.unwrap_or_default(), &key("addresses"))?;
    let namespaces = raw.namespaces.unwrap_or_default().into_iter().enumerate().map(|(n, text)| {
        let name = text.parse::<Namespace>();
        name.map_err(|error| value(key(&format!("namespaces[{n}]")), error.to_string()))
    });
    let selectors = raw.service_selectors.unwrap_or_default().into_iter().enumerate();
    let selectors = selectors.map(|(n, text)| selector(&text, &key(&format!("service_selectors[{n}]"))));
    Ok(AddressPool {
        addresses,
        auto_assign: raw.auto_assign.unwrap_or(true),
        avoid_buggy_ips: raw.avoid_buggy_ips.unwrap_or(false),
        priority: number(&key("priority"), raw.priority, 0, 0..=1_000_000)?,
        namespaces: namespaces.collect::<Result<BTreeSet<_>, _>>()?,
        service_selectors: selectors.collect::<Result<_, _>>()?,
        name,
    })
}

fn ranges(texts: Vec<String>, key: &str) -> Result<Vec<AddressRange>, ConfigError> {
    if texts.is_empty() {
        return Err(value(key, "want at least one range such as 192.0.2.0/24 or 192.0.2.10-192.0.2.20"));
    }
    let parse = |(n, text): (usize, String)| {
        let key = format!("{key}[{n}]");
        let range: AddressRange =
            text.trim().parse().map_err(|error: store::services::load_balancer::RangeError| {
                value(key.clone(), error.to_string())
            })?;
        let special = SPECIAL.iter().find(|(net, _)| AddressRange::of(*net).overlaps(&range));
        match special {
            Some((net, what)) => Err(value(key, format!("{range} is {what}, {net}"))),
            None => Ok(range),
        }
    };
    texts.into_iter().enumerate().map(parse).collect()
}

/// What is nobody's address in particular.
const SPECIAL: [(Ipv4Net, &str); 5] = [
    (net([0, 0, 0, 0], 8), "in this network's range"),
    (net([127, 0, 0, 0], 8), "in the loopback range"),
    (net([169, 254, 0, 0], 16), "in the link-local range"),
    (net([224, 0, 0, 0], 4), "in the multicast range"),
    (net([240, 0, 0, 0], 4), "in the reserved range"),
];

const fn net([a, b, c, d]: [u8; 4], len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), len)
}

/// `key=value,key=value`.
fn selector(text: &str, key: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let pairs = text.split(',').map(|pair| {
        let (label, wanted) = pair
            .split_once('=')
            .ok_or_else(|| value(key, format!("\"{text}\" is not labels such as app=web,tier=front")))?;
        let (label, wanted) = (label.trim(), wanted.trim());
        check_label(label, wanted).map_err(|error| value(key, error.to_string()))?;
        Ok((label.to_owned(), wanted.to_owned()))
    });
    pairs.collect()
}

/// No pool has addresses that are somebody's already, as far as the configuration knows.
pub(super) fn check_ranges(config: &Config) -> Result<(), ConfigError> {
    let mut others: Vec<(IpNet, String)> = vec![
        (config.service_cidr, "service_cidr".to_owned()),
        (config.cluster_cidr, "cluster_cidr".to_owned()),
    ];
    if let Some(Underlay::Address(address)) = config.tunnel.as_ref().map(|tunnel| &tunnel.underlay) {
        others.push((IpNet::from(IpAddr::V4(*address)), "tunnel.address".to_owned()));
    }
    for peer in &config.peers {
        let own = std::iter::once(IpAddr::V4(peer.address)).chain(peer.node_addresses.iter().copied());
        others.extend(own.map(|ip| (IpNet::from(ip), format!("an address of peer {}", peer.name))));
    }
    for pool in config.load_balancer.pools.iter() {
        for range in &pool.addresses {
            let taken = others
                .iter()
                .find(|(net, _)| matches!(net, IpNet::V4(net) if AddressRange::of(*net).overlaps(range)));
            if let Some((net, what)) = taken {
                let problem = format!("{range} of pool \"{}\" overlaps {what}, {net}", pool.name);
                return Err(value("load_balancer.pool", problem));
            }
        }
    }
    Ok(())
}

pub(super) fn raw(balancer: &LoadBalancer) -> Option<RawLoadBalancer> {
    let pools: Vec<RawPool> = balancer.pools.iter().map(raw_pool).collect();
    Some(RawLoadBalancer {
        lease_seconds: Some(balancer.lease_seconds.into()),
        pools: (!pools.is_empty()).then_some(pools),
    })
}

fn raw_pool(pool: &AddressPool) -> RawPool {
    let pairs = |selector: &BTreeMap<String, String>| {
        selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    };
    RawPool {
        name: Some(pool.name.clone()),
        addresses: Some(pool.addresses.iter().map(ToString::to_string).collect()),
        auto_assign: Some(pool.auto_assign),
        avoid_buggy_ips: Some(pool.avoid_buggy_ips),
        priority: Some(pool.priority.into()),
        namespaces: Some(pool.namespaces.iter().map(ToString::to_string).collect()),
        service_selectors: Some(pool.service_selectors.iter().map(pairs).collect()),
    }
}
