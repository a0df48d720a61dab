//! The flow table: finished decisions by exact match.
//!
//! A key holds everything a decision looked at and that may differ between frames: where the frame
//! came in, both MACs, both addresses, protocol and ports. What is not in the key is checked for every
//! frame (lengths and checksums at parsing, TTL, MTU and the state of the egress when the decision is
//! carried out), and a packet whose decision depended on more (options, fragments, ICMP other than
//! echo, groups) has no key. Decisions that rest on learned tables are never put here.
//!
//! Each entry carries the configuration's epoch; after a change older entries count as absent, all at
//! once and for free, and are replaced at their next frame.
//!
//! This is the first, simple form: what the rest of the switch may rely on is [`FlowKey::of`],
//! [`FlowTable::lookup`], [`FlowTable::insert`], [`FlowTable::count`].

use std::hash::{Hash, Hasher};
use std::net::Ipv4Addr;
use std::time::Duration;

use protocol::PortId;
use protocol::link::Epoch;

use crate::action::Forward;
use crate::bounded::BoundedTable;
use crate::limits::Limits;
use crate::time::Instant;
use crate::wire::ipv4::{Fragment, Ipv4, Options};
use crate::wire::l4::L4;
use crate::wire::{Body, Packet, icmp};

/// What identifies a flow, packed so that hashing and comparing are four words:
///
/// ```text
/// source MAC : 48  ingress port : 16
/// destination MAC : 48  protocol : 8  zero : 8
/// source address : 32  destination address : 32
/// source port : 16  destination port : 16  zero : 32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey([u64; 4]);

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Word by word; the derived form would go through bytes, which costs four times as much.
        for word in self.0 {
            state.write_u64(word);
        }
    }
}

impl FlowKey {
    /// The flow `packet` belongs to, if its decision may be remembered at all.
    pub(crate) fn of(ingress: PortId, packet: &Packet) -> Option<Self> {
        let Body::Ipv4(ip) = &packet.body else { return None };
        if ip.fragment != Fragment::Whole
            || ip.options != Options::None
            || packet.destination.is_multicast()
            || ip.destination.is_multicast()
        {
            return None;
        }
        let (source_port, destination_port) = ports(ip)?;
        const { assert!(PortId::MAX_PORTS <= 1 << 16) };
        Some(Self([
            packet.source.to_u64() << 16 | u64::from(ingress.0),
            packet.destination.to_u64() << 16 | u64::from(ip.protocol) << 8,
            u64::from(ip.source.to_bits()) << 32 | u64::from(ip.destination.to_bits()),
            u64::from(source_port) << 48 | u64::from(destination_port) << 32,
        ]))
    }

    #[expect(clippy::cast_possible_truncation, reason = "unpacks fields at their widths")]
    pub(crate) fn unpack(&self) -> Unpacked {
        let [_, second, addresses, ports] = self.0;
        Unpacked {
            protocol: (second >> 8) as u8,
            source: Ipv4Addr::from_bits((addresses >> 32) as u32),
            destination: Ipv4Addr::from_bits(addresses as u32),
            source_port: (ports >> 48) as u16,
            destination_port: (ports >> 32) as u16,
        }
    }
}

/// A key's fields, for rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

/// Port numbers, or what stands for them. An echo request has its identifier as source and 8 as
/// destination, so that it is not the same flow as a reply.
fn ports(ip: &Ipv4) -> Option<(u16, u16)> {
    match ip.l4 {
        L4::Tcp { source_port, destination_port, .. } | L4::Udp { source_port, destination_port, .. } => {
            Some((source_port, destination_port))
        }
        L4::Icmp { kind: kind @ (icmp::ECHO_REQUEST | icmp::ECHO_REPLY), code: 0, identifier } => {
            Some((identifier, u16::from(kind)))
        }
        L4::Icmp { .. } | L4::Headless => None,
        L4::Other => Some((0, 0)),
    }
}

/// A remembered decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CachedFlow {
    pub(crate) forward: Forward,
    pub(crate) epoch: Epoch,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct FlowTable {
    table: BoundedTable<FlowKey, CachedFlow>,
    idle: Duration,
}

impl FlowTable {
    pub(crate) fn new(seed: u64, limits: &Limits) -> Self {
        Self { table: BoundedTable::new(seed, limits.flows, limits.flows_per_port), idle: limits.flow_idle }
    }

    /// Makes room for the flows that come in by `port`.
    pub(crate) fn reserve(&mut self, port: PortId) {
        self.table.reserve_owner(port);
    }

    /// What was decided under this configuration.
    pub(crate) fn lookup(&self, key: &FlowKey, epoch: Epoch) -> Option<Forward> {
        let flow = &self.table.lookup(key)?.value;
        (flow.epoch == epoch).then_some(flow.forward)
    }

    /// Remembers a decision, in place of an older one.
    pub(crate) fn insert(
        &mut self,
        key: FlowKey,
        ingress: PortId,
        forward: Forward,
        epoch: Epoch,
        now: Instant,
    ) {
        self.table.insert(key, ingress, CachedFlow { forward, epoch, frames: 0, bytes: 0 }, now);
    }

    /// A frame of the flow was forwarded.
    pub(crate) fn count(&mut self, key: &FlowKey, bytes: usize, now: Instant) {
        if let Some(flow) = self.table.touch(key, now) {
            flow.frames += 1;
            flow.bytes += bytes as u64;
        }
    }

    /// See [`BoundedTable::expire`].
    pub(crate) fn expire(&mut self, now: Instant, budget: u32) -> bool {
        self.table.expire(now, self.idle, budget)
    }

    pub(crate) fn entries(&self) -> &BoundedTable<FlowKey, CachedFlow> {
        &self.table
    }
}
