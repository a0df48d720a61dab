//! Supervises the datapath process: starts it or takes a running one over, talks to it, and starts
//! it again when it dies.
//!
//! ```text
//!              nobody listens, or another version
//!   start ──▶ connect ───────────────────────────────▶ spawn ──┐
//!                │ same version                                │ hello
//!                ▼                                             ▼
//!           Connected{taken_over}        ┌────────────▶ Connected{epoch 0}
//!                │                       │ back-off            │
//!                ▼         hang-up       │                     ▼
//!             serving ───────────────▶ Lost ◀─────────────── serving
//! ```
//!
//! One thread supervises: it reads answers and events, and notices the end of the connection, which
//! the kernel reports the moment the process dies. Any thread may ask ([`DatapathLink::request`]).
//!
//! The datapath is in no way tied to the life of this process: it has its own session, no parent
//! death signal, and keeps forwarding without a connection.

mod backoff;
mod child;
mod connection;
pub(crate) mod crash_report;
pub(crate) mod saved;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use netdev::seqpacket::SocketError;
use parking_lot::Mutex;
use protocol::PortId;
use protocol::codec::CodecError;
use protocol::link::{Epoch, FromDatapath, ToDatapath};
use protocol::object::Timestamp;

use self::backoff::Backoff;
use self::child::Datapath;
use self::connection::Connection;

/// The listening socket's name in the run directory.
const SOCKET_NAME: &str = "datapath.sock";
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long the datapath may take to finish the frames in hand.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// What the datapath process is started with.
#[derive(Debug, Clone)]
pub(crate) struct LinkOptions {
    /// Where the socket is.
    pub(crate) run_dir: PathBuf,
    /// The program to run; the running one without.
    pub(crate) program: Option<PathBuf>,
    /// Threads that forward.
    pub(crate) workers: u8,
    /// What it logs.
    pub(crate) log_filter: String,
    /// As JSON.
    pub(crate) log_json: bool,
    /// User and group it becomes; `nobody` without.
    pub(crate) run_as: Option<(u32, u32)>,
    /// Whether it gives up its rights. Without only for debugging.
    pub(crate) sandbox: bool,
}

/// What happens to the datapath process.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// It can be talked to.
    Connected {
        /// Its configuration; 0 is none.
        epoch: Epoch,
        /// It ran before: it has ports, which [`ToDatapath::ExportPorts`] tells.
        taken_over: bool,
    },
    /// It died; another one is being started.
    Lost {
        /// How.
        cause: String,
        /// Whose frame it was working on when it panicked.
        culprit: Option<PortId>,
    },
    /// A port's device is gone.
    PortDetached {
        /// Which.
        port: PortId,
        /// What the kernel said.
        cause: String,
    },
}

/// What `status` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LinkStatus {
    /// Process id; `None` while it is being started.
    pub(crate) pid: Option<u32>,
    /// When this process was started, or taken over.
    pub(crate) started: Option<Timestamp>,
    /// How often it was started again.
    pub(crate) restarts: u32,
}

