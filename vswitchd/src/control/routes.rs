//! `get routes`: where packets go, by destination.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use protocol::object::{Peer, Route, RouteVia};

use super::node::Control;
use super::peers;
use super::switch::SwitchError;

/// Longest prefix first.
pub(crate) fn rows(control: &Control) -> Result<Vec<Route>, SwitchError> {
    let config = &control.config;
    let mtu = control.pod_mtu();
    let own = |destination, via| Route { destination, via, mtu };
    let mut rows = vec![
        own(config.pod_cidr, RouteVia::Local),
        own(host(config.gateway()), RouteVia::Gateway),
        own(config.cluster_cidr, RouteVia::Unreachable),
    ];
    rows.extend(control.switch.node_addresses().into_iter().map(|ip| own(host(ip), RouteVia::Gateway)));
    let peers = peers::rows(control)?;
    let known = control.peers.lock();
    let hosts: BTreeMap<&str, &[IpAddr]> =
        known.known().map(|peer| (peer.spec.name.as_str(), peer.spec.node_addresses.as_slice())).collect();
    for peer in peers {
        let hosts = hosts.get(peer.name.as_str()).copied().unwrap_or_default();
        let ranges = peer.pod_cidrs.iter().copied().chain(hosts.iter().map(|ip| host(*ip)));
        rows.extend(ranges.map(|range| through(range, &peer)));
    }
    drop(known);
    // A node whose range is the whole cluster's.
    rows.retain(|row| row.via != RouteVia::Unreachable || row.destination != config.pod_cidr);
    rows.sort_by_key(|row| (std::cmp::Reverse(row.destination.prefix_len()), row.destination));
    Ok(rows)
}

fn through(destination: IpNet, peer: &Peer) -> Route {
    let via = RouteVia::Peer { name: peer.name.clone(), address: peer.address };
    Route { destination, via, mtu: peer.pod_mtu }
}

fn host(ip: IpAddr) -> IpNet {
    ip.into()
}
