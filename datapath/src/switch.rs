//! The pipeline.

use protocol::link::{ConfigDelta, Epoch, PortConfig, Summary};
use protocol::object::{FdbEntry, Flow, NeighborEntry, PortCounters, PortState};
use protocol::{Mac, PortId};

use crate::batch::Batch;
use crate::config::{ConfigError, Desired};
use crate::counters::Counters;
use crate::limits::Limits;
use crate::time::Instant;
use crate::verdict::{DropReason, Verdict};

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmit {
    /// Written.
    Sent,
    /// The device's queue is full.
    QueueFull,
    /// The device no longer exists.
    Gone,
}

/// Where frames go; the poll loop's devices.
pub trait Egress {
    /// Writes one frame, virtio header first.
    fn transmit(&mut self, port: PortId, frame: &[u8]) -> Transmit;
}

/// How a switch is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct SwitchOptions {
    /// Seed of every hash table; random per process, because pods choose the keys.
    pub seed: u64,
    /// Caps and rates.
    pub limits: Limits,
}

/// One switch, owned by one worker.
#[derive(Debug)]
pub struct Switch {
    epoch: Epoch,
    active: Desired,
    staged: Option<Desired>,
    counters: Vec<Option<Counters>>,
}

impl Switch {
    /// A switch without ports.
    #[must_use]
    pub fn new(_options: SwitchOptions) -> Self {
        Self { epoch: 0, active: Desired::default(), staged: None, counters: Vec::new() }
    }

    /// Changes the configuration: collects until a delta commits, then all of it is visible at once.
    ///
    /// # Errors
    /// Nothing of the delta, nor of those collected before it, took effect.
    pub fn apply(&mut self, delta: &ConfigDelta, _now: Instant) -> Result<(), ConfigError> {
        let mut next = self.staged.take().unwrap_or_else(|| self.active.clone());
        if delta.epoch != self.epoch + 1 {
            return Err(ConfigError::WrongEpoch { active: self.epoch, got: delta.epoch });
        }
        next.apply(delta)?;
        if !delta.commit {
            self.staged = Some(next);
            return Ok(());
        }
        next.check()?;
        let slots = next.ports.keys().last().map_or(0, |id| id.index() + 1);
        self.counters.resize_with(slots, || None);
        for (index, slot) in self.counters.iter_mut().enumerate() {
            let id = u32::try_from(index).map(PortId).unwrap_or(PortId(u32::MAX));
            if !next.ports.contains_key(&id) {
                *slot = None;
            } else if slot.is_none() || next.fresh.contains(&id) {
                *slot = Some(Counters::new());
            }
        }
        next.fresh.clear();
        self.active = next;
        self.epoch = delta.epoch;
        Ok(())
    }

    /// Decides, writes and accounts every frame of the batch.
    pub fn process(&mut self, batch: &mut Batch, _now: Instant, egress: &mut impl Egress) {
        for (ingress, frame) in batch.iter_mut() {
            let verdict = self.switch_frame(ingress, frame.bytes(), egress);
            if let Some(counters) = self.counters_mut(ingress) {
                counters.received(frame.ethernet_len());
                counters.verdict(verdict);
            }
        }
    }

    fn switch_frame(&mut self, ingress: PortId, frame: &[u8], egress: &mut impl Egress) -> Verdict {
        let destination = frame.get(12..18).and_then(|d| <[u8; 6]>::try_from(d).ok());
        let destination = Mac(destination.ok_or(DropReason::FrameTooShort)?);
        let mut verdict = Err(DropReason::UnknownUnicast);
        let ports = self.active.ports.values().filter(|p| p.id != ingress && p.state == PortState::Active);
        for port in ports.filter(|port| destination.is_multicast() || port.mac == destination) {
            verdict = match egress.transmit(port.id, frame) {
                Transmit::Sent => Ok(()),
                Transmit::QueueFull => Err(DropReason::PortQueueFull),
                Transmit::Gone => Err(DropReason::PortGone),
            };
            if let Some(Some(counters)) = self.counters.get_mut(port.id.index()) {
                match verdict {
                    Ok(()) => counters.sent(frame.len().saturating_sub(crate::VNET_HDR_LEN)),
                    Err(_) => counters.refused(),
                }
            }
        }
        verdict
    }

    fn counters_mut(&mut self, port: PortId) -> Option<&mut Counters> {
        self.counters.get_mut(port.index())?.as_mut()
    }

    /// The poll loop found a device gone, or the supervisor quarantines a port.
    pub fn set_port_state(&mut self, port: PortId, state: PortState) {
        for desired in [Some(&mut self.active), self.staged.as_mut()].into_iter().flatten() {
            if let Some(port) = desired.ports.get_mut(&port) {
                port.state = state;
            }
        }
    }

    /// When [`on_deadline`](Self::on_deadline) has something to do; `None`: nothing to wait for.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Expires what is due, a bounded amount per call.
    pub const fn on_deadline(&mut self, _now: Instant) {}

    /// Number of the active configuration; 0 is none yet.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The active ports' configurations, by number.
    pub fn ports(&self) -> impl Iterator<Item = &PortConfig> {
        self.active.ports.values()
    }

    /// A copy of one port's counters.
    #[must_use]
    pub fn port_counters(&self, port: PortId) -> Option<PortCounters> {
        Some(self.counters.get(port.index())?.as_ref()?.snapshot())
    }

    /// A page of the forwarding database and the cursor of the next page.
    #[must_use]
    pub fn fdb_page(&self, _cursor: u64, _max: usize, _now: Instant) -> (Vec<FdbEntry>, Option<u64>) {
        (Vec::new(), None)
    }

    /// A page of the neighbour table and the cursor of the next page.
    #[must_use]
    pub fn neighbors_page(
        &self,
        _cursor: u64,
        _max: usize,
        _now: Instant,
    ) -> (Vec<NeighborEntry>, Option<u64>) {
        (Vec::new(), None)
    }

    /// A page of the flow table and the cursor of the next page.
    #[must_use]
    pub fn flows_page(&self, _cursor: u64, _max: usize, _now: Instant) -> (Vec<Flow>, Option<u64>) {
        (Vec::new(), None)
    }

    /// Numbers for `status`; `workers` is the caller's.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let counters = self.counters.iter().flatten();
        let mut summary = Summary { epoch: self.epoch, ..Summary::default() };
        for port in counters {
            summary.ports += 1;
            summary.rx_frames += port.rx_frames();
            summary.forwarded += port.forwarded();
            summary.dropped += port.dropped();
        }
        summary
    }
}
