//! What the uplink does by itself: asks for next hops, announces addresses, lets go of frames that wait.

use std::net::Ipv4Addr;

use protocol::{Mac, PortId};

use super::Uplink;
use super::next_hop::{Question, Reach};
use crate::action::Refusal;
use crate::burst::Burst;
use crate::frame::{ETHERNET_HDR_LEN, Frame, VNET_HDR_LEN};
use crate::output::{Egress, transmit};
use crate::ports::Port;
use crate::switch::{Done, Switch};
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::window::Seen;
use crate::wire::icmp::IcmpError;
use crate::wire::{Body, arp};

impl Uplink {
    /// When [`Switch::serve_uplink`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let dues = [self.next_hops.due(), self.announcer.due(), self.hold.due(), self.release_due];
        dues.into_iter().flatten().min()
    }
}

impl Switch {
    /// Does what is due, a bounded part of it.
    pub(crate) fn serve_uplink(&mut self, now: Instant, egress: &mut impl Egress) {
        let uplink = &mut self.slow_path.uplink;
        if uplink.due().is_none_or(|due| now < due) {
            return;
        }
        uplink.release_due = None;
        uplink.on_phase(now);
        let link = uplink.link;
        let mut port = link.and_then(|link| self.ports.get_mut(link.port));
        let mut send = |sender: Ipv4Addr, target: Ipv4Addr, to: Option<Mac>| {
            // What is not taken is asked or told again.
            if let Some(port) = port.as_deref_mut() {
                send_request(port, sender, target, to, egress);
            }
        };
        let address = link.map_or(Ipv4Addr::UNSPECIFIED, |link| link.address);
        let is_void = uplink.next_hops.tick(now, |Question { target, to }| send(address, target, to));
        uplink.announcer.tick(now, |address, sender| send(sender, address, None));
        if is_void || std::mem::take(&mut uplink.is_void) {
            self.flows.begin_generation();
        }
        self.release_held(now, egress);
    }

    /// Keeps a frame until the MAC of its next hop is known, which is asked for.
    pub(crate) fn hold(
        &mut self,
        next_hop: Ipv4Addr,
        ingress: PortId,
        frame: &mut Frame,
        seen: &Seen,
        burst: Burst,
        now: Instant,
    ) -> Verdict<Done> {
        let next_hops = &mut self.slow_path.uplink.next_hops;
        if next_hops.reach(next_hop) != Reach::Asked {
            // A question is a broadcast that the port causes.
            let port = self.ports.get_mut(ingress).ok_or(DropReason::PortDetached)?;
            if !port.flood.take(now) {
                return Err(DropReason::FloodLimited);
            }
            next_hops.ask(next_hop, ingress, now);
        }
        if self.held.push(next_hop, ingress, frame, seen, burst) {
            Ok(Done::Held)
        } else {
            Err(DropReason::NextHopUnresolved)
        }
    }

    /// Decides again what waits no longer.
    fn release_held(&mut self, now: Instant, egress: &mut impl Egress) {
        loop {
            let next_hops = &self.slow_path.uplink.next_hops;
            let waiting = self.held.take(|next_hop| next_hops.reach(next_hop) != Reach::Asked);
            let Some(mut waiting) = waiting else { return };
            let (ingress, frame, seen) = (waiting.ingress, &mut waiting.frame, &mut waiting.seen);
            let fate = match next_hops.reach(waiting.next_hop) {
                Reach::Known => self.act(ingress, frame, seen, waiting.burst, now, egress),
                Reach::Asked | Reach::Silent => self.refuse_held(ingress, frame, seen, now, egress),
            };
            self.settle(ingress, waiting.packets, waiting.bytes, fate);
            self.held.give_back(waiting.frame);
        }
    }

    fn refuse_held(
        &mut self,
        ingress: PortId,
        frame: &Frame,
        seen: &Seen,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Verdict<Done> {
        let received = seen.received.as_ref().map_err(|reason| *reason)?;
        let refusal = Refusal::with_error(DropReason::NextHopUnresolved, IcmpError::HostUnreachable);
        // The client has asked again meanwhile, and somebody else was asked for it.
        if let Body::Ipv4(ip) = &received.packet.body
            && self.slow_path.is_offered_elsewhere(ip)
        {
            return Err(refusal.reason);
        }
        self.refuse((refusal, None), ingress, frame, received, now, egress)
    }
}

/// Asks `to`, or everybody, who has `target`; as `sender`, which is the target itself in an announcement.
fn send_request(
    port: &mut Port,
    sender: Ipv4Addr,
    target: Ipv4Addr,
    to: Option<Mac>,
    egress: &mut impl Egress,
) {
    if port.check_egress().is_err() {
        return;
    }
    let mut frame = [0; VNET_HDR_LEN + ETHERNET_HDR_LEN + arp::LEN];
    let ethernet = frame.get_mut(VNET_HDR_LEN..).unwrap_or_default();
    arp::write_request(ethernet, port.config.mac, sender, target, to.unwrap_or(Mac::BROADCAST));
    if transmit(port, &frame, egress).is_ok() {
        port.counters.originated();
    }
}
