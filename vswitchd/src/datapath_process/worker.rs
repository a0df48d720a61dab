//! One worker thread: read, decide, write, timers, requests, each with a budget, until told to end.
//!
//! ```text
//!      ┌───────────────────────── turn ─────────────────────────┐
//!      │ events ─▶ ready ports ─▶ for each: read batch ─▶ switch │
//!      │   ▲                         (≤ 64 frames, 256 KiB)   │   │
//!      │   └─ spin or sleep ◀─ requests ◀─ deadlines ◀────────┘   │
//!      └──────────────────────────────────────────────────────────┘
//! ```
//!
//! A worker owns its frames, its switch and the reading of its ports ([`super::share`]); it writes to
//! every port. Nothing on a frame's way is locked. A frame is decided, written and counted by the worker
//! that read it, from that worker's own tables: the two directions of a flow that meet on different
//! workers share no state that one could see half changed. What workers do have in common goes by
//! message: stations heard ([`super::peers`]) and changes of configuration ([`super::change`]).
//!
//! All frames of a batch come from one port: they are read, decided and written while they are hot
//! in the cache, and a crash has one culprit. The clock is read once per batch.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use datapath::time::Instant;
use datapath::{Batch, Datagram, MayRead, Pool, Switch};
use mio::{Events, Poll, Token};
use netdev::DeviceError;
use netdev::udp_tunnel::Inbox;
use protocol::PortId;
use protocol::link::{FromDatapath, PortConfig};
use protocol::object::PortState;

use super::bearer::Bearer;
use super::capture::{self, Captures, Direction};
use super::command::{Command, Reply};
use super::link_server::EventSender;
use super::paused::Paused;
use super::peers::{Message, Peers};
use super::ports::Ports;
use super::ready::{Budget, ReadyList};
use super::rest::{Load, Rest};
use super::spin::{Idle, Spin};
use super::{Clock, crash, requests};

/// Small frames in one batch. Enough to make the costs per batch vanish, few enough that their
/// headers stay in the first-level cache.
const BATCH_FRAMES: usize = 32;
/// A batch ends after so many bytes: two superframes fill a good part of the second-level cache.
const BATCH_BYTES: usize = 128 * 1024;
/// Datagrams or trains taken from a tunnel at once; small ones are as many small frames.
const INBOX_DATAGRAMS: usize = 32;
/// ... of trains of a bulk transfer: as many superframes as a batch of a TAP's has.
const INBOX_TRAINS: usize = 2;
/// Trains at least this long on average are a bulk transfer.
const BULK_TRAIN: usize = 16 * 1024;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// Ports served before events, deadlines and requests are looked at again.
const PORTS_PER_TURN: usize = 64;

/// Token of the worker's waker; ports use their numbers, captures theirs behind an offset.
pub(super) const WAKER: Token = Token(usize::MAX);

/// A worker, ready to run.
pub(super) struct Worker {
    pub(super) switch: Switch,
    pub(super) ports: Ports,
    peers: Peers,
    poll: Poll,
    events: Events,
    ready: ReadyList,
    paused: Paused,
    spin: Spin,
    rest: Rest,
    pool: Pool,
    batch: Batch,
    inbox: Inbox,
    clock: Clock,
    commands: Receiver<Command>,
    replies: Sender<Reply>,
    link: EventSender,
    pub(super) staged: Staged,
    #[cfg(debug_assertions)]
    pub(super) crash_on_port: Option<PortId>,
}

/// Descriptors of deltas that wait for their commit.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) detach: Vec<PortId>,
    pub(super) attach: Vec<(PortId, Arc<Bearer>)>,
}

/// What a worker is made of, besides what is only its own.
pub(super) struct WorkerParts {
    pub(super) poll: Poll,
    pub(super) switch: Switch,
    pub(super) peers: Peers,
    pub(super) captures: Arc<Captures>,
    /// The same for all, so that all see the same time.
    pub(super) clock: Clock,
    pub(super) commands: Receiver<Command>,
    pub(super) replies: Sender<Reply>,
    pub(super) link: EventSender,
}

