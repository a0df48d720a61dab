//! Makes a checked configuration the active one: everything derived from it is built anew, so that no
//! table can be left behind half changed. Services alone are changed in place, and if nothing else changes, nothing else
//! is built: there may be tens of thousands, of which one has another backend every second.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use protocol::PortId;
use protocol::link::{Epoch, NodeConfig, PortConfig};
use protocol::object::PortKind;

use crate::config::Desired;
use crate::l2::fdb::Station;
use crate::l2::neighbor::Neighbor;
use crate::l3::route::{Routes, Target};
use crate::slow_path::Node;
use crate::switch::Switch;
use crate::time::Instant;
use crate::uplink::Uplink;

impl Switch {
    /// The old epoch's flows are void from here on.
    pub(crate) fn install(&mut self, mut next: Desired, epoch: Epoch, now: Instant) {
        let fresh = std::mem::take(&mut next.fresh);
        self.slow_path.services.install(std::mem::take(&mut next.services));
        self.slow_path.services.settle_tallies(self.flows.traffic_mut());
        let network_changes = std::mem::take(&mut next.network_changes);
        self.active = next;
        self.epoch = epoch;
        self.flows.begin_generation();
        if network_changes {
            self.install_network(&fresh, now);
        }
    }

    /// Builds anew what follows from the node, its ports and peers.
    fn install_network(&mut self, fresh: &[PortId], now: Instant) {
        let buckets = &self.slow_path.shared.buckets;
        let replaced = self.ports.install(self.active.ports.values(), fresh, &self.limits, buckets);
        for port in replaced {
            self.delayed.forget(port.config.id);
            port.receives.into_iter().for_each(|shaper| self.drop_backlog(*shaper));
        }
        self.delayed.reserve(self.ports.iter().filter(|port| port.receives.is_some()).count());

        let node = self.active.node.as_ref().and_then(node);
        let ports = &self.active.ports;
        // What was learned stays only if its port is the same one as before and still learns.
        let may_learn =
            |id: PortId| !fresh.contains(&id) && ports.get(&id).is_some_and(|port| !port.port_security);
        self.slow_path.fdb.replace_static(stations(&self.active), may_learn);
        self.slow_path.neighbors.replace_static(neighbors(&self.active, node.as_ref()), may_learn);
        self.slow_path.routes = routes(&self.active, node.as_ref());
        let overlay = &mut self.slow_path.overlay;
        overlay.config = self.active.node.as_ref().and_then(|node| node.tunnel.clone());
        overlay.router_mac = node.as_ref().map_or(protocol::Mac([0; 6]), |node| node.router_mac);
        overlay.port = self.ports.tunnel(self.worker);
        let underlay_mtu = overlay.config.as_ref().map_or(u16::MAX, |tunnel| tunnel.underlay_mtu);
        overlay.peers.install(self.active.peers.values(), underlay_mtu);
        let uplink_port = self.ports.uplink().and_then(|port| self.ports.get(port)).map(|port| &port.config);
        let is_fresh = uplink_port.is_some_and(|port| fresh.contains(&port.id));
        let uplink_config = node.as_ref().and_then(|node| node.uplink.as_ref());
        self.slow_path.uplink.install(uplink_port, uplink_config, is_fresh, now);
        self.held.reserve(uplink_port.is_some() && uplink_config.is_some());
        self.slow_path.set_ageing(node.as_ref().map(|node| node.fdb_ageing), &self.limits);
        self.slow_path.node = node;
        // It may speak of ports that are others now.
        self.slow_path.outbox.clear();
        for id in ports.keys() {
            self.slow_path.neighbors.reserve(*id);
            self.slow_path.fragments.reserve(*id);
            self.slow_path.uplink.reserve(*id);
            self.flows.reserve(*id);
        }
    }
}

