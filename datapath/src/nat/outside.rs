//! Connections that begin outside: clients of node ports, load balancers and external addresses; those that a mapping lets in are `egress`'s.
//!
//! # Who the client seems to be
//!
//! To a pod of this node, itself: the answer passes here, whatever its way. A pod of another node would answer by that node's own uplink,
//! so there the client is this node's gateway address, from one of the source ports. A backend that is this node itself has the
//! gateway address as its own, and would take it for forged: it sees an address of services that no service has, the first, whose answers its kernel
//! sends to the gateway port as it does those of all services.
//!
//! # Who is told
//!
//! Whoever asks in vain is told where this node alone answers for the address: node ports of services, and what it announces.
//! What some router led here for another address may be served elsewhere as well: silence.

use std::net::Ipv4Addr;

use protocol::link::{FrontendKind, PortConfig};

use crate::action::Refusal;
use crate::conntrack::{Client, Hit, Key};
use crate::frame::Frame;
use crate::l3::route::Target;
use crate::service::{FrontendHit, Origin};
use crate::slow_path::SlowPath;
use crate::time::Instant;
use crate::uplink::Place;
use crate::verdict::DropReason;
use crate::wire::ipv4::Ipv4;

impl SlowPath {
    /// The connection that a packet from outside belongs to or begins.
    pub(crate) fn connect_from_outside(
        &mut self,
        port: &PortConfig,
        place: Place,
        ip: &Ipv4,
        frame: &Frame,
        now: Instant,
    ) -> Result<Hit, Refusal> {
        let Some(key) = Key::of(ip) else { return Err(nobody(place, ip)) };
        if let Some(hit) = self.shared.connections.lookup(&key)
            && let Some(hit) = self.go_on(hit, &key, ip, frame, now)?
        {
            return Ok(hit);
        }
        match self.frontend_outside(place, &key) {
            Some(frontend) => {
                let begun = self.begin(port, (ip, frame), &key, &frontend, Origin::Outside, now);
                begun.map_err(|refusal| told(place, refusal))
            }
            None if self.is_external(&key) => self.admit_by_mapping(port, ip, &key, now),
            None => Err(nobody(place, ip)),
        }
    }

    /// See the module.
    pub(super) fn client_from_outside(&self, backend: Ipv4Addr) -> Result<Client, DropReason> {
        let node = self.node.as_ref().ok_or(DropReason::NotForSwitch)?;
        match self.routes.lookup(backend) {
            Some(Target::Port(_) | Target::Connected) => Ok(Client::Kept),
            Some(Target::Peer(_)) => Ok(Client::Masqueraded(node.gateway_ip)),
            Some(Target::Node | Target::Router) => match node.service_cidr {
                Some(range) => Ok(Client::Masqueraded(range.network())),
                None => Err(DropReason::NoRoute),
            },
            // Nothing passes from outside to outside.
            Some(Target::Uplink) => Err(DropReason::Hairpin),
            Some(Target::Nowhere) | None => Err(DropReason::NoRoute),
        }
    }

    /// The frontend that a packet from outside is for. Cluster addresses are not there for outsiders.
    pub(super) fn frontend_outside(&self, place: Place, key: &Key) -> Option<FrontendHit> {
        let tuple = key.tuple();
        let is_nodes = place == Place::Node;
        let hit =
            self.services.frontend(key.protocol(), tuple.destination, tuple.destination_port, is_nodes)?;
        match hit.kind {
            FrontendKind::NodePort | FrontendKind::LoadBalancer | FrontendKind::ExternalIp => Some(hit),
            FrontendKind::ClusterIp => None,
        }
    }
}

/// A refusal of a service's.
fn told(place: Place, refusal: Refusal) -> Refusal {
    match place {
        Place::Node | Place::Announced => refusal,
        Place::Egress | Place::Service => refusal.reason.into(),
    }
}

/// Nobody is there.
fn nobody(place: Place, ip: &Ipv4) -> Refusal {
    match (place, ip.l4) {
        (Place::Announced, _) => Refusal::unreachable(DropReason::ServicePortUnknown),
        // Perhaps somebody is, whom the kernel or another node knows.
        (Place::Node | Place::Egress | Place::Service, _) => DropReason::NotForSwitch.into(),
    }
}
