//! What comes in by the uplink, and whether it is the switch's business.
//!
//! Every frame here is a copy: the node's kernel has the original, unless its ingress chain hides it. So only what is certainly for
//! the switch is looked at further, and all else is [`DropReason::NotForSwitch`], without a word to its sender.

use std::net::{IpAddr, Ipv4Addr};

use protocol::link::PortConfig;

use crate::action::{Action, Refusal};
use crate::admission::is_martian_source;
use crate::frame::Frame;
use crate::l3::route::Target;
use crate::nat::fragments::Fate;
use crate::ports::Ports;
use crate::slow_path::SlowPath;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ipv4::{Fragment, Ipv4, Options};
use crate::wire::{Body, Packet};

/// Whose address a packet from outside is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The node's, which the kernel has as well.
    Node,
    /// A load balancer's that this node stands for.
    Announced,
    /// What some pods appear as.
    Egress,
    /// A service's that this node does not stand for: some router led the packet here.
    Service,
}

impl SlowPath {
    /// What to do with a frame from outside.
    pub(crate) fn decide_outside(
        &mut self,
        ports: &Ports,
        port: &PortConfig,
        frame: &Frame,
        packet: &Packet,
        now: Instant,
    ) -> Result<Action, Refusal> {
        match &packet.body {
            Body::Arp(arp) => Ok(self.resolve_outside(port, packet, arp, now)?),
            Body::Ipv4(ip) => {
                let place = self.admit_outside(port, packet, ip, now)?;
                if let Some(action) = self.forward_error(ports, port, packet, ip, frame, now)? {
                    return Ok(action);
                }
                let hit = match ip.fragment {
                    Fragment::Whole => self.connect_from_outside(port, place, ip, frame, now)?,
                    Fragment::First => {
                        let connection = self.connect_from_outside(port, place, ip, frame, now);
                        self.fragments.begin(port.id, ip, connection.map(Some), now);
                        connection?
                    }
                    Fragment::Later => match self.fragments.fate(port.id, ip) {
                        Some(Fate::Connection(hit)) => hit,
                        Some(Fate::Refused(reason)) => return Err(reason.into()),
                        Some(Fate::AsItIs) => return Err(DropReason::NotForSwitch.into()),
                        None => return Ok(Action::Hold),
                    },
                };
                let way = self.route_translated(ports, port, ip, hit)?;
                let policed = self.police(ports, port, (frame, ip), Some(hit), way, now);
                if let (Fragment::First, Err(refusal)) = (ip.fragment, policed) {
                    self.fragments.begin(port.id, ip, Err(refusal), now);
                }
                policed
            }
        }
    }

    /// Lets a packet in that may be for the switch, and says whose address it is for.
    fn admit_outside(&self, port: &PortConfig, packet: &Packet, ip: &Ipv4, now: Instant) -> Verdict<Place> {
        let place = self.place(ip.destination, now).filter(|_| packet.destination == port.mac);
        let place = place.ok_or(DropReason::NotForSwitch)?;
        self.admit_outside_mac(port, packet)?;
        if is_martian_source(ip.source) {
            return Err(DropReason::MartianSource);
        }
        if !self.is_outside(ip.source) {
            return Err(DropReason::SpoofedIp);
        }
        match ip.options {
            Options::None | Options::Harmless => Ok(place),
            Options::SourceRoute => Err(DropReason::SourceRouted),
        }
    }

    pub(super) fn admit_outside_mac(&self, port: &PortConfig, packet: &Packet) -> Verdict {
        if !packet.source.is_valid_source() {
            return Err(DropReason::InvalidSourceMac);
        }
        if packet.source == port.mac || self.fdb.lookup_static(packet.source).is_some() {
            return Err(DropReason::SpoofedMac);
        }
        Ok(())
    }

    pub(crate) fn place(&self, address: Ipv4Addr, now: Instant) -> Option<Place> {
        let node = self.node.as_ref()?;
        let uplink = node.uplink.as_ref()?;
        let is_cluster_only = || {
            let services = node.service_cidr.is_some_and(|range| range.contains(&address));
            services || node.cluster_cidr.contains(&address)
        };
        if address == uplink.address || node.addresses.contains(&address) {
            Some(Place::Node)
        } else if self.uplink.is_announced(address, now) {
            Some(Place::Announced)
        } else if self.uplink.is_egress(address) {
            Some(Place::Egress)
        } else if self.services.is_service_address(address) && !is_cluster_only() {
            Some(Place::Service)
        } else {
            None
        }
    }

    /// An address of nobody in the cluster, but perhaps of another node: those speak for themselves.
    fn is_outside(&self, address: Ipv4Addr) -> bool {
        match self.routes.lookup(address) {
            Some(Target::Uplink) => !self.services.is_service_address(address),
            Some(Target::Peer(id)) => self.overlay.peers.get(id).is_some_and(|peer| {
                peer.config.address == address || peer.config.node_addresses.contains(&IpAddr::V4(address))
            }),
            Some(Target::Port(_) | Target::Router | Target::Node | Target::Connected | Target::Nowhere)
            | None => false,
        }
    }
}
