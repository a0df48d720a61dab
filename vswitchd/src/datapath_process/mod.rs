//! `vswitchd datapath`: the process that sees every packet and may do nothing else.
//!
//! The control process starts it with three descriptors: the listening socket of the link as
//! standard input, the crash report as standard output, its own standard error for logs. Set-up, in
//! this order, each step while it is still permitted:
//!
//! 1. own session, so that a terminal's Ctrl-C and hang-up reach the control process only;
//! 2. stray descriptors closed, panic hook and logs set up;
//! 3. poller, buffers and tables allocated;
//! 4. privileges dropped, worker threads started, seccomp filter applied ([`sandbox`]);
//! 5. the link is served until told to shut down ([`link_server`]).
//!
//! It outlives the control process: pods keep talking, and the next control process finds it by
//! connecting to the same path.

mod bearer;
mod capture;
mod change;
mod command;
mod crash;
mod link_server;
mod paused;
mod peers;
mod ports;
mod ready;
mod requests;
mod rest;
mod sandbox;
mod share;
mod spin;
mod worker;
mod workers;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use datapath::time::Instant;
use datapath::{Limits, Shared};
use netdev::SharedMemory;
use netdev::seqpacket::Listener;
use nix::sys::socket::{Backlog, listen};
use nix::time::{ClockId, clock_gettime};

use self::link_server::{LinkServer, LinkServerError};
use self::sandbox::SandboxError;
use self::worker::Worker;
use self::workers::Workers;
use crate::config::LogFormat;
use crate::descriptors::close_inherited;
use crate::log::{FilterError, Logs};

/// Arguments of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct DatapathArgs {
    /// Threads that forward
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,
    /// Memory with the connections of a predecessor; made without
    #[arg(long)]
    pub(crate) connections: Option<PathBuf>,
    /// User to become
    #[arg(long)]
    pub(crate) uid: u32,
    /// Group to become
    #[arg(long)]
    pub(crate) gid: u32,
    /// What to log (tracing directives)
    #[arg(long, default_value = "info")]
    pub(crate) log_filter: String,
    /// Log as JSON
    #[arg(long)]
    pub(crate) log_json: bool,
    /// Keep all privileges and system calls; for debugging only
    #[arg(long)]
    pub(crate) no_sandbox: bool,
    /// Panic at the first frame of this port, so that tests see a crash end as it should
    #[cfg(debug_assertions)]
    #[arg(long)]
    pub(crate) crash_on_port: Option<u32>,
}

