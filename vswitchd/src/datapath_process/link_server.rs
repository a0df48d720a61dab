//! The datapath's end of the link: takes the control process's connection, translates requests into
//! commands for the workers, and passes the workers' events on.
//!
//! It listens for as long as the process lives, so that a control process that was killed and
//! started again finds it. One connection is served at a time and a new one replaces the old:
//! whoever holds the listening path is the control process. Requests are answered one by one, in
//! order. While nobody is connected, events are discarded: who connects next asks for everything.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use netdev::SharedMemory;
use netdev::seqpacket::{self, Listener};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::codec::{self, CodecError};
use protocol::link::{
    Envelope, FromDatapath, LINK_VERSION, MAX_FDS, MAX_MESSAGE_BYTES, POLICY_ROWS_PER_ANSWER,
    ROWS_PER_ANSWER, SERVICE_ROWS_PER_ANSWER, ToDatapath,
};

use super::change::Change;
use super::command::{Command, Reply, WorkerGone};
use super::workers::Workers;
use crate::log::Logs;

/// Events that wait to be sent: one for each port and some.
const MAX_EVENTS: usize = 8192;
/// A control process that takes nothing for so long is no control process.
const SEND_LIMIT: Duration = Duration::from_secs(2);

/// Why the link ended. Each is the end of the process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkServerError {
    /// The listening socket or its poll failed.
    #[error("the link's socket failed: {0}")]
    Listener(#[from] io::Error),
    /// Nobody forwards any more.
    #[error(transparent)]
    Worker(#[from] WorkerGone),
}

/// Where a worker puts events.
#[derive(Debug, Clone)]
pub(super) struct EventSender {
    queue: Sender<FromDatapath>,
    wake: Arc<EventFd>,
}

impl EventSender {
    /// Never blocks; an event too many is lost, as if nobody were connected.
    pub(super) fn send(&self, event: FromDatapath) {
        if self.queue.try_send(event).is_ok() {
            // Fails only when the counter is full, and then the link thread is awake anyway.
            let _ = self.wake.write(1);
        }
    }
}

/// The other end of [`EventSender`].
pub(super) struct EventQueue {
    queue: Receiver<FromDatapath>,
    wake: Arc<EventFd>,
}

pub(super) fn event_queue() -> io::Result<(EventSender, EventQueue)> {
    let (sender, receiver) = crossbeam_channel::bounded(MAX_EVENTS);
    let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    Ok((EventSender { queue: sender, wake: Arc::clone(&wake) }, EventQueue { queue: receiver, wake }))
}

/// The link's state.
pub(super) struct LinkServer {
    pub(super) listener: Listener,
    pub(super) workers: Workers,
    pub(super) events: EventQueue,
    /// Handed out with the hello.
    pub(super) crash_report: OwnedFd,
    /// Memory with the table of connections, kept by control for the next process.
    pub(super) connections: SharedMemory,
    /// The user that started this process; the control process is that user or root.
    pub(super) owner: u32,
    pub(super) logs: Logs,
}

impl LinkServer {
    /// Serves connections until [`ToDatapath::Shutdown`].
    pub(super) fn serve(&self) -> Result<(), LinkServerError> {
        let mut connection: Option<OwnedFd> = None;
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        loop {
            let (accept, notify, request) = self.wait(connection.as_ref())?;
            if accept && let Some(new) = self.accept()? {
                connection = Some(new);
                continue;
            }
            if notify {
                self.forward_events(&mut connection);
            }
            if request && let Some(open) = connection.take() {
                match self.serve_request(open.as_fd(), &mut buffer)? {
                    Next::Continue => connection = Some(open),
                    Next::Disconnected => tracing::info!("the control process disconnected"),
                    Next::Shutdown => return Ok(()),
                }
            }
        }
    }

    /// Waits for: a connection, an event, a request.
    fn wait(&self, connection: Option<&OwnedFd>) -> io::Result<(bool, bool, bool)> {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![watch(self.listener.as_fd()), watch(self.events.wake.as_fd())];
        fds.extend(connection.map(|fd| watch(fd.as_fd())));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let happened = |n: usize| fds.get(n).and_then(PollFd::any).unwrap_or(false);
        Ok((happened(0), happened(1), happened(2)))
    }

    /// Takes a connection and says hello; `None` if it is not the control process's.
    fn accept(&self) -> Result<Option<OwnedFd>, LinkServerError> {
        let connection = match self.listener.accept() {
            Ok(connection) => connection,
            Err(e) if is_passing(&e) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        match seqpacket::peer_credentials(connection.as_fd()) {
            Ok(peer) if peer.uid == 0 || peer.uid == self.owner => {}
            Ok(peer) => {
                tracing::warn!(pid = peer.pid, uid = peer.uid, "refused a connection of another user");
                return Ok(None);
            }
            Err(e) => {
                tracing::warn!("refused a connection without credentials: {e}");
                return Ok(None);
            }
        }
        let epoch = match self.workers.ask(Command::Summary)?.body {
            FromDatapath::Summary(summary) => summary.epoch,
            _ => 0,
        };
        let hello = FromDatapath::Hello {
            version: LINK_VERSION,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            epoch,
        };
        let sent = match codec::encode(&Envelope { id: 0, body: hello }, MAX_MESSAGE_BYTES) {
            Ok(message) => {
                send(connection.as_fd(), &message, &[self.crash_report.as_fd(), self.connections.as_fd()])
            }
            Err(e) => Err(io::Error::other(e)),
        };
        match sent {
            Ok(()) => Ok(Some(connection)),
            Err(e) => {
                tracing::warn!("a control process connected and did not take the hello: {e}");
                Ok(None)
            }
        }
    }

    fn forward_events(&self, connection: &mut Option<OwnedFd>) {
        // Resets the counter; there is nothing to do about a failure but to look at the queue.
        let _ = self.events.wake.read();
        while let Ok(event) = self.events.queue.try_recv() {
            let Some(open) = connection else { continue };
            let sent = match codec::encode(&Envelope { id: 0, body: event }, MAX_MESSAGE_BYTES) {
                Ok(message) => send(open.as_fd(), &message, &[]),
                Err(e) => Err(io::Error::other(e)),
            };
            if let Err(e) = sent {
                tracing::warn!("an event did not reach the control process: {e}");
                *connection = None;
            }
        }
    }

    fn serve_request(&self, connection: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Next, WorkerGone> {
        let (len, fds) = match seqpacket::recv(connection, buffer, MAX_FDS) {
            Ok((0, _)) => return Ok(Next::Disconnected),
            Ok(received) => received,
            // Killed before it read an answer.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Next::Disconnected),
            Err(e) if is_passing(&e) => return Ok(Next::Continue),
            Err(e) => {
                tracing::warn!("the control process's connection failed: {e}");
                return Ok(Next::Disconnected);
            }
        };
        let request: Envelope<ToDatapath> = match codec::decode(buffer.get(..len).unwrap_or_default()) {
            Ok(request) => request,
            Err(e) => {
                tracing::warn!("the control process sent something else than a request: {e}");
                return Ok(Next::Disconnected);
            }
        };
        let last = request.body == ToDatapath::Shutdown;
        let (message, fds) = self.answer(request, fds)?;
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match send(connection, &message, &borrowed) {
            _ if last => Ok(Next::Shutdown),
            Ok(()) => Ok(Next::Continue),
            Err(e) => {
                tracing::warn!("an answer did not reach the control process: {e}");
                Ok(Next::Disconnected)
            }
        }
    }

    /// The encoded answer. A page that is too long for a message is asked for again, half as long.
    fn answer(
        &self,
        request: Envelope<ToDatapath>,
        fds: Vec<OwnedFd>,
    ) -> Result<(Vec<u8>, Vec<OwnedFd>), WorkerGone> {
        let id = request.id;
        if let ToDatapath::SetLogFilter(filter) = &request.body {
            return Ok(encode(id, self.set_log_filter(filter)).unwrap_or_default());
        }
        let mut page = match PageRequest::new(request.body, fds, self.workers.count()) {
            Ok(page) => page,
            Err(reply) => return Ok(encode(id, *reply).unwrap_or_default()),
        };
        loop {
            let (command, again) = page.into_command();
            match (encode(id, self.workers.ask(command)?), again) {
                (Ok(answer), _) => return Ok(answer),
                (Err(CodecError::TooLarge { .. }), Some(smaller)) => page = smaller,
                (Err(e), _) => {
                    return Ok(encode(id, Reply::refused(format!("the answer: {e}"))).unwrap_or_default());
                }
            }
        }
    }

    /// The one request that is not the workers'.
    fn set_log_filter(&self, filter: &str) -> Reply {
        match self.logs.set_filter(filter) {
            Ok(()) => {
                tracing::debug!(filter, "logging by a new filter");
                FromDatapath::Done.into()
            }
            Err(e) => Reply::refused(e.to_string()),
        }
    }
}

/// What to do after a request.
enum Next {
    Continue,
    Disconnected,
    Shutdown,
}

/// A request on its way to the workers, with the number of rows an answer may have.
enum PageRequest {
    /// Rows do not matter.
    Once(Command),
    /// `make(rows)` is the command.
    Rows(Box<dyn Fn(usize) -> Command>, usize),
}

impl PageRequest {
    fn new(request: ToDatapath, fds: Vec<OwnedFd>, workers: usize) -> Result<Self, Box<Reply>> {
        let rows = ROWS_PER_ANSWER as usize;
        let page = |make: Box<dyn Fn(usize) -> Command>| Self::Rows(make, rows);
        Ok(match request {
            ToDatapath::Apply(delta) => match Change::new(delta, fds, workers) {
                Ok(change) => Self::Once(Command::Apply(Arc::new(change))),
                Err(problem) => return Err(Box::new(Reply::refused(problem))),
            },
            ToDatapath::ExportPorts { after } => {
                Self::Rows(Box::new(move |max| Command::ExportPorts { after, max }), MAX_FDS)
            }
            ToDatapath::Counters { after } => page(Box::new(move |max| Command::Counters { after, max })),
            ToDatapath::Fdb { cursor } => page(Box::new(move |max| Command::Fdb { cursor, max })),
            ToDatapath::Neighbors { cursor } => page(Box::new(move |max| Command::Neighbors { cursor, max })),
            ToDatapath::Flows { cursor } => page(Box::new(move |max| Command::Flows { cursor, max })),
            ToDatapath::Connections { cursor } => {
                page(Box::new(move |max| Command::Connections { cursor, max }))
            }
            ToDatapath::Services { cursor } => Self::Rows(
                Box::new(move |max| Command::Services { cursor, max }),
                SERVICE_ROWS_PER_ANSWER as usize,
            ),
            ToDatapath::Policies { cursor } => Self::Rows(
                Box::new(move |max| Command::Policies { cursor, max }),
                POLICY_ROWS_PER_ANSWER as usize,
            ),
            ToDatapath::Denials { after } => page(Box::new(move |max| Command::Denials { after, max })),
            ToDatapath::Trace(packet) => Self::Once(Command::Trace(packet)),
            ToDatapath::HoldAnnounced { until_nanos } => {
                Self::Once(Command::HoldAnnounced { until: datapath::Instant::from_nanos(until_nanos) })
            }
            ToDatapath::Peers { after } => page(Box::new(move |max| Command::Peers { after, max })),
            ToDatapath::Summary => Self::Once(Command::Summary),
            ToDatapath::StartCapture { port, snaplen } => match fds.into_iter().next() {
                Some(stream) => Self::Once(Command::StartCapture { port, snaplen, stream }),
                None => return Err(Box::new(Reply::refused("a capture needs a descriptor to write to"))),
            },
            ToDatapath::Shutdown => Self::Once(Command::Shutdown),
            ToDatapath::SetLogFilter(_) => return Err(Box::new(Reply::refused("not the workers' business"))),
        })
    }

    /// The command, and the same request for half as many rows.
    fn into_command(self) -> (Command, Option<Self>) {
        match self {
            Self::Once(command) => (command, None),
            Self::Rows(make, rows) => {
                let command = make(rows);
                (command, (rows > 1).then(|| Self::Rows(make, rows / 2)))
            }
        }
    }
}

fn encode(id: u64, reply: Reply) -> Result<(Vec<u8>, Vec<OwnedFd>), CodecError> {
    let message = codec::encode(&Envelope { id, body: reply.body }, MAX_MESSAGE_BYTES)?;
    Ok((message, reply.fds))
}

/// Sends without waiting for a peer that does not read, beyond [`SEND_LIMIT`].
fn send(connection: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let deadline = Instant::now() + SEND_LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut writable = [PollFd::new(connection, PollFlags::POLLOUT)];
        match poll(&mut writable, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return seqpacket::send(connection, message, fds),
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Nothing is wrong with the socket: another try, on the next event.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}
