//! The full decision about a frame: admission, learning, then layer 2 or layer 3.
//!
//! Taken for the first frame of a flow and for whatever the flow table does not hold. It looks at the
//! frame only through [`Packet`] and changes nothing but the learned tables; what it decided is
//! carried out by the switch.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use protocol::Mac;
use protocol::link::{PortConfig, UplinkConfig};
use protocol::object::PortKind;

use crate::action::{Action, Forward, Refusal};
use crate::frame::Frame;
use crate::l2::fdb::{Fdb, Station};
use crate::l2::flood::{Flood, Scope};
use crate::l2::neighbor::Neighbors;
use crate::l3::route::Routes;
use crate::limits::Limits;
use crate::nat::fail_over::Again;
use crate::nat::fragments::Fragments;
use crate::overlay::Overlay;
use crate::policy::Policies;
use crate::ports::Ports;
use crate::replication::{Known, Outbox};
use crate::service::{Rng, Services};
use crate::shared::Shared;
use crate::time::Instant;
use crate::uplink::Uplink;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ipv4::Ipv4;
use crate::wire::{Body, Packet};

/// The node, as far as IPv4 forwarding needs it; checked when the configuration was.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) pod_cidr: Ipv4Net,
    pub(crate) cluster_cidr: Ipv4Net,
    /// Cluster addresses of services.
    pub(crate) service_cidr: Option<Ipv4Net>,
    pub(crate) gateway_ip: Ipv4Addr,
    pub(crate) router_mac: Mac,
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) fdb_ageing: Duration,
    /// The way out of the cluster.
    pub(crate) uplink: Option<UplinkConfig>,
}

impl Node {
    /// Broadcast address of the pods' subnet, as they see it: the node's range or the cluster's.
    pub(crate) fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        ip == self.pod_cidr.broadcast() || ip == self.cluster_cidr.broadcast()
    }

    /// Network or broadcast address of the Pod CIDR, which no station can have.
    pub(crate) fn is_edge_of_pod_cidr(&self, ip: Ipv4Addr) -> bool {
        // A /31 or /32 has no such addresses (RFC 3021).
        self.pod_cidr.prefix_len() < 31 && (ip == self.pod_cidr.network() || ip == self.pod_cidr.broadcast())
    }
}

/// The tables decisions are made from.
#[derive(Debug)]
pub(crate) struct SlowPath {
    pub(crate) node: Option<Node>,
    pub(crate) fdb: Fdb,
    pub(crate) neighbors: Neighbors,
    pub(crate) routes: Routes,
    pub(crate) services: Services,
    pub(crate) policies: Policies,
    /// What all workers know of connections and services.
    pub(crate) shared: Arc<Shared>,
    pub(crate) rng: Rng,
    pub(crate) fragments: Fragments,
    pub(crate) again: Again,
    pub(crate) overlay: Overlay,
    pub(crate) uplink: Uplink,
    /// What the other workers are to be told.
    pub(crate) outbox: Outbox,
}

impl SlowPath {
    pub(crate) fn new(seed: u64, worker: u32, limits: &Limits, outbox: Outbox, shared: Arc<Shared>) -> Self {
        Self {
            node: None,
            fdb: Fdb::new(seed, limits),
            neighbors: Neighbors::new(seed, limits),
            routes: Routes::default(),
            services: Services::new(seed, Arc::clone(&shared.services)),
            policies: Policies::new(&shared.policies, limits),
            shared,
            // Workers choose apart.
            rng: Rng::new(seed.wrapping_add(worker.into())),
            fragments: Fragments::new(seed),
            again: Again::new(),
            overlay: Overlay::new(seed, worker, limits),
            uplink: Uplink::new(seed, worker),
            outbox,
        }
    }

    /// What to do with a frame from `port` that says `packet`.
    pub(crate) fn decide(
        &mut self,
        ports: &Ports,
        port: &PortConfig,
        frame: &Frame,
        packet: &Packet,
        now: Instant,
    ) -> Result<Action, Refusal> {
        let peer = frame.peer();
        if port.kind == PortKind::Uplink {
            return self.decide_outside(ports, port, frame, packet, now);
        }
        self.admit(port, peer, packet)?;
        let source_is_learned = self.learn_source(port, packet, now)?;
        self.dispose(ports, port, frame, packet, now, source_is_learned)
    }

