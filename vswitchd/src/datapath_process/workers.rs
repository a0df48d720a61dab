//! All workers as one: the link thread asks here, and need not know how many there are.
//!
//! | Request | Goes to | Answer |
//! |-|-|-|
//! | a change | all, who carry it out together ([`super::change`]) | the first one's; they agree |
//! | counters, summary | all | sums: each worker counts what it reads and what it writes |
//! | connections | the first | all have the same |
//! | FDB, neighbours, ports | the first | its own: configured entries are the same everywhere, learned ones are told to all; their ages may differ by a refresh |
//! | peers | all | traffic as a sum, health as the first one knows it, which sends the keep-alives |
//! | flows | one after the other | pages; the cursor says whose |
//! | services | all | traffic as a sum; a page of the first one says which rows |
//! | how long addresses are held | all | the first one's; they agree |
//! | a capture, a trace | the worker that reads the port | its own |

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use datapath::{Limits, Shared, Switch, SwitchOptions};
use mio::{Poll, Waker};
use netdev::SharedMemory;
use protocol::PortId;
use protocol::link::{FromDatapath, ServiceRow, Summary, TracePacket};
use protocol::object::PortCounters;

use super::Clock;
use super::capture::Captures;
use super::command::{Command, Reply, WorkerGone, WorkerHandle};
use super::link_server::EventSender;
use super::peers::{self, Peers};
use super::share;
use super::worker::{WAKER, Worker, WorkerParts};

/// A flow cursor's upper bits are the worker's number; tables have far fewer slots.
const WORKER_SHIFT: u32 = 48;

/// Handles of all workers, by number; never empty.
pub(super) struct Workers {
    handles: Vec<WorkerHandle>,
}

impl Workers {
    /// Makes `count` workers, to be run in a thread each, and what asks them. All hash tables are
    /// seeded with `seed`; connections go on that are in the memory of `connections`.
    pub(super) fn create(
        count: usize,
        seed: u64,
        connections: &SharedMemory,
        link: &EventSender,
    ) -> io::Result<(Vec<Worker>, Self)> {
        let mut polls = Vec::new();
        let (mut mailboxes, mut messages) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
            let (mailbox, inbox) = peers::mailbox(Arc::clone(&waker));
            polls.push((poll, waker));
            mailboxes.push(mailbox);
            messages.push(inbox);
        }
        let captures = Arc::new(Captures::new());
        let shared = Arc::new(Shared::new(connections.words(), seed, &Limits::default()));
        let clock = Clock;
        let (mut workers, mut handles) = (Vec::new(), Vec::new());
        for (number, ((poll, waker), inbox)) in polls.into_iter().zip(messages).enumerate() {
            let (commands, command_queue) = crossbeam_channel::bounded(1);
            let (reply_queue, replies) = crossbeam_channel::bounded(1);
            let options = SwitchOptions {
                seed,
                has_peers: count > 1,
                worker: u32::try_from(number).unwrap_or(u32::MAX),
                ..SwitchOptions::default()
            };
            workers.push(Worker::new(WorkerParts {
                poll,
                switch: Switch::sharing(options, Arc::clone(&shared)),
                peers: Peers::new(number, &mailboxes, inbox),
                captures: Arc::clone(&captures),
                clock,
                commands: command_queue,
                replies: reply_queue,
                link: link.clone(),
            }));
            handles.push(WorkerHandle { commands, replies, waker });
        }
        Ok((workers, Self { handles }))
    }

    pub(super) const fn count(&self) -> usize {
        self.handles.len()
    }

    /// Asks whom it concerns and waits for the answer.
    ///
    /// # Errors
    /// When a worker is gone, which is when this process is about to end.
    pub(super) fn ask(&self, command: Command) -> Result<Reply, WorkerGone> {
        match command {
            Command::Apply(change) => self.ask_all(|| Command::Apply(Arc::clone(&change))).map(first),
            Command::Counters { after, max } => {
                Ok(sum_counters(self.ask_all(|| Command::Counters { after, max })?))
            }
            Command::Summary => Ok(sum_summaries(&self.ask_all(|| Command::Summary)?)),
            Command::Flows { cursor, max } => self.flows(cursor, max),
            Command::Peers { after, max } => Ok(join_peers(self.ask_all(|| Command::Peers { after, max })?)),
            Command::Services { cursor, max } => {
                Ok(sum_services(self.ask_all(|| Command::Services { cursor, max })?))
            }
            Command::StartCapture { port, .. } | Command::Trace(TracePacket { port, .. }) => {
                self.handle(share::owner(port, self.count()))?.ask(command)
            }
            Command::ExportPorts { .. }
            | Command::Fdb { .. }
            | Command::Neighbors { .. }
            | Command::Connections { .. } => self.handle(0)?.ask(command),
            Command::HoldAnnounced { until } => self.ask_all(|| Command::HoldAnnounced { until }).map(first),
            Command::Shutdown => self.ask_all(|| Command::Shutdown).map(first),
        }
    }

    /// Everybody is asked before anybody is waited for: a change takes all of them at once.
    fn ask_all(&self, command: impl Fn() -> Command) -> Result<Vec<Reply>, WorkerGone> {
        for handle in &self.handles {
            handle.send(command())?;
        }
        self.handles.iter().map(WorkerHandle::wait).collect()
    }

    /// A page of one worker's flows; behind its last one comes the next worker's first.
    fn flows(&self, cursor: u64, max: usize) -> Result<Reply, WorkerGone> {
        let number = cursor >> WORKER_SHIFT;
        let Some(handle) = usize::try_from(number).ok().and_then(|number| self.handles.get(number)) else {
            return Ok(FromDatapath::Flows { rows: Vec::new(), next: None }.into());
        };
        let cursor = cursor & ((1 << WORKER_SHIFT) - 1);
        let mut reply = handle.ask(Command::Flows { cursor, max })?;
        if let FromDatapath::Flows { next, .. } = &mut reply.body {
            let has_follower = number + 1 < self.count() as u64;
            *next = match *next {
                Some(next) => Some(number << WORKER_SHIFT | next),
                None => has_follower.then_some((number + 1) << WORKER_SHIFT),
            };
        }
        Ok(reply)
    }

    fn handle(&self, number: usize) -> Result<&WorkerHandle, WorkerGone> {
        self.handles.get(number).ok_or(WorkerGone)
    }
}