/// Why the datapath could not be asked or started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// It is being started.
    #[error("the datapath process is not connected; it is being started")]
    NotConnected,
    /// It died with the request in hand.
    #[error("the datapath process ended before it answered")]
    Lost,
    /// It is alive and silent.
    #[error("the datapath process did not answer within {} s", ANSWER_LIMIT.as_secs())]
    NoAnswer,
    /// The message could not be encoded, most likely for its length.
    #[error("the request to the datapath process: {0}")]
    Encode(#[from] CodecError),
    /// The socket in the run directory could not be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The process could not be started.
    #[error("starting {}: {source}", program.display())]
    Spawn {
        /// What was started.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection failed.
    #[error("talking to the datapath process: {0}")]
    Io(#[from] io::Error),
    /// What listens there is not a datapath.
    #[error("the datapath process said {0} instead of hello")]
    NoHello(String),
}

/// The datapath process, for all threads of the control process.
#[derive(Clone)]
pub(crate) struct DatapathLink {
    shared: Arc<Shared>,
    /// Becomes disconnected when the supervisor has ended.
    supervisor: Receiver<()>,
}

struct Shared {
    options: LinkOptions,
    state: Mutex<State>,
}

struct State {
    connection: Option<Arc<Connection>>,
    status: LinkStatus,
    /// The end of the connection is wanted and not to be mended.
    ending: Option<End>,
}

/// What becomes of the datapath at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    LeaveRunning,
}

impl DatapathLink {
    /// Takes over the datapath that listens in the run directory if it is of this version and
    /// build, else starts one. Returns when it said hello.
    ///
    /// # Errors
    /// When the first one cannot be started. Later ones are tried for ever.
    pub(crate) fn start(options: LinkOptions, events: Sender<LinkEvent>) -> Result<Self, LinkError> {
        let (datapath, taken_over) = match child::take_over(&options) {
            Some(datapath) => (datapath, true),
            None => (child::spawn(&options, saved::take(&options.run_dir).as_ref())?, false),
        };
        let state = State { connection: None, status: LinkStatus::default(), ending: None };
        let shared = Arc::new(Shared { options, state: Mutex::new(state) });
        let (alive, supervisor) = crossbeam_channel::bounded(0);
        let thread_shared = Arc::clone(&shared);
        shared.connect(&datapath);
        std::thread::Builder::new().name("datapath-link".to_owned()).spawn(move || {
            // Dropped at the thread's end, which is what `supervisor` waits for.
            let _alive: Sender<()> = alive;
            supervise(&thread_shared, datapath, taken_over, &events);
        })?;
        Ok(Self { shared, supervisor })
    }

    /// Asks the datapath, with descriptors if the request takes any.
    ///
    /// # Errors
    /// When there is no answer. [`FromDatapath::Refused`] is one.
    pub(crate) fn request(
        &self,
        body: ToDatapath,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(FromDatapath, Vec<OwnedFd>), LinkError> {
        let connection = self.shared.state.lock().connection.clone().ok_or(LinkError::NotConnected)?;
        connection.request(body, fds, ANSWER_LIMIT)
    }

    /// The process, for `status`.
    pub(crate) fn status(&self) -> LinkStatus {
        self.shared.state.lock().status
    }

    /// Ends the datapath: in good order, or by force after two seconds.
    pub(crate) fn stop(&self) {
        if let Some(connection) = self.begin_end(End::Stop) {
            // Its answer may be lost in the end of the process; that the process ends counts.
            let _ = connection.request(ToDatapath::Shutdown, &[], SHUTDOWN_LIMIT);
            connection.hang_up();
        }
        let _ = self.supervisor.recv_timeout(2 * SHUTDOWN_LIMIT);
    }

    /// Leaves the datapath running and gives up the connection.
    pub(crate) fn detach(&self) {
        if let Some(connection) = self.begin_end(End::LeaveRunning) {
            connection.hang_up();
        }
        let _ = self.supervisor.recv_timeout(SHUTDOWN_LIMIT);
    }

    fn begin_end(&self, end: End) -> Option<Arc<Connection>> {
        let mut state = self.shared.state.lock();
        state.ending = Some(end);
        state.connection.take()
    }
}

impl Shared {
    fn connect(&self, datapath: &Datapath) {
        let mut state = self.state.lock();
        match state.ending {
            None => state.connection = Some(Arc::clone(&datapath.connection)),
            // Asked for while it was being started; its supervisor sees the end at once.
            Some(End::Stop | End::LeaveRunning) => datapath.connection.hang_up(),
        }
        state.status.pid = Some(datapath.pid);
        state.status.started = Some(Timestamp::now());
    }

    fn disconnect(&self) {
        let mut state = self.state.lock();
        state.connection = None;
        state.status.pid = None;
        state.status.started = None;
    }

    fn ending(&self) -> Option<End> {
        self.state.lock().ending
    }
}

/// Serves one datapath after the other until the end is asked for.
fn supervise(shared: &Shared, mut datapath: Datapath, mut taken_over: bool, events: &Sender<LinkEvent>) {
    let mut backoff = Backoff::default();
    loop {
        // A send fails when nobody listens any more, which is no reason to stop supervising.
        let _ = events.send(LinkEvent::Connected { epoch: datapath.epoch, taken_over });
        datapath.connection.serve(|event| {
            if let FromDatapath::PortDetached { port, cause } = event {
                let _ = events.send(LinkEvent::PortDetached { port, cause });
            }
        });
        shared.disconnect();
        match shared.ending() {
            None => {}
            Some(End::LeaveRunning) => return,
            Some(End::Stop) => {
                datapath.reap(SHUTDOWN_LIMIT);
                if let Some(memory) = datapath.take_connections() {
                    saved::save(&shared.options.run_dir, memory);
                }
                return;
            }
        }
        if let Some(same) = datapath.reconnect(&shared.options) {
            shared.connect(&same);
            (datapath, taken_over) = (same, true);
            continue;
        }
        let (cause, culprit) = datapath.reap(Duration::ZERO);
        tracing::warn!(pid = datapath.pid, "datapath lost: {cause}");
        let _ = events.send(LinkEvent::Lost { cause, culprit });
        match restart(shared, &mut backoff, datapath.take_connections()) {
            Some(new) => (datapath, taken_over) = (new, false),
            None => return,
        }
    }
}

/// Starts the next datapath, with the `connections` of the last one unless one after the other dies: it may be of them.
/// `None` when the end is asked for meanwhile.
fn restart(shared: &Shared, backoff: &mut Backoff, mut connections: Option<OwnedFd>) -> Option<Datapath> {
    loop {
        let delay = backoff.on_death(Instant::now());
        if !delay.is_zero() {
            tracing::warn!("the datapath dies often; starting it again in {} ms", delay.as_millis());
            connections = None;
        }
        let until = Instant::now() + delay;
        while Instant::now() < until && shared.ending().is_none() {
            std::thread::sleep(Duration::from_millis(20).min(delay));
        }
        if shared.ending().is_some() {
            return None;
        }
        shared.state.lock().status.restarts += 1;
        match child::spawn(&shared.options, connections.as_ref()) {
            Ok(datapath) => {
                shared.connect(&datapath);
                return Some(datapath);
            }
            Err(e) => tracing::error!("{e}"),
        }
    }
}