    /// What to do with a frame that was admitted.
    pub(crate) fn dispose(
        &mut self,
        ports: &Ports,
        port: &PortConfig,
        frame: &Frame,
        packet: &Packet,
        now: Instant,
        source_is_learned: bool,
    ) -> Result<Action, Refusal> {
        let action = match &packet.body {
            Body::Arp(arp) => self.resolve(port, frame.peer(), packet, arp, now)?,
            Body::Ipv4(ip) => self.translate_or_switch(ports, port, frame, packet, ip, now)?,
        };
        Ok(match action {
            // Every frame of a learned station must come here, to keep its entry young.
            Action::Forward { forward, .. } if source_is_learned => {
                Action::Forward { forward, cacheable: false }
            }
            Action::Forward { .. }
            | Action::ForwardError(_)
            | Action::Hold
            | Action::Flood(_)
            | Action::AnswerArp { .. }
            | Action::AnswerEcho { .. }
            | Action::Resolve { .. } => action,
        })
    }

    /// Whether the source is a learned station, then known to be here.
    fn learn_source(&mut self, port: &PortConfig, packet: &Packet, now: Instant) -> Verdict<bool> {
        let learns = !port.port_security
            && packet.source != port.mac
            && !matches!(port.kind, PortKind::Tunnel | PortKind::Uplink);
        if learns {
            let news = self.fdb.learn(packet.source, port.id, now)?;
            self.outbox.push(news, Known::Station { mac: packet.source, port: port.id });
        }
        Ok(learns)
    }

    /// Layer 2: by destination MAC; the router's leads to layer 3.
    pub(crate) fn switch(
        &self,
        ports: &Ports,
        port: &PortConfig,
        packet: &Packet,
        ip: &Ipv4,
    ) -> Result<Action, Refusal> {
        if packet.destination.is_multicast() {
            let scope = match port.kind {
                PortKind::Pod | PortKind::Gateway => Scope::Everybody,
                PortKind::Tunnel | PortKind::Uplink => Scope::Pods,
            };
            return Ok(Action::Flood(Flood { scope, nobody: DropReason::NoFloodTarget }));
        }
        match self.fdb.lookup(packet.destination) {
            Some(Station::Router) => self.route(ports, port, ip).and_then(|action| match action {
                // The router may send back out of the same port, but not to the same station.
                Action::Forward { forward, .. } if forward.leads_back_to(port.id, packet.source) => {
                    Err(DropReason::Hairpin.into())
                }
                Action::Forward { .. }
                | Action::ForwardError(_)
                | Action::Hold
                | Action::Flood(_)
                | Action::AnswerArp { .. }
                | Action::AnswerEcho { .. }
                | Action::Resolve { .. } => Ok(action),
            }),
            Some(Station::Static(to) | Station::Learned(to)) if to == port.id => {
                Err(DropReason::Hairpin.into())
            }
            Some(Station::Static(to)) => {
                Ok(Action::Forward { forward: Forward::switched(to), cacheable: true })
            }
            Some(Station::Learned(to)) => {
                Ok(Action::Forward { forward: Forward::switched(to), cacheable: false })
            }
            None => {
                Ok(Action::Flood(Flood { scope: Scope::LearningPorts, nobody: DropReason::UnknownUnicast }))
            }
        }
    }

    /// An address of services: of one, or of none yet.
    pub(crate) fn is_of_services(&self, ip: Ipv4Addr) -> bool {
        let range = self.node.as_ref().and_then(|node| node.service_cidr);
        range.is_some_and(|range| range.contains(&ip)) || self.services.is_service_address(ip)
    }

    pub(crate) fn in_pod_cidr(&self, ip: Ipv4Addr) -> bool {
        self.node.as_ref().is_some_and(|node| node.pod_cidr.contains(&ip))
    }
}
