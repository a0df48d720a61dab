//! The switch: one worker's tables, and the pipeline every frame goes through.
//!
//! ```text
//!  ingress state ─▶ read ─▶ flow table ── hit ──────────────────────────┐
//!                  (parse, virtio header,   │ miss                      ▼
//!                   canonical form)         └─▶ slow path ─▶ action ─▶ carry out ─▶ write ─▶ account
//!                                               (admission, learning, L2, L3)
//!  └───── window by window ─────┘ └──────────────────── frame by frame ───────────────────────────┘
//! ```
//!
//! Every step either goes on or names a drop reason, so a frame ends in exactly one verdict; `process`
//! is the one place where verdicts are counted.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use protocol::link::{ConfigDelta, Epoch, PortConfig};
use protocol::object::{PortCounters, PortKind, PortState};
use protocol::{PeerId, PortId};

use crate::action::{Action, Forward, Refusal};
use crate::bandwidth::{Delayed, Leaving};
use crate::batch::Batch;
use crate::burst::Burst;
use crate::config::{ConfigError, Desired};
use crate::conntrack::Tracked;
use crate::flow_table::{FlowId, FlowTable, Probe};
use crate::frame::{ETHERNET_HDR_LEN, Frame, VNET_HDR_LEN};
use crate::l2::flood::{Flood, Scope};
use crate::l3::icmp;
use crate::limits::Limits;
use crate::nat::{invalid, tcp_flags};
use crate::offload::fragment;
use crate::output::{Egress, Output, transmit};
use crate::overlay::peers::Peer;
use crate::ports::Ports;
use crate::received::Received;
use crate::replication::Outbox;
use crate::rewrite::Translation;
use crate::shared::Shared;
use crate::slow_path::SlowPath;
use crate::sweep::Sweep;
use crate::time::Instant;
use crate::uplink::held::Held;
use crate::verdict::{DropReason, Verdict};
use crate::window::{Seen, WINDOW, Window};
use crate::wire::icmp::{IcmpError, answer_echo, write_error};
use crate::wire::l4::L4;
use crate::wire::tcp_reset::write_reset;
use crate::wire::{Body, arp};

/// How a switch is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct SwitchOptions {
    /// Seed of every hash table; random per process, because pods choose the keys.
    pub seed: u64,
    /// Caps and rates.
    pub limits: Limits,
    /// Other workers have switches of their own: collect what they must know, for
    /// [`Switch::take_learned`].
    pub has_peers: bool,
    /// Number of the worker: whose tunnel port is its own, and who sends keep-alives (the first).
    pub worker: u32,
}

/// What became of a frame that was not dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Forwarded,
    /// It waits for its next hop, with what it counts as.
    Held,
    /// It waits for the first fragment of its datagram, and is counted then.
    Waits,
    /// It waits for the rate of the port it goes to, with what it counts as.
    Delayed {
        port: PortId,
    },
}

/// One switch, owned by one worker.
#[derive(Debug)]
pub struct Switch {
    pub(crate) limits: Limits,
    pub(crate) worker: u32,
    pub(crate) epoch: Epoch,
    pub(crate) active: Desired,
    pub(crate) staged: Option<Desired>,
    pub(crate) ports: Ports,
    pub(crate) flows: FlowTable,
    pub(crate) slow_path: SlowPath,
    pub(crate) output: Output,
    window: Window,
    /// Frames that were written as part of another.
    pub(crate) merged: u64,
    pub(crate) sweep: Sweep,
    /// Frames that wait for a next hop's MAC.
    pub(crate) held: Held,
    /// Ports at which frames wait for their rates.
    pub(crate) delayed: Delayed,
    /// Room for connections that are only tried, once there was a trace.
    pub(crate) scratch: Option<&'static [AtomicU64]>,
}

impl Switch {
    /// A switch without ports, which is the only one.
    #[must_use]
    pub fn new(options: SwitchOptions) -> Self {
        Self::sharing(options, Arc::new(Shared::alone(options.seed, &options.limits)))
    }

