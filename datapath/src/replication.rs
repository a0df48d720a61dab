//! One knowledge of stations in the switches of several workers.
//!
//! A port is read by one worker, so only that worker's switch hears the stations behind it. What it
//! learns from them goes into an outbox; the worker takes it from there and hands it to the others,
//! whose switches learn it as if they had heard it, under the same caps, shares and move limits.
//!
//! How it works: nothing is told per frame, only that a station or address is new, has moved, or is
//! still there after [`Limits::refresh_interval`](crate::Limits). Telling may fail: the outbox is
//! bounded, one port may have no more told about it than its share, and the caller may lose messages.
//! What is lost is told again by the next refresh; until then frames for the station are flooded.
//! Two workers that hear one station at the same time (a loop) disagree until a refresh, as one switch
//! would change its mind: at most once per `move_interval`.
//!
//! INVARIANT: what is learned from another worker is of the same configuration. The epoch travels with
//! it and is compared, so a port number that was given to somebody else never inherits a station.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use protocol::link::Epoch;
use protocol::object::{PortKind, PortState};
use protocol::{Mac, PeerId, PortId};

use crate::limits::Limits;
use crate::slow_path::SlowPath;
use crate::switch::Switch;
use crate::time::Instant;
use crate::uplink::Said;

/// What an outbox holds; a batch of 64 frames can teach a station and an address each.
const OUTBOX_LEN: usize = 128;

/// Something one worker's switch has learned, for those of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    epoch: Epoch,
    known: Known,
}

/// Where a station or an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Station {
        mac: Mac,
        port: PortId,
    },
    Neighbor {
        ip: IpAddr,
        mac: Mac,
        port: PortId,
    },
    /// A peer answered a keep-alive, which another worker may wait for.
    Answer {
        peer: PeerId,
        nonce: u64,
    },
    /// A station on the uplink's link, which another worker may have asked for.
    NextHop {
        said: Said,
        port: PortId,
    },
    /// How large packets to a peer may be.
    PathMtu {
        peer: PeerId,
        mtu: u16,
    },
    /// Another station on the uplink's link has an address that this node had.
    GivenWay {
        address: Ipv4Addr,
        port: PortId,
    },
}

impl Known {
    /// The port behind which it was heard.
    const fn port(&self) -> Option<PortId> {
        match self {
            Self::Station { port, .. }
            | Self::Neighbor { port, .. }
            | Self::NextHop { port, .. }
            | Self::GivenWay { port, .. } => Some(*port),
            Self::Answer { .. } | Self::PathMtu { .. } => None,
        }
    }
}

/// Whether the others have to hear of what was just heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It is new, has moved, or was told long ago.
    Fresh,
    /// They know.
    Known,
}

impl News {
    /// Of an entry that was heard again; `told` says when the others were last told, and is set.
    pub(crate) fn of_refresh(told: Option<&mut Instant>, now: Instant, interval: Duration) -> Self {
        match told {
            Some(told) if now.saturating_since(*told) >= interval => {
                *told = now;
                Self::Fresh
            }
            Some(_) | None => Self::Known,
        }
    }
}

/// What is to be told, oldest first. Without peers it stays empty.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: VecDeque<Known>,
    len: usize,
}

impl Outbox {
    pub(crate) fn new(has_peers: bool) -> Self {
        let len = if has_peers { OUTBOX_LEN } else { 0 };
        Self { waiting: VecDeque::with_capacity(len), len }
    }

    /// Never grows: what does not fit is told by a later refresh.
    pub(crate) fn push(&mut self, news: News, known: Known) {
        if news == News::Fresh && self.waiting.len() < self.len {
            self.waiting.push_back(known);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl SlowPath {
    /// Adapts refreshing to the ageing time.
    pub(crate) fn set_ageing(&mut self, ageing: Option<Duration>, limits: &Limits) {
        let interval =
            ageing.map_or(limits.refresh_interval, |ageing| limits.refresh_interval.min(ageing / 4));
        self.fdb.refresh_interval = interval;
        self.neighbors.refresh_interval = interval;
    }
}

impl Switch {
    /// The next thing the other workers have to be told, if there are any ([`has_peers`]);
    /// to be called until there is nothing, after each batch.
    ///
    /// [`has_peers`]: crate::SwitchOptions::has_peers
    pub fn take_learned(&mut self, now: Instant) -> Option<Learned> {
        loop {
            let known = self.slow_path.outbox.waiting.pop_front()?;
            // A port that invents stations costs the other workers a bounded part of their time.
            let may_tell = match known.port() {
                Some(port) => self.ports.get_mut(port).is_some_and(|port| port.learned_told.take(now)),
                None => true,
            };
            if may_tell {
                return Some(Learned { epoch: self.epoch, known });
            }
        }
    }

    /// Learns what another worker's switch took from [`take_learned`](Self::take_learned). Ignored if
    /// it is of another configuration, of a port that does not learn, or moves a station too soon.
    pub fn learn_remote(&mut self, learned: &Learned, now: Instant) {
        let Learned { epoch, known } = *learned;
        let learns = known.port().is_none_or(|port| {
            self.ports.get(port).is_some_and(|port| {
                let learns = port.config.kind == PortKind::Uplink || !port.config.port_security;
                learns && port.config.state == PortState::Active
            })
        });
        if epoch != self.epoch || !learns {
            return;
        }
        // Not put into the outbox: everybody is told by the one that heard it.
        match known {
            Known::Station { mac, port } => {
                if self.slow_path.fdb.lookup_static(mac).is_none() {
                    let _ = self.slow_path.fdb.learn(mac, port, now);
                }
            }
            Known::Neighbor { ip, mac, port } => {
                self.slow_path.neighbors.learn(ip, mac, port, now);
            }
            Known::Answer { peer, nonce } => {
                if self.slow_path.overlay.rounds.is_sender() {
                    self.on_answer(peer, nonce, now);
                }
            }
            Known::NextHop { said, .. } => {
                self.slow_path.uplink.hear(&said, now);
            }
            Known::GivenWay { address, .. } => {
                self.slow_path.uplink.give_way(address, now);
            }
            Known::PathMtu { peer, mtu } => {
                if let Some(peer) = self.slow_path.overlay.peers.get_mut(peer) {
                    peer.path.set_mtu(mtu);
                }
            }
        }
        self.schedule_sweep(now);
    }
}