impl Worker {
    pub(super) fn new(parts: WorkerParts) -> Self {
        let WorkerParts { poll, switch, peers, captures, clock, commands, replies, link } = parts;
        Self {
            switch,
            ports: Ports::new(peers.share(), captures),
            peers,
            poll,
            events: Events::with_capacity(EVENTS),
            ready: ReadyList::new(),
            paused: Paused::new(),
            spin: Spin::new(),
            rest: Rest::new(Load::open()),
            pool: Pool::new(BATCH_FRAMES),
            batch: Batch::new(BATCH_FRAMES),
            inbox: Inbox::new(INBOX_DATAGRAMS),
            clock,
            commands,
            replies,
            link,
            staged: Staged::default(),
            #[cfg(debug_assertions)]
            crash_on_port: None,
        }
    }

    /// Forwards until [`Command::Shutdown`].
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut timeout = Some(Duration::ZERO);
        loop {
            let found = self.poll_events(timeout)? || !self.ready.is_empty();
            self.hear_peers();
            let now = self.serve_ready();
            self.forget_gone();
            self.peers.wake();
            let deadline = self.serve_deadline(now);
            if !self.serve_commands() {
                return Ok(());
            }
            timeout = self.next_timeout(found, now, deadline);
        }
    }

    /// Takes events from the kernel; true if there was any.
    fn poll_events(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(e) => return Err(e),
        }
        for event in &self.events {
            if let Some(port) = capture::port_of(event.token()) {
                self.ports.captures.on_event(self.poll.registry(), port, event.is_read_closed());
            } else if event.token() != WAKER
                && let Ok(port) = u32::try_from(event.token().0)
            {
                self.ready.push(PortId(port));
            }
        }
        Ok(!self.events.is_empty())
    }

    /// Takes what the other workers have said, before frames are decided.
    fn hear_peers(&mut self) {
        if !self.peers.wait_to_be_heard() {
            return;
        }
        let now = self.clock.now();
        for message in self.peers.hear() {
            match message {
                Message::Learned(learned) => self.switch.learn_remote(&learned, now),
                Message::Gone { port, device, cause } if self.ports.is_device(port, &device) => {
                    self.detach(port, &cause);
                }
                Message::Gone { .. } => {}
            }
        }
    }

    /// One turn for each ready port.
    fn serve_ready(&mut self) -> Instant {
        let mut now = None;
        for _ in 0..self.ready.len().min(PORTS_PER_TURN) {
            let Some(port) = self.ready.pop() else { break };
            crash::set_ingress(Some(port));
            now = self.serve_port(port).or(now);
        }
        crash::set_ingress(None);
        now.unwrap_or_else(|| self.clock.now())
    }

    /// Reads and forwards what `port` has, up to a turn's budget; returns the latest clock read.
    fn serve_port(&mut self, port: PortId) -> Option<Instant> {
        if self.ports.is_tunnel(port) {
            return self.serve_tunnel(port);
        }
        let mut budget = Budget::new();
        let mut latest = None;
        loop {
            let Some(most) = self.may_read(port) else { return latest };
            let emptied = self.read_batch(port, most);
            if self.batch.is_empty() {
                return latest;
            }
            #[cfg(debug_assertions)]
            assert_ne!(self.crash_on_port, Some(port), "crash on purpose");
            let now = self.clock.now();
            latest = Some(now);
            budget.spend(self.batch.len(), self.batch.bytes());
            self.rest.on_batch(port, self.batch.len(), self.batch.bytes(), now);
            self.switch.process(&mut self.batch, now, &mut self.ports);
            self.batch.recycle(&mut self.pool);
            if self.peers.exist() {
                self.peers.tell_learned(&mut self.switch, now);
            }
            if emptied {
                return latest;
            }
            if budget.is_spent() {
                self.ready.push(port);
                return latest;
            }
        }
    }

    /// Bytes that may be read from `port` at once; `None` if it must wait for its rate, which is seen to.
    fn may_read(&mut self, port: PortId) -> Option<usize> {
        if !self.switch.limits_senders() {
            return Some(BATCH_BYTES);
        }
        // Only a port with a limit costs a look at the clock.
        let now = self.switch.limits_sender(port).then(|| self.clock.now());
        match now.map_or(MayRead::Anything, |now| self.switch.may_read(port, now)) {
            MayRead::Anything => Some(BATCH_BYTES),
            MayRead::Bytes(most) => Some(most.min(BATCH_BYTES)),
            MayRead::NotBefore(until) => {
                self.paused.push(port, until);
                None
            }
        }
    }

    /// Looks at all ports again that wait for their rates: these may have changed.
    pub(super) fn resume_paused(&mut self) {
        while let Some(port) = self.paused.pop_any() {
            self.ready.push(port);
        }
    }

    /// The same for a tunnel, whose datagrams the switch makes frames of.
    fn serve_tunnel(&mut self, port: PortId) -> Option<Instant> {
        let mut budget = Budget::new();
        let mut latest = None;
        let mut limit = INBOX_DATAGRAMS;
        loop {
            let Some((Bearer::Tunnel(tunnel), captures)) = self.ports.device_and_captures(port) else {
                return latest;
            };
            let captured = captures.wants(port);
            // An error is none of this port's: the next event tries again.
            if tunnel.receive(&mut self.inbox, limit).is_err() || self.inbox.is_empty() {
                return latest;
            }
            #[cfg(debug_assertions)]
            assert_ne!(self.crash_on_port, Some(port), "crash on purpose");
            let (count, bytes) = (self.inbox.len(), self.inbox.bytes());
            if captured {
                for datagram in self.inbox.datagrams() {
                    let packets = datagram.bytes.chunks(datagram.segment_size).map(|packet| [packet, &[]]);
                    self.ports.capture_packets(port, packets, Direction::Inbound);
                }
            }
            let now = self.clock.now();
            latest = Some(now);
            budget.spend(count, bytes);
            self.rest.on_batch(port, count, bytes, now);
            let datagrams = self.inbox.datagrams().map(|datagram| Datagram {
                source: *datagram.source.ip(),
                tos: datagram.tos,
                segment_size: datagram.segment_size,
                bytes: datagram.bytes,
            });
            let (pool, batch) = (&mut self.pool, &mut self.batch);
            self.switch.process_tunnel(port, datagrams, pool, batch, now, &mut self.ports);
            if self.peers.exist() {
                self.peers.tell_learned(&mut self.switch, now);
            }
            // Less than was asked for: there was no more.
            if count < limit {
                return latest;
            }
            if budget.is_spent() {
                self.ready.push(port);
                return latest;
            }
            limit = if bytes >= count * BULK_TRAIN { INBOX_TRAINS } else { INBOX_DATAGRAMS };
        }
    }

    /// Fills the batch from `port` until it has `most` bytes; true when it was read empty, or cannot be read any more.
    fn read_batch(&mut self, port: PortId, most: usize) -> bool {
        let Some((bearer, captures)) = self.ports.device_and_captures(port) else { return true };
        let captured = captures.wants(port);
        while !self.batch.is_full() && self.batch.bytes() < most {
            let Some(mut frame) = self.pool.take() else { return false };
            let received = bearer.recv(frame.receive_area());
            let Ok(Some(len)) = received else {
                self.pool.put(frame);
                return self.on_nothing_read(port, received.err());
            };
            frame.set_received(len);
            if captured {
                captures.on_frame(port, frame.bytes(), Direction::Inbound);
            }
            if let Err(frame) = self.batch.push(port, frame) {
                self.pool.put(frame);
            }
        }
        false
    }

    /// A read brought no frame; true, as there is nothing more to read.
    fn on_nothing_read(&mut self, port: PortId, error: Option<DeviceError>) -> bool {
        match error {
            Some(error @ DeviceError::Gone { .. }) => self.ports.on_gone(port, error),
            // An uplink says once that it is down. Whatever else it is, the next event tries again.
            None | Some(DeviceError::Down { .. } | DeviceError::Refused { .. } | DeviceError::Io { .. }) => {}
        }
        true
    }

    /// Gives up what was found gone.
    fn forget_gone(&mut self) {
        while let Some((port, error)) = self.ports.take_gone() {
            self.detach(port, &error.to_string());
        }
    }

    /// Gives up a port whose device is gone, and says so: the worker that reads it to the control
    /// process and to all other workers, any other one to that worker. So control hears it once.
    fn detach(&mut self, port: PortId, cause: &str) {
        let Some(device) = self.ports.remove(self.poll.registry(), port) else { return };
        self.switch.set_port_state(port, PortState::Detached);
        self.peers.tell_gone(port, &device, cause);
        if self.peers.share().owns(port) {
            tracing::warn!(%port, "port detached: {cause}");
            self.link.send(FromDatapath::PortDetached { port, cause: cause.to_owned() });
        }
    }

    /// Runs the switch's timers; returns the time until the next one.
    fn serve_deadline(&mut self, now: Instant) -> Option<Duration> {
        if self.switch.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.switch.on_deadline(now, &mut self.ports);
            if self.peers.exist() {
                self.peers.tell_learned(&mut self.switch, now);
            }
        }
        while let Some(port) = self.paused.pop(now) {
            self.ready.push(port);
        }
        let deadlines = self.switch.next_deadline().into_iter().chain(self.paused.due());
        deadlines.min().map(|deadline| deadline.saturating_since(now))
    }

    /// Answers one request, if there is one; false when it was the last.
    fn serve_commands(&mut self) -> bool {
        // Half the price of an empty `try_recv`, and this runs once a turn.
        if self.commands.is_empty() {
            return true;
        }
        let Ok(command) = self.commands.try_recv() else { return true };
        let last = matches!(command, Command::Shutdown);
        let reply = requests::answer(self, command);
        // The link thread waits for it, unless the process is ending.
        let _ = self.replies.send(reply);
        !last
    }

    /// How long the next poll may wait, when this turn's found events or did not.
    fn next_timeout(&mut self, found: bool, now: Instant, deadline: Option<Duration>) -> Option<Duration> {
        if !self.ready.is_empty() || !self.commands.is_empty() || self.peers.wait_to_be_heard() {
            if let Some(rest) = self.rest.on_backlog(now) {
                std::thread::sleep(rest);
            }
            return Some(Duration::ZERO);
        }
        if let Some(rest) = self.rest.on_empty(now) {
            std::thread::sleep(rest);
            return Some(Duration::ZERO);
        }
        match self.spin.on_idle(found, now) {
            Idle::Spin => Some(Duration::ZERO),
            Idle::Sleep => deadline,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Replaces the devices of `detach` and `attach` after the switch took the configuration.
    pub(super) fn switch_devices(&mut self, detach: &[PortId], attach: Vec<(PortId, Arc<Bearer>)>) {
        for port in detach {
            self.ports.remove(self.poll.registry(), *port);
        }
        for (port, tap) in attach {
            if let Err(e) = self.ports.insert(self.poll.registry(), port, tap) {
                self.detach(port, &format!("it cannot be polled: {e}"));
            } else if self.peers.share().owns(port) {
                // Frames may have come before it was registered, which raises no edge.
                self.ready.push(port);
            }
        }
    }

    pub(super) fn start_capture(
        &mut self,
        port: &PortConfig,
        snaplen: u32,
        stream: std::os::fd::OwnedFd,
    ) -> io::Result<()> {
        self.ports.captures.start(self.poll.registry(), port, snaplen, stream)
    }
}