    /// A switch without ports, which has in common with others what workers of a process must know together about
    /// services. Everything it will ever need per frame is allocated here.
    #[must_use]
    pub fn sharing(options: SwitchOptions, shared: Arc<Shared>) -> Self {
        let SwitchOptions { seed, limits, has_peers, worker } = options;
        Self {
            limits,
            worker,
            epoch: 0,
            active: Desired::default(),
            staged: None,
            ports: Ports::default(),
            flows: FlowTable::new(seed, &limits),
            slow_path: SlowPath::new(seed, worker, &limits, Outbox::new(has_peers), shared),
            output: Output::new(),
            window: Window::new(),
            merged: 0,
            sweep: Sweep::default(),
            held: Held::default(),
            delayed: Delayed::default(),
            scratch: None,
        }
    }

    /// Decides, writes and accounts every frame of the batch. The frames stay in it, rewritten; the
    /// caller recycles them.
    pub fn process(&mut self, batch: &mut Batch, now: Instant, egress: &mut impl Egress) {
        // Out of `self`, which acting on a frame changes; nothing is allocated for what stays behind.
        let mut window = std::mem::take(&mut self.window);
        for frames in batch.windows_mut(WINDOW) {
            window.look_up(frames, &self.ports, &self.flows, &self.slow_path.shared.connections);
            if self.ports.limits_senders() {
                self.charge_senders(frames, window.seen(), now);
            }
            let mut rest = (frames, window.seen());
            while let ([(ingress, frame), frames @ ..], [seen, others @ ..]) = rest {
                let burst = self.gather(frame, seen, frames, others);
                let done = self.act(*ingress, frame, seen, burst, now, egress);
                // What was merged shares the verdict.
                let merged = burst.frames - 1;
                let (mut packets, mut bytes) = (seen.packets, seen.bytes);
                for other in others.iter().take(merged) {
                    packets += other.packets;
                    bytes += other.bytes;
                }
                self.settle(*ingress, packets, bytes, done);
                // Fragments have no flow.
                if seen.probe.is_none() {
                    self.release_fragments(now, egress);
                }
                self.merged += merged as u64;
                rest = (
                    frames.get_mut(merged..).unwrap_or_default(),
                    others.get_mut(merged..).unwrap_or_default(),
                );
            }
        }
        self.window = window;
        self.schedule_sweep(now);
    }

