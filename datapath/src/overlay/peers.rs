//! The peers: where each is, what belongs to it, and what is known about it.
//!
//! Rows are found by number (a flow's action), by outer address (a received datagram), and, through the
//! routes, by inner address. None of these gets slower with many peers. A row survives a change of
//! configuration together with what was found out about its path, if the outer address stayed.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashMap;
use ipnet::IpNet;
use protocol::PeerId;
use protocol::link::PeerConfig;
use protocol::object::PeerHealth;

use super::OVERHEAD;
use super::probe::Path;
use crate::time::{Instant, millis};

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) config: Arc<PeerConfig>,
    pub(crate) path: Path,
    pub(crate) traffic: Traffic,
    pub(crate) last_seen: Option<Instant>,
    /// Outer IP packets are no larger.
    underlay_mtu: u16,
}

/// Inner packets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
}

impl Peer {
    fn new(config: Arc<PeerConfig>, underlay_mtu: u16) -> Self {
        let path = Path::new(underlay_mtu);
        Self { config, path, traffic: Traffic::default(), last_seen: None, underlay_mtu }
    }

    /// Where its tunnel receives.
    pub(crate) fn socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.config.address, self.config.udp_port)
    }

    /// Largest inner IP packet that reaches it.
    pub(crate) fn ip_mtu(&self) -> u16 {
        self.path.mtu().unwrap_or(self.underlay_mtu).min(self.underlay_mtu).saturating_sub(OVERHEAD)
    }

    /// Whether `address` is the node's own and not a pod's: its tunnel's, listed, or the gateway address
    /// of a Pod CIDR, which is the first.
    pub(crate) fn is_node(&self, address: Ipv4Addr) -> bool {
        self.config.address == address
            || self.config.node_addresses.contains(&IpAddr::V4(address))
            || self.is_gateway(address)
    }

    /// Whether `address` is the gateway address of a Pod CIDR, which is the first.
    pub(crate) fn is_gateway(&self, address: Ipv4Addr) -> bool {
        self.config.pod_cidrs.iter().any(|cidr| match cidr {
            IpNet::V4(v4) => v4.hosts().next() == Some(address),
            IpNet::V6(_) => false,
        })
    }

    /// Packets of it were accepted.
    pub(crate) fn received(&mut self, packets: u64, bytes: usize, now: Instant) {
        self.traffic.rx_packets += packets;
        self.traffic.rx_bytes += bytes as u64;
        self.last_seen = Some(now);
    }

    /// Packets to it were sent.
    pub(crate) const fn sent(&mut self, packets: u64, bytes: usize) {
        self.traffic.tx_packets += packets;
        self.traffic.tx_bytes += bytes as u64;
    }

    /// For the control process.
    pub(crate) fn health(&self, now: Instant) -> PeerHealth {
        PeerHealth {
            reachable: self.path.is_reachable(now),
            last_seen_ms: self.last_seen.map(|seen| millis(now.saturating_since(seen))),
            rtt_us: self.path.rtt_micros(),
            loss_percent: self.path.loss_percent(),
            path_mtu: self.path.mtu(),
            tx_packets: self.traffic.tx_packets,
            tx_bytes: self.traffic.tx_bytes,
            rx_packets: self.traffic.rx_packets,
            rx_bytes: self.traffic.rx_bytes,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Peers {
    slots: Vec<Option<Peer>>,
    by_address: HashMap<Ipv4Addr, PeerId, SeedableRandomState>,
    /// Those that get copies of broadcast and multicast.
    with_pods: Vec<PeerId>,
    /// Those that answer keep-alives.
    daemons: Vec<PeerId>,
}

impl Peers {
    pub(super) fn new(seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_random());
        Self {
            slots: Vec::new(),
            by_address: HashMap::with_hasher(hasher),
            with_pods: Vec::new(),
            daemons: Vec::new(),
        }
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.slots.get(id.index())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    /// Whose outer address it is.
    pub(crate) fn by_address(&self, address: Ipv4Addr) -> Option<PeerId> {
        self.by_address.get(&address).copied()
    }

    /// Number `at` of those that get copies of broadcast and multicast.
    pub(super) fn with_pods(&self, at: usize) -> Option<PeerId> {
        self.with_pods.get(at).copied()
    }

    pub(super) const fn with_pods_len(&self) -> usize {
        self.with_pods.len()
    }

    /// Those that answer keep-alives.
    pub(super) fn daemons(&self) -> &[PeerId] {
        &self.daemons
    }

    /// Rows with greater numbers than `after`, by number.
    pub(crate) fn after(&self, after: Option<PeerId>) -> impl Iterator<Item = (PeerId, &Peer)> {
        let from = after.map_or(0, |after| after.index() + 1);
        let slots = self.slots.iter().enumerate().skip(from);
        slots.filter_map(|(index, slot)| Some((PeerId(u32::try_from(index).ok()?), slot.as_ref()?)))
    }

    /// Takes over a configuration.
    pub(crate) fn install<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a Arc<PeerConfig>>,
        underlay_mtu: u16,
    ) {
        let mut old = std::mem::take(&mut self.slots);
        self.by_address.clear();
        self.with_pods.clear();
        self.daemons.clear();
        for config in wanted {
            let id = config.id;
            if self.slots.len() <= id.index() {
                self.slots.resize_with(id.index() + 1, || None);
            }
            let kept = old.get_mut(id.index()).and_then(Option::take);
            let peer = match kept.filter(|peer| {
                peer.config.address == config.address && peer.config.keep_alive == config.keep_alive
            }) {
                Some(mut peer) => {
                    if peer.underlay_mtu != underlay_mtu {
                        peer.underlay_mtu = underlay_mtu;
                        peer.path.restart(underlay_mtu);
                    }
                    Peer { config: Arc::clone(config), ..peer }
                }
                None => Peer::new(Arc::clone(config), underlay_mtu),
            };
            self.by_address.insert(config.address, id);
            if config.has_pods {
                self.with_pods.push(id);
            }
            if config.keep_alive {
                self.daemons.push(id);
            }
            if let Some(slot) = self.slots.get_mut(id.index()) {
                *slot = Some(peer);
            }
        }
    }
}