/// Why the datapath could not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatapathError {
    /// It was not started by the control process.
    #[error("standard input is not a listening socket ({0}); this command is started by vswitchd itself")]
    NoListener(io::Error),
    /// A log filter with a mistake.
    #[error(transparent)]
    LogFilter(#[from] FilterError),
    /// A resource could not be had.
    #[error("{what}: {source}")]
    Setup {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Privileges could not be dropped.
    #[error("sandbox: {0}")]
    Sandbox(#[from] SandboxError),
    /// The link ended.
    #[error(transparent)]
    Link(#[from] LinkServerError),
}

/// Runs the datapath process until it is told to shut down.
///
/// # Errors
/// When set-up fails, or the link's socket does. What fails later, aborts.
pub(crate) fn run(args: &DatapathArgs) -> Result<(), DatapathError> {
    let setup = |what| move |source| DatapathError::Setup { what, source };
    // Fails when this process leads a group already, which serves as well.
    let _ = nix::unistd::setsid();
    close_inherited().map_err(setup("closing inherited descriptors"))?;
    // Each port takes one, which `PortId::MAX_PORTS` of do not fit the usual soft limit of 1024.
    netdev::descriptors::raise_limit().map_err(setup("raising the limit of open descriptors"))?;
    let listener = take_listener(io::stdin().as_fd())?;
    let crash_report = duplicate(io::stdout().as_fd()).map_err(setup("crash report"))?;
    crash::install_hook(File::from(duplicate(crash_report.as_fd()).map_err(setup("crash report"))?));
    let format = if args.log_json { LogFormat::Json } else { LogFormat::Text };
    let logs = Logs::start(&args.log_filter, format)?;

    let owner = nix::unistd::geteuid().as_raw();
    let (link, events) = link_server::event_queue().map_err(setup("event queue"))?;
    let seed = RandomState::new().hash_one(std::process::id());
    let connections =
        connection_memory(args.connections.as_deref()).map_err(setup("memory of connections"))?;
    #[cfg_attr(not(debug_assertions), expect(unused_mut, reason = "only tests crash on purpose"))]
    let (mut crew, workers) =
        Workers::create(args.workers.into(), seed, &connections, &link).map_err(setup("poller"))?;
    #[cfg(debug_assertions)]
    for worker in &mut crew {
        worker.crash_on_port = args.crash_on_port.map(protocol::PortId);
    }

    if !args.no_sandbox {
        sandbox::drop_privileges(args.uid, args.gid)?;
    }
    let threads = start_threads(crew).map_err(setup("worker thread"))?;
    if !args.no_sandbox {
        sandbox::apply_seccomp()?;
    }
    tracing::info!(
        pid = std::process::id(),
        workers = args.workers,
        sandbox = !args.no_sandbox,
        "datapath ready"
    );
    LinkServer { listener, workers, events, crash_report, connections, owner, logs }.serve()?;
    for thread in threads {
        // A panic would have aborted.
        let _ = thread.join();
    }
    tracing::info!("datapath ends");
    Ok(())
}

/// Starts a thread for each worker, and returns when all of them run: a new thread makes system calls
/// of its own before it runs ours, which the filter denies.
fn start_threads(crew: Vec<Worker>) -> io::Result<Vec<JoinHandle<()>>> {
    let (started, wait_for_start) = crossbeam_channel::bounded::<()>(0);
    let threads = crew.into_iter().enumerate().map(|(number, worker)| {
        let started = started.clone();
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            // A rest of microseconds is not to become one of a default slack, which is 50. Fails in
            // no kernel that runs this; if it did, rests would be longer.
            let _ = nix::sys::prctl::set_timerslack(1);
            drop(started);
            // A worker that cannot poll cannot go on, and is not to end silently.
            if let Err(e) = worker.run() {
                panic!("the poller failed: {e}");
            }
        })
    });
    let threads = threads.collect::<io::Result<Vec<_>>>()?;
    drop(started);
    // An error, once each thread has dropped its end.
    let _ = wait_for_start.recv();
    Ok(threads)
}

/// The memory that the connections are in: a predecessor's, unless that is of another size, as of another version, or
/// new.
fn connection_memory(path: Option<&Path>) -> io::Result<SharedMemory> {
    let words = Shared::connection_words(&Limits::default());
    if let Some(path) = path {
        let file = File::options().read(true).write(true).open(path)?;
        match SharedMemory::from_fd(file.into()) {
            Ok(memory) if memory.words().len() == words => return Ok(memory),
            Ok(_) => tracing::warn!("the connections of the last datapath are of another version; they end"),
            Err(e) => tracing::warn!("the connections of the last datapath cannot be used, and end: {e}"),
        }
    }
    SharedMemory::create("vswitchd-connections", words).map_err(io::Error::other)
}

/// Listens again on the inherited socket, which makes this process the one that peers see in
/// `SO_PEERCRED` (`unix_listen()` records who called it last).
fn take_listener(stdin: BorrowedFd<'_>) -> Result<Listener, DatapathError> {
    let listen_again = || {
        let socket = duplicate(stdin)?;
        listen(&socket, Backlog::new(8)?)?;
        Ok(Listener::from(socket))
    };
    listen_again().map_err(DatapathError::NoListener)
}

fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    fd.try_clone_to_owned()
}

/// The machine's monotonic clock, which every process reads alike: what a predecessor noted still means the same.
#[derive(Debug, Clone, Copy)]
struct Clock;

impl Clock {
    fn now(self) -> Instant {
        // Fails for unknown clocks only.
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        Instant::from_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}