    /// What the flow table says, or the slow path; carried out.
    pub(crate) fn act(
        &mut self,
        ingress: PortId,
        frame: &mut Frame,
        seen: &mut Seen,
        burst: Burst,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Verdict<Done> {
        let received = seen.received.as_mut().map_err(|reason| *reason)?;
        let probe = seen.probe.as_ref();
        let (flow, action) = match self.recall(probe, received, now)? {
            Some((flow, forward)) => (Some(flow), Action::Forward { forward, cacheable: false }),
            None => match self.decide(ingress, frame, probe, received, now) {
                Ok(decided) => decided,
                Err(refusal) => return self.refuse((refusal, None), ingress, frame, received, now, egress),
            },
        };
        match action {
            Action::Hold => return self.hold_fragment(ingress, frame, received, now),
            Action::Resolve { next_hop } => return self.hold(next_hop, ingress, frame, seen, burst, now),
            _ => {}
        }
        let done = match self.carry_out(action, ingress, frame, received, now, egress) {
            Ok(done) => done,
            Err(refusal) => {
                return self.refuse((refusal, action.connection()), ingress, frame, received, now, egress);
            }
        };
        if let Some(flow) = flow {
            self.flows.count(flow, burst, now);
        }
        Ok(done)
    }

    /// Counts what became of packets, or leaves that to when it is known.
    pub(crate) fn settle(&mut self, ingress: PortId, packets: u64, bytes: usize, done: Verdict<Done>) {
        match done {
            Ok(Done::Forwarded) => self.account(ingress, packets, bytes, Ok(())),
            Ok(Done::Held) => self.held.count_last(packets, bytes),
            Ok(Done::Delayed { port }) => self.count_delayed(port, packets, bytes),
            Ok(Done::Waits) => {}
            Err(reason) => self.account(ingress, packets, bytes, Err(reason)),
        }
    }

    /// What the flow table knows, and the flow's connection allows.
    fn recall(
        &self,
        probe: Option<&Probe>,
        received: &Received,
        now: Instant,
    ) -> Verdict<Option<(FlowId, Forward)>> {
        let Some((flow, forward)) = probe.and_then(|probe| self.flows.lookup(probe)) else { return Ok(None) };
        if let (Some(hit), Body::Ipv4(ip)) = (forward.connection(), &received.packet.body) {
            let connections = &self.slow_path.shared.connections;
            match connections.track(hit.id, hit.direction, tcp_flags(ip), now) {
                Tracked::Forward => {}
                // The slow path finds out what to do instead.
                Tracked::Gone | Tracked::Reopen | Tracked::Refused | Tracked::Repeated | Tracked::TooLate => {
                    return Ok(None);
                }
                Tracked::Invalid(reason) => return Err(invalid(reason)),
                Tracked::Filtered => return Err(DropReason::FilteredByMapping),
            }
        }
        Ok(Some((flow, forward)))
    }

    /// What the packets of a forwarded flow become, if they are a connection's.
    pub(crate) fn translation(&self, forward: &Forward) -> Verdict<Option<Translation>> {
        let Some(hit) = forward.connection() else { return Ok(None) };
        let translation = self.slow_path.shared.connections.translation(hit.id, hit.direction);
        translation.map(Some).ok_or(DropReason::NoConnection)
    }

    /// The slow path's decision, and where it is remembered if it may be.
    fn decide(
        &mut self,
        ingress: PortId,
        frame: &Frame,
        probe: Option<&Probe>,
        received: &Received,
        now: Instant,
    ) -> Result<(Option<FlowId>, Action), Refusal> {
        let port = self.ports.get(ingress).ok_or(DropReason::PortDetached)?;
        let action = self.slow_path.decide(&self.ports, &port.config, frame, &received.packet, now)?;
        let flow = match (probe, action) {
            (Some(probe), Action::Forward { forward, cacheable: true }) => {
                let flow = self.flows.insert(probe, forward, now);
                if let (Some(flow), Some(hit)) = (flow, forward.connection()) {
                    self.flows.charge(flow, self.slow_path.backend_of(hit), hit.direction);
                }
                flow
            }
            _ => None,
        };
        Ok((flow, action))
    }

    pub(crate) fn account(&mut self, ingress: PortId, frames: u64, bytes: usize, verdict: Verdict) {
        // A frame of a port that was detached since it was read has no counters to be in.
        if let Some(port) = self.ports.get_mut(ingress) {
            port.counters.received(frames, bytes);
            port.counters.verdict(frames, verdict);
            debug_assert!(port.counters.balance(), "frames of port {ingress} went uncounted");
        }
    }

    pub(crate) fn carry_out(
        &mut self,
        action: Action,
        ingress: PortId,
        frame: &mut Frame,
        received: &mut Received,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Result<Done, Refusal> {
        let answer = self.way_back(ingress, frame.peer());
        match action {
            Action::Forward { forward, .. } => self.forward(forward, ingress, frame, received, now, egress),
            // Before it came here.
            Action::Hold => Ok(Done::Waits),
            Action::ForwardError(forward) => {
                let forward = self.translate_error(forward, frame, received)?;
                self.forward(forward, ingress, frame, received, now, egress)
            }
            Action::Flood(flood) => {
                self.flood(flood, ingress, frame, received, now, egress)?;
                Ok(Done::Forwarded)
            }
            Action::AnswerArp { request, mac } => {
                arp::answer(frame.ethernet_mut(), &request, mac);
                self.forward(answer, ingress, frame, received, now, egress)
            }
            Action::AnswerEcho { mac } => {
                answer_echo(frame.ethernet_mut(), mac);
                self.forward(answer, ingress, frame, received, now, egress)
            }
            // Is held before it comes here.
            Action::Resolve { .. } => Err(DropReason::NextHopUnresolved.into()),
        }
    }

    /// To whom a frame came from.
    fn way_back(&self, ingress: PortId, peer: Option<PeerId>) -> Forward {
        let overlay = &self.slow_path.overlay;
        match peer.and_then(|id| overlay.peers.get(id)) {
            Some(Peer { config, .. }) => {
                Forward::tunnelled(ingress, config.id, config.router_mac, overlay.router_mac, false)
            }
            None => Forward::switched(ingress),
        }
    }

    /// Checks what no flow key holds, rewrites, writes.
    fn forward(
        &mut self,
        forward: Forward,
        ingress: PortId,
        frame: &mut Frame,
        received: &mut Received,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Result<Done, Refusal> {
        let translation = self.translation(&forward)?;
        let to = self.ports.get_mut(forward.egress).ok_or(DropReason::PortGone)?;
        to.check_egress()?;
        if let Some(peer) = forward.peer() {
            self.encapsulate(peer, &forward, translation.as_ref(), frame, received, egress)?;
            return Ok(Done::Forwarded);
        }
        let mut fits = true;
        if let Body::Ipv4(ip) = &mut received.packet.body {
            let counts_hop = forward.rewrite.is_some_and(|rewrite| rewrite.counts_hop);
            if counts_hop && ip.ttl <= 1 {
                return Err(Refusal::with_error(DropReason::TtlExpired, IcmpError::TimeExceeded));
            }
            fits = received.offload.ip_len(ip) <= to.ip_mtu();
            let may_cut = forward.rewrite.is_some() && fragment::may_cut(received.offload, ip);
            if !fits && !may_cut {
                let error = IcmpError::FragmentationNeeded { next_hop_mtu: to.config.ip_mtu };
                return Err(match forward.rewrite {
                    Some(_) => Refusal::with_error(DropReason::PacketTooBig, error),
                    None => DropReason::FrameTooBig.into(),
                });
            }
            if let Some(rewrite) = &forward.rewrite {
                rewrite.apply(frame.ethernet_mut(), ip, received.offload.checksum, translation.as_ref());
            }
        }
        if to.receives.is_some() {
            let leaving = Leaving { ingress, frame, received, fits };
            return Ok(self.write_limited(forward.egress, leaving, now, egress)?);
        }
        if fits {
            self.output.write(to, frame, received, egress)?;
        } else {
            self.output.write_fragments(to, frame, received, egress)?;
        }
        Ok(Done::Forwarded)
    }

    /// Forwarded if at least one port took a copy.
    fn flood(
        &mut self,
        flood: Flood,
        ingress: PortId,
        frame: &mut Frame,
        received: &mut Received,
        now: Instant,
        egress: &mut impl Egress,
    ) -> Verdict {
        if !self.ports.get_mut(ingress).is_some_and(|port| port.flood.take(now)) {
            return Err(DropReason::FloodLimited);
        }
        let ip_len = match &received.packet.body {
            Body::Arp(_) => arp::LEN,
            Body::Ipv4(ip) => received.offload.ip_len(ip),
        };
        let mut verdict = Err(flood.nobody);
        if flood.scope == Scope::Everybody
            && self.ports.get(ingress).is_some_and(|port| port.config.kind == PortKind::Pod)
            && let Some(sent) = self.flood_to_peers(frame, received, now, egress)
        {
            verdict = sent;
        }
        for to in self.ports.iter_mut().filter(|to| to.config.id != ingress) {
            if !flood.scope.includes(&to.config) {
                continue;
            }
            let written = if ip_len > to.ip_mtu() {
                Err(DropReason::FrameTooBig)
            } else if to.receives.as_ref().is_some_and(|shaper| !shaper.passes(now, received, frame)) {
                to.counters.limited(1, frame.ethernet_len());
                Err(DropReason::RateLimited)
            } else {
                self.output.write(to, frame, received, egress)
            };
            if verdict.is_err() {
                verdict = written;
            }
        }
        verdict
    }

    /// Tells the sender, if there is something to tell and it may be told; gives the reason back.
    pub(crate) fn report(
        &mut self,
        refusal: Refusal,
        ingress: PortId,
        frame: &Frame,
        received: &Received,
        now: Instant,
        egress: &mut impl Egress,
    ) -> DropReason {
        if let Some(error) = refusal.error
            && let Body::Ipv4(ip) = &received.packet.body
            && let Some(node) = &self.slow_path.node
            && let Some(port) = self.ports.get_mut(ingress)
            && icmp::may_report(&received.packet, ip)
            && port.icmp_errors.take(now)
        {
            let envelope = icmp::envelope(node, &port.config, &received.packet, ip);
            let offender = frame.ethernet().get(ETHERNET_HDR_LEN..).unwrap_or_default();
            let buffer = &mut self.output.error;
            let written = match (error, ip.l4) {
                (IcmpError::PortUnreachable, L4::Tcp { .. }) => {
                    write_reset(buffer, &envelope, frame.ethernet(), ip)
                }
                _ => write_error(buffer, error, &envelope, offender, port.ip_mtu()),
            };
            let Some(bytes) = written.and_then(|len| buffer.get(..len)) else { return refusal.reason };
            let written = match frame.peer() {
                Some(peer) => {
                    let ethernet = bytes.get(VNET_HDR_LEN..).unwrap_or_default();
                    self.slow_path.overlay.originate(peer, port, ethernet, egress)
                }
                None => transmit(port, bytes, egress),
            };
            if written.is_ok() {
                port.counters.originated();
            }
        }
        refusal.reason
    }

    /// Changes the configuration: deltas are collected until one commits, then all of them are visible
    /// at once, under one epoch.
    ///
    /// # Errors
    /// Nothing of the delta, nor of those collected before it, took effect.
    pub fn apply(&mut self, delta: &ConfigDelta, now: Instant) -> Result<(), ConfigError> {
        self.prepare(delta)?;
        if delta.commit {
            self.commit(now);
        }
        Ok(())
    }

    /// The first half of [`apply`](Self::apply): checks and collects a delta, and changes nothing else,
    /// even if it is one to commit. Where several workers have a switch each, every one prepares before
    /// any of them commits.
    ///
    /// # Errors
    /// The delta, and those collected before it, are discarded.
    pub fn prepare(&mut self, delta: &ConfigDelta) -> Result<(), ConfigError> {
        let mut next = self.staged.take().unwrap_or_else(|| self.active.clone());
        let services = &self.slow_path.services;
        next.apply(delta, self.epoch, services)?;
        if delta.commit {
            next.check(services)?;
        }
        self.staged = Some(next);
        Ok(())
    }

    /// The second half: makes what was prepared visible, under the next epoch. Does nothing when
    /// nothing was.
    pub fn commit(&mut self, now: Instant) {
        if let Some(next) = self.staged.take() {
            self.install(next, self.epoch + 1, now);
            self.slow_path.overlay.schedule_rounds(now);
            self.schedule_sweep(now);
        }
    }

    /// Forgets what was prepared: another worker's switch refused it.
    pub fn discard(&mut self) {
        self.staged = None;
    }

    /// The poll loop found a device gone, or the supervisor quarantines a port. Holds until the
    /// configuration says otherwise.
    pub fn set_port_state(&mut self, port: PortId, state: PortState) {
        let configurations = std::iter::once(&mut self.active).chain(&mut self.staged);
        let ports = configurations.map(|desired| Arc::make_mut(&mut desired.ports));
        for config in ports.filter_map(|ports| ports.get_mut(&port)) {
            config.state = state;
        }
        if let Some(port) = self.ports.get_mut(port) {
            port.config.state = state;
        }
    }

    /// Number of the active configuration; 0 is none yet.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The active ports' configurations, by number.
    pub fn ports(&self) -> impl Iterator<Item = &PortConfig> {
        self.ports.iter().map(|port| &port.config)
    }

    /// A copy of one port's counters.
    #[must_use]
    pub fn port_counters(&self, port: PortId) -> Option<PortCounters> {
        self.ports.get(port).map(|port| port.counters.snapshot())
    }
}