/// `None` for an IPv6 node, which [`Desired::check`] has refused.
fn node(config: &NodeConfig) -> Option<Node> {
    let (IpNet::V4(pod_cidr), IpNet::V4(cluster_cidr), IpAddr::V4(gateway_ip)) =
        (config.pod_cidr, config.cluster_cidr, config.gateway_ip)
    else {
        return None;
    };
    let addresses = config.node_addresses.iter().filter_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    Some(Node {
        pod_cidr: pod_cidr.trunc(),
        cluster_cidr: cluster_cidr.trunc(),
        service_cidr: config.service_cidr.and_then(|net| match net {
            IpNet::V4(v4) => Some(v4.trunc()),
            IpNet::V6(_) => None,
        }),
        gateway_ip,
        router_mac: config.router_mac,
        addresses: addresses.collect(),
        fdb_ageing: Duration::from_secs(config.fdb_ageing_seconds.into()),
        uplink: config.uplink.clone(),
    })
}

fn stations(desired: &Desired) -> Vec<(protocol::Mac, Station)> {
    let router = desired.node.iter().map(|node| (node.router_mac, Station::Router));
    // No station is behind a tunnel: what is for another node is for the router.
    // Nor one behind the uplink: what leaves by it is routed.
    let is_switched = |port: &&PortConfig| match port.kind {
        PortKind::Pod | PortKind::Gateway => true,
        PortKind::Tunnel | PortKind::Uplink => false,
    };
    let ports = desired.ports.values().filter(is_switched);
    let ports = ports.map(|port| (port.mac, Station::Static(port.id)));
    router.chain(ports).collect()
}

/// Addresses of the ports; those of the node belong to the gateway port.
fn neighbors(desired: &Desired, node: Option<&Node>) -> Vec<(IpAddr, Neighbor)> {
    let bind = |address: IpAddr, port: &PortConfig| {
        (address, Neighbor { mac: port.mac, port: port.id, is_static: true })
    };
    let ports = desired.ports.values().filter(|port| port.kind != PortKind::Uplink);
    let mut neighbors: Vec<_> =
        ports.flat_map(|port| port.addresses.iter().map(|address| bind(*address, port))).collect();
    let gateway = desired.ports.values().find(|port| port.kind == PortKind::Gateway);
    if let (Some(gateway), Some(node)) = (gateway, node) {
        for address in node.addresses.iter().copied().map(IpAddr::V4) {
            if !gateway.addresses.contains(&address) {
                neighbors.push(bind(address, gateway));
            }
        }
    }
    neighbors
}

fn routes(desired: &Desired, node: Option<&Node>) -> Routes {
    let Some(node) = node else { return Routes::default() };
    let router = [(Ipv4Net::from(node.gateway_ip), Target::Router)];
    let uplink = || node.uplink.iter();
    let own = node
        .addresses
        .iter()
        .chain(uplink().map(|uplink| &uplink.address))
        .map(|address| (Ipv4Net::from(*address), Target::Node));
    let ports = desired.ports.values().filter(|port| port.kind == PortKind::Pod);
    let pods = ports.flat_map(|port| {
        port.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(v4) => Some((Ipv4Net::from(*v4), Target::Port(port.id))),
            IpAddr::V6(_) => None,
        })
    });
    let connected = [(node.pod_cidr, Target::Connected)];
    let peers = desired.peers.values().flat_map(|peer| {
        let target = Target::Peer(peer.id);
        let nodes = peer.node_addresses.iter().copied().map(IpNet::from);
        nodes.chain(peer.pod_cidrs.iter().copied()).filter_map(move |net| match net {
            IpNet::V4(v4) => Some((v4.trunc(), target)),
            IpNet::V6(_) => None,
        })
    });
    // Whatever is the cluster's, but nobody's, stays inside.
    let inside = std::iter::once(node.cluster_cidr).chain(node.service_cidr);
    let inside = inside.map(|range| (range, Target::Nowhere));
    // What the switch stands for is nowhere else; services and connections there are known before routes are asked.
    let stood_for =
        uplink().flat_map(Uplink::stood_for).map(|address| (Ipv4Net::from(address), Target::Nowhere));
    let outside = uplink().map(|_| (Ipv4Net::default(), Target::Uplink));
    // The first route for a prefix counts: the router's own address wins over the node's copy of it.
    let routes = router.into_iter().chain(pods).chain(own).chain(connected).chain(peers);
    Routes::new(routes.chain(inside).chain(stood_for).chain(outside))
}
