//! The ports: configuration, counters and rate limits of each, by number.

use protocol::PortId;
use protocol::link::PortConfig;
use protocol::object::{PortKind, PortState};

use crate::counters::Counters;
use crate::limits::Limits;
use crate::token_bucket::TokenBucket;
use crate::verdict::{DropReason, Verdict};

/// One port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) config: PortConfig,
    pub(crate) counters: Counters,
    /// Broadcast, multicast and unknown-unicast frames it may still send.
    pub(crate) flood: TokenBucket,
    /// ICMP errors it may still cause.
    pub(crate) icmp_errors: TokenBucket,
    /// What other workers may still be told about its stations.
    pub(crate) learned_told: TokenBucket,
}

impl Port {
    pub(crate) fn new(config: PortConfig, limits: &Limits) -> Self {
        Self {
            config,
            counters: Counters::new(),
            flood: TokenBucket::new(limits.flood_per_second, limits.flood_burst),
            icmp_errors: TokenBucket::new(limits.icmp_errors_per_second, limits.icmp_error_burst),
            learned_told: TokenBucket::new(limits.learned_told_per_second, limits.learned_told_burst),
        }
    }

    /// Whether a frame from it may go on.
    pub(crate) const fn check_ingress(&self) -> Verdict {
        match self.config.state {
            PortState::Active => Ok(()),
            PortState::Closed => Err(DropReason::PortClosed),
            PortState::Detached => Err(DropReason::PortDetached),
            PortState::Quarantined => Err(DropReason::PortQuarantined),
        }
    }

    /// Whether a frame may leave by it.
    pub(crate) const fn check_egress(&self) -> Verdict {
        match self.config.state {
            PortState::Active => Ok(()),
            PortState::Closed | PortState::Quarantined => Err(DropReason::EgressClosed),
            PortState::Detached => Err(DropReason::PortGone),
        }
    }

    /// Largest IP packet it takes.
    pub(crate) fn ip_mtu(&self) -> usize {
        usize::from(self.config.ip_mtu)
    }
}

/// All ports. Numbers are small and dense, so the table is an array.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    slots: Vec<Option<Port>>,
    gateway: Option<PortId>,
    uplink: Option<PortId>,
    tunnels: Vec<PortId>,
}

impl Ports {
    pub(crate) fn get(&self, port: PortId) -> Option<&Port> {
        self.slots.get(port.index())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, port: PortId) -> Option<&mut Port> {
        self.slots.get_mut(port.index())?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Port> {
        self.slots.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Port> {
        self.slots.iter_mut().flatten()
    }

    /// The node's own port, if attached.
    pub(crate) const fn gateway(&self) -> Option<PortId> {
        self.gateway
    }

    /// The way out of the cluster, if attached.
    pub(crate) const fn uplink(&self) -> Option<PortId> {
        self.uplink
    }

    /// The tunnel port of worker number `worker`: they are numbered from the highest port down. Any
    /// worker can send by any of them.
    pub(crate) fn tunnel(&self, worker: u32) -> Option<PortId> {
        let own = PortId(PortId::MAX_PORTS.saturating_sub(1 + worker));
        self.tunnels.iter().find(|port| **port == own).or(self.tunnels.last()).copied()
    }

    /// Takes over a configuration: counters and limits of a port that stays survive, those of a
    /// `fresh` one start anew.
    pub(crate) fn install<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a PortConfig>,
        fresh: &[PortId],
        limits: &Limits,
    ) {
        let mut old = std::mem::take(&mut self.slots);
        (self.gateway, self.uplink) = (None, None);
        self.tunnels.clear();
        for config in wanted {
            let index = config.id.index();
            if self.slots.len() <= index {
                self.slots.resize_with(index + 1, || None);
            }
            let kept = old.get_mut(index).and_then(Option::take).filter(|_| !fresh.contains(&config.id));
            let port = match kept {
                Some(port) => Port { config: config.clone(), ..port },
                None => Port::new(config.clone(), limits),
            };
            match config.kind {
                PortKind::Gateway => self.gateway = Some(config.id),
                PortKind::Tunnel => self.tunnels.push(config.id),
                PortKind::Uplink => self.uplink = Some(config.id),
                PortKind::Pod => {}
            }
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = Some(port);
            }
        }
    }
}
