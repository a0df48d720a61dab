//! The tunnel to other nodes: VXLAN (RFC 7348) between routers.
//!
//! ```text
//!  pod ─▶ flow table: rewrite, to peer N ─▶ encap: headers of each segment ─▶ Egress::transmit_tunnel
//!  device ─▶ decap: whose is it, what is it? merge ─▶ batch ─▶ the pipeline of every other frame
//! ```
//!
//! Packets are routed, not bridged: a peer's Pod CIDRs and node addresses are routes, the inner Ethernet
//! header goes from our router to the peer's, both count a hop. Only broadcast and multicast of pods
//! travel as they are. The tunnel is a port like any other, so it has counters, named drops and the law
//! `rx_frames == forwarded + Σ drops`. Its unit is the inner packet: a superframe is as many as it is
//! on the wire, either way. Peers are rows behind the port ([`peers`]).
//!
//! What a peer sends is believed as little as what a pod does: outer source, VNI, inner destination and
//! inner source must all be that peer's to use ([`decap`]; the inner source is looked up when a flow is
//! decided, and the peer is part of the flow's key). What crossed the tunnel never goes back into it.
//!
//! The packets on the wire have complete checksums whatever a pod left to its device, so every receiver
//! understands them. DSCP and ECN are those of the inner packet, ECN by RFC 6040 in normal mode both
//! ways ([`ecn`]).
//!
//! Keep-alives tell whether a peer is there and how large packets may be ([`probe`], [`keep_alive`]).

pub(crate) mod decap;
pub(crate) mod ecn;
pub(crate) mod encap;
pub(crate) mod keep_alive;
pub(crate) mod mss;
pub(crate) mod peers;
pub(crate) mod probe;
pub(crate) mod vxlan;

use std::net::{Ipv4Addr, SocketAddrV4};

use protocol::link::TunnelConfig;
use protocol::{Mac, PortId};

use crate::l3::route::Target;
use crate::limits::Limits;
use crate::token_bucket::TokenBucket;
use keep_alive::Rounds;
use peers::Peers;

/// What surrounds an inner IP packet: Ethernet 14, VXLAN 8, UDP 8, IPv4 20.
pub const OVERHEAD: u16 = 50;

/// Datagrams of one length, but for a shorter last one, to one peer: a packet, or the segments of a
/// superframe. Each is a header of `header_len` bytes from `headers` and at most `payload_size` bytes
/// from `payload`, in turn; headers are made, payload stays where it was read.
#[derive(Debug, Clone, Copy)]
pub struct Train<'a> {
    /// Where to.
    pub to: SocketAddrV4,
    /// Type of service of the outer header: DSCP and ECN.
    pub tos: u8,
    /// The same for all packets of a flow, for the outer source port.
    pub entropy: u32,
    /// One header after the other.
    pub headers: &'a [u8],
    /// Bytes of one header; not 0.
    pub header_len: usize,
    /// One payload after the other.
    pub payload: &'a [u8],
    /// Bytes of all payloads but the last; not 0.
    pub payload_size: usize,
}

impl Train<'_> {
    /// Datagrams it is.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.payload.len().div_ceil(self.payload_size.max(1)).max(1)
    }

    /// Bytes of all datagrams.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.segments() * self.header_len + self.payload.len()
    }
}

/// What the device received: a datagram, or several of one length with a shorter last one.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Outer source address.
    pub source: Ipv4Addr,
    /// Type of service of the outer header.
    pub tos: u8,
    /// Bytes of each datagram but the last.
    pub segment_size: usize,
    /// One after the other, from the VXLAN header on.
    pub bytes: &'a mut [u8],
}

/// The state of the tunnel that decisions are made from and packets are built in.
#[derive(Debug)]
pub(crate) struct Overlay {
    /// `None`: this node has no tunnel.
    pub(crate) config: Option<TunnelConfig>,
    /// This worker's tunnel port, if attached.
    pub(crate) port: Option<PortId>,
    pub(crate) router_mac: Mac,
    pub(crate) peers: Peers,
    /// Copies of broadcast and multicast that may still be sent.
    bum: TokenBucket,
    /// The peer that gets the next first copy, so that a budget too small is everybody's in turn.
    bum_from: usize,
    pub(crate) rounds: Rounds,
    headers: Box<[u8]>,
    /// One keep-alive.
    keep_alive: Box<[u8]>,
    seed: u64,
}

impl Overlay {
    pub(crate) fn new(seed: u64, worker: u32, limits: &Limits) -> Self {
        Self {
            config: None,
            port: None,
            router_mac: Mac([0; 6]),
            peers: Peers::new(seed),
            bum: TokenBucket::new(limits.bum_per_second, limits.bum_burst),
            bum_from: 0,
            rounds: Rounds::new(seed, worker),
            headers: vec![0; encap::HEADERS_BYTES].into_boxed_slice(),
            keep_alive: vec![0; usize::from(u16::MAX)].into_boxed_slice(),
            seed,
        }
    }

    pub(crate) fn vni(&self) -> u32 {
        self.config.as_ref().map_or(0, |config| config.vni)
    }

    pub(crate) fn clamps_mss(&self) -> bool {
        self.config.as_ref().is_some_and(|config| config.clamp_mss)
    }

    /// Whether `address`, which leads to `target`, at UDP port `port` is where a node receives from its
    /// peers: this one, or another.
    pub(crate) fn is_tunnel_end(&self, address: Ipv4Addr, port: u16, target: Option<Target>) -> bool {
        let Some(config) = &self.config else { return false };
        let is_ours = config.address == address || matches!(target, Some(Target::Node | Target::Router));
        let direct = self.peers.by_address(address).and_then(|id| self.peers.get(id));
        let routed = match target {
            Some(Target::Peer(id)) => self.peers.get(id).filter(|peer| peer.is_node(address)),
            Some(
                Target::Port(_)
                | Target::Router
                | Target::Node
                | Target::Connected
                | Target::Uplink
                | Target::Nowhere,
            )
            | None => None,
        };
        config.udp_port == port && is_ours
            || direct.into_iter().chain(routed).any(|peer| peer.config.udp_port == port)
    }
}
