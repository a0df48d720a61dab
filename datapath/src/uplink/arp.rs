//! ARP on the uplink (RFC 826): answered for what the switch stands for, heard for its next hops.
//!
//! The node's kernel has and answers ARP for the node's own address. Frames of the kernel are not seen here, those of others are
//! copies, so nothing is ever forwarded.

use std::net::Ipv4Addr;

use protocol::link::PortConfig;

use super::next_hop::{Heard, Said};
use crate::action::Action;
use crate::replication::{Known, News};
use crate::slow_path::SlowPath;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Packet;
use crate::wire::arp::{Arp, Operation};

impl SlowPath {
    /// What to do with an ARP packet from outside.
    pub(super) fn resolve_outside(
        &mut self,
        port: &PortConfig,
        packet: &Packet,
        arp: &Arp,
        now: Instant,
    ) -> Verdict<Action> {
        let is_to_us = packet.destination == port.mac;
        if !is_to_us && !packet.destination.is_multicast() {
            return Err(DropReason::NotForSwitch);
        }
        self.admit_outside_mac(port, packet)?;
        if arp.sender_mac != packet.source {
            return Err(DropReason::ArpSpoofed);
        }
        if self.uplink.give_way(arp.sender_ip, now) {
            // Again and again, should the others have missed it.
            let known = Known::GivenWay { address: arp.sender_ip, port: port.id };
            self.outbox.push(News::Fresh, known);
            return Err(DropReason::ArpAbsorbed);
        }
        // Nobody else has what the switch stands for; what the kernel has is its own affair.
        if self.uplink.stands_for(arp.sender_ip, now) {
            return Err(DropReason::ArpSpoofed);
        }
        let heard = if arp.is_probe() { Heard::Unasked } else { self.hear(port, arp, is_to_us, now) };
        if arp.operation == Operation::Request && self.uplink.stands_for(arp.target_ip, now) {
            return Ok(Action::AnswerArp { request: *arp, mac: port.mac });
        }
        Err(match heard {
            Heard::Unasked => DropReason::NotForSwitch,
            Heard::Same | Heard::Found | Heard::Moved => DropReason::ArpAbsorbed,
        })
    }

    /// What its sender says of itself, for this worker and the others.
    fn hear(&mut self, port: &PortConfig, arp: &Arp, is_to_us: bool, now: Instant) -> Heard {
        let is_answer = is_to_us && arp.operation == Operation::Reply && self.uplink.asks_as(arp.target_ip);
        let said = Said { address: arp.sender_ip, mac: arp.sender_mac, is_answer };
        let heard = self.uplink.hear(&said, now);
        // An answer may be to another worker's question. Of everybody's broadcasts the others are told what concerns next hops known here, which
        // the gateway is to all.
        if is_answer || heard == Heard::Moved || arp.sender_ip == arp.target_ip {
            self.outbox.push(News::Fresh, Known::NextHop { said, port: port.id });
        }
        heard
    }
}

impl super::Uplink {
    /// A station was heard, by this worker or another.
    pub(crate) fn hear(&mut self, said: &Said, now: Instant) -> Heard {
        let heard = self.next_hops.hear(said, now);
        self.is_void |= heard == Heard::Moved;
        match heard {
            // Now, as soon as the frames in hand are decided.
            Heard::Found | Heard::Moved => self.release_due = Some(now),
            Heard::Unasked | Heard::Same => {}
        }
        heard
    }

    fn stands_for(&self, address: Ipv4Addr, now: Instant) -> bool {
        self.is_announced(address, now) || self.is_egress(address)
    }

    /// The address in this node's own questions.
    fn asks_as(&self, address: Ipv4Addr) -> bool {
        self.link.is_some_and(|link| link.address == address)
    }
}