fn first(replies: Vec<Reply>) -> Reply {
    replies.into_iter().next().unwrap_or_else(|| Reply::refused("there is no worker"))
}

/// Sums by port. Each worker's numbers add up by themselves (it counts the verdict of every frame it
/// reads), so the sums do, although the workers are not asked at the same moment.
fn sum_counters(replies: Vec<Reply>) -> Reply {
    let mut ports: BTreeMap<PortId, PortCounters> = BTreeMap::new();
    for reply in replies {
        let FromDatapath::Counters(rows) = reply.body else { return reply };
        for (port, counters) in rows {
            add(ports.entry(port).or_default(), counters);
        }
    }
    FromDatapath::Counters(ports.into_iter().collect()).into()
}

fn add(sum: &mut PortCounters, more: PortCounters) {
    let PortCounters {
        rx_frames,
        rx_bytes,
        forwarded,
        drops,
        tx_frames,
        tx_bytes,
        tx_refused,
        originated,
        delayed_frames,
        delayed_bytes,
        limited_frames,
        limited_bytes,
        pauses,
    } = more;
    sum.rx_frames += rx_frames;
    sum.rx_bytes += rx_bytes;
    sum.forwarded += forwarded;
    for drop in drops {
        match sum.drops.iter_mut().find(|known| known.reason == drop.reason) {
            Some(known) => known.frames += drop.frames,
            None => sum.drops.push(drop),
        }
    }
    sum.tx_frames += tx_frames;
    sum.tx_bytes += tx_bytes;
    sum.tx_refused += tx_refused;
    sum.originated += originated;
    sum.delayed_frames += delayed_frames;
    sum.delayed_bytes += delayed_bytes;
    sum.limited_frames += limited_frames;
    sum.limited_bytes += limited_bytes;
    sum.pauses += pauses;
}

/// Traffic adds up, the last packet is the last of all, and the first worker is the one that asks peers
/// and knows their answers.
fn join_peers(replies: Vec<Reply>) -> Reply {
    let mut replies = replies.into_iter();
    let Some(mut first) = replies.next() else { return Reply::refused("there is no worker") };
    let FromDatapath::Peers(rows) = &mut first.body else { return first };
    for reply in replies {
        let FromDatapath::Peers(more) = reply.body else { return reply };
        // All workers have the same configuration, but for the time a change takes.
        for (id, health) in more {
            if let Ok(at) = rows.binary_search_by_key(&id, |(id, _)| *id)
                && let Some((_, sum)) = rows.get_mut(at)
            {
                sum.last_seen_ms = sum.last_seen_ms.into_iter().chain(health.last_seen_ms).min();
                sum.tx_packets += health.tx_packets;
                sum.tx_bytes += health.tx_bytes;
                sum.rx_packets += health.rx_packets;
                sum.rx_bytes += health.rx_bytes;
            }
        }
    }
    first
}

