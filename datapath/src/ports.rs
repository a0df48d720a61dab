//! The ports: configuration, counters and rate limits of each, by number.

use std::sync::Arc;

use protocol::PortId;
use protocol::link::PortConfig;
use protocol::object::{PortKind, PortState, Rate};

use crate::bandwidth::{Bucket, Buckets, Shaper};
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
    /// What its station may send, if there is a limit.
    pub(crate) sends: Option<Bucket>,
    /// What may come to it, if there is a limit.
    pub(crate) receives: Option<Box<Shaper>>,
}

impl Port {
    pub(crate) fn new(config: PortConfig, limits: &Limits, buckets: &Arc<Buckets>) -> Self {
        let (id, bandwidth) = (config.id, config.bandwidth);
        Self {
            config,
            counters: Counters::new(),
            flood: TokenBucket::new(limits.flood_per_second, limits.flood_burst),
            icmp_errors: TokenBucket::new(limits.icmp_errors_per_second, limits.icmp_error_burst),
            learned_told: TokenBucket::new(limits.learned_told_per_second, limits.learned_told_burst),
            sends: bandwidth.egress().map(Bucket::new),
            receives: bandwidth.ingress().map(|rate| Box::new(Shaper::new(rate, id, buckets))),
        }
    }

    /// The same port with another configuration. What waits for its rate goes on waiting.
    fn reconfigured(mut self, config: &PortConfig, buckets: &Arc<Buckets>) -> Self {
        let (old, new) = (self.config.bandwidth, config.bandwidth);
        if old.egress() != new.egress() {
            self.sends = new.egress().map(Bucket::new);
        }
        // Without a limit, what waits is let go at once.
        let unlimited = Rate { bits_per_second: Rate::MAX, burst_bits: Rate::MAX_BURST };
        match (&mut self.receives, new.ingress()) {
            (Some(shaper), rate) if rate.is_some() || !shaper.is_idle() => {
                shaper.set_rate(rate.unwrap_or(unlimited), config.id, buckets);
            }
            (receives, rate) => {
                *receives = rate.map(|rate| Box::new(Shaper::new(rate, config.id, buckets)));
            }
        }
        Self { config: config.clone(), ..self }
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
    limits_senders: bool,
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

    /// Whether any port has a limit of what it sends.
    pub(crate) const fn limits_senders(&self) -> bool {
        self.limits_senders
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
    /// `fresh` one start anew. Gives the ports that are no more.
    pub(crate) fn install<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a PortConfig>,
        fresh: &[PortId],
        limits: &Limits,
        buckets: &Arc<Buckets>,
    ) -> Vec<Port> {
        let mut old = std::mem::take(&mut self.slots);
        (self.gateway, self.uplink) = (None, None);
        self.tunnels.clear();
        for config in wanted {
            let index = config.id.index();
            if self.slots.len() <= index {
                self.slots.resize_with(index + 1, || None);
            }
            let kept = old.get_mut(index).filter(|_| !fresh.contains(&config.id)).and_then(Option::take);
            let port = match kept {
                Some(port) => port.reconfigured(config, buckets),
                None => Port::new(config.clone(), limits, buckets),
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
        self.limits_senders = self.slots.iter().flatten().any(|port| port.sends.is_some());
        // Those that are no more, or were replaced by others.
        old.into_iter().flatten().collect()
    }
}