/// Sums by service and backend. All workers have the same rows, but for the time a change takes.
fn sum_services(replies: Vec<Reply>) -> Reply {
    let mut replies = replies.into_iter();
    let Some(mut first) = replies.next() else { return Reply::refused("there is no worker") };
    let FromDatapath::Services { rows, .. } = &mut first.body else { return first };
    let place = |row: &ServiceRow| (row.service, row.backend);
    for reply in replies {
        let FromDatapath::Services { rows: more, .. } = reply.body else { return reply };
        for (at, row) in more.into_iter().enumerate() {
            let is_same = |known: &ServiceRow| place(known) == place(&row);
            // Elsewhere only while a change is under way.
            let at = Some(at).filter(|at| rows.get(*at).is_some_and(is_same));
            let at = at.or_else(|| rows.iter().position(is_same));
            if let Some(sum) = at.and_then(|at| rows.get_mut(at)) {
                sum.counters.add(&row.counters);
            }
        }
    }
    first
}

/// Tables that are the same everywhere count once.
fn sum_summaries(replies: &[Reply]) -> Reply {
    let summaries = replies.iter().filter_map(|reply| match &reply.body {
        FromDatapath::Summary(summary) => Some(*summary),
        _ => None,
    });
    let sum = summaries.reduce(|sum, more| Summary {
        flows: sum.flows.saturating_add(more.flows),
        rx_frames: sum.rx_frames + more.rx_frames,
        forwarded: sum.forwarded + more.forwarded,
        dropped: sum.dropped + more.dropped,
        merged: sum.merged + more.merged,
        flow_evictions: sum.flow_evictions.plus(more.flow_evictions),
        ..sum
    });
    let workers = u32::try_from(replies.len()).unwrap_or(u32::MAX);
    FromDatapath::Summary(Summary { workers, ..sum.unwrap_or_default() }).into()
}

#[cfg(test)]
mod tests {
    use protocol::object::{DropCount, PeerHealth, ServiceCounters};
    use protocol::{PeerId, ServiceId};

    use super::*;

    fn counters(rx: u64, reason: &str) -> PortCounters {
        let drops = vec![DropCount { reason: reason.to_owned(), frames: rx }];
        PortCounters { rx_frames: rx, drops, tx_frames: 10 * rx, ..PortCounters::default() }
    }

    #[test]
    fn counters_are_sums_over_the_workers() {
        let rows = |rows| FromDatapath::Counters(rows).into();
        let first: Reply = rows(vec![(PortId(0), counters(1, "a")), (PortId(3), counters(2, "a"))]);
        let second = rows(vec![(PortId(0), counters(4, "a")), (PortId(3), counters(8, "b"))]);
        let FromDatapath::Counters(sums) = sum_counters(vec![first, second]).body else { panic!() };
        assert_eq!(sums.iter().map(|(port, _)| port.0).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(sums[0].1, counters(5, "a"));
        assert_eq!((sums[1].1.rx_frames, sums[1].1.tx_frames, sums[1].1.drops.len()), (10, 100, 2));
    }

    #[test]
    fn peers_traffic_adds_up_and_the_first_worker_knows_their_health() {
        let row = |id, health| (PeerId(id), health);
        let known = PeerHealth {
            reachable: Some(true),
            path_mtu: Some(1400),
            last_seen_ms: Some(9),
            tx_packets: 1,
            ..PeerHealth::default()
        };
        let heard = PeerHealth { last_seen_ms: Some(4), tx_packets: 2, ..PeerHealth::default() };
        let replies = [vec![row(1, PeerHealth::default()), row(3, known)], vec![row(3, heard)]];
        let joined = join_peers(replies.map(|rows| FromDatapath::Peers(rows).into()).into());
        let wanted = PeerHealth { last_seen_ms: Some(4), tx_packets: 3, ..known };
        assert_eq!(joined.body, FromDatapath::Peers(vec![row(1, PeerHealth::default()), row(3, wanted)]));
    }

    #[test]
    fn work_of_services_adds_up() {
        let row = |service, backend, connections| ServiceRow {
            service: ServiceId(service),
            backend,
            counters: ServiceCounters { connections, ..ServiceCounters::default() },
        };
        let backend = Some(("10.244.0.2".parse().unwrap(), 80));
        let first = vec![row(1, None, 3), row(1, backend, 2), row(4, None, 1)];
        let second = vec![row(1, None, 10), row(1, backend, 20), row(9, None, 5)];
        let replies = [first, second].map(|rows| FromDatapath::Services { rows, next: Some(7) }.into());
        let wanted = vec![row(1, None, 13), row(1, backend, 22), row(4, None, 1)];
        let sum = sum_services(replies.into()).body;
        assert_eq!(sum, FromDatapath::Services { rows: wanted, next: Some(7) });
    }

    #[test]
    fn shared_tables_count_once_and_flows_add_up() {
        let one =
            Summary { epoch: 7, ports: 3, fdb_entries: 4, flows: 5, rx_frames: 6, ..Summary::default() };
        let reply = || FromDatapath::Summary(one).into();
        let FromDatapath::Summary(sum) = sum_summaries(&[reply(), reply()]).body else { panic!() };
        assert_eq!(sum, Summary { workers: 2, flows: 10, rx_frames: 12, ..one });
    }
}
