//! The datapath process itself: spawning, finding, ending and burying it.
//!
//! A process we started is our child and is waited for; one we took over belongs to init. Both are
//! held by a pidfd, so that a signal can never hit a later process of the same number.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use netdev::{process, seqpacket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use protocol::PortId;
use protocol::link::{Epoch, FromDatapath, LINK_VERSION};

use super::connection::Connection;
use super::crash_report::{CrashReport, MAX_REPORT_BYTES};
use super::{LinkError, LinkOptions, SHUTDOWN_LIMIT, SOCKET_NAME};

/// A new process says hello well within this, even on a loaded machine.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// The very program this process runs, even when an upgrade has replaced the file.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// A dying process closes its descriptors before it can be waited for.
const EXIT_GRACE: Duration = Duration::from_millis(20);
/// The user `nobody` of most systems: owns no file.
const NOBODY: (u32, u32) = (65534, 65534);
const SIGKILL: i32 = libc::SIGKILL;

/// A running datapath process that said hello.
pub(super) struct Datapath {
    pub(super) connection: Arc<Connection>,
    pub(super) pid: u32,
    pub(super) epoch: Epoch,
    version: u32,
    build: String,
    child: Option<Child>,
    pidfd: OwnedFd,
    crash_report: Option<File>,
    /// Memory with its table of connections, for its successor.
    connections: Option<OwnedFd>,
}

/// Starts a datapath on a fresh listening socket and waits for its hello. It goes on with the `connections` of one that is gone.
pub(super) fn spawn(options: &LinkOptions, connections: Option<&OwnedFd>) -> Result<Datapath, LinkError> {
    let path = options.run_dir.join(SOCKET_NAME);
    // Nobody answers there any more, or ought to.
    let _ = std::fs::remove_file(&path);
    let listener = seqpacket::listen(&path)?;
    let report = memfd_create(c"vswitchd-crash-report", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?;

    let program = options.program.clone().unwrap_or_else(|| PathBuf::from(OWN_PROGRAM));
    let (uid, gid) = options.run_as.unwrap_or(NOBODY);
    let mut command = Command::new(&program);
    command.arg0("vswitchd").arg("datapath");
    command.args(["--workers", &options.workers.to_string()]);
    command.args(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
    command.args(["--log-filter", &options.log_filter]);
    if let Some(memory) = connections {
        // Opened by name, because a descriptor that a child inherits would go to every child.
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        command.args(["--connections", &path]);
    }
    command.args(options.log_json.then_some("--log-json"));
    command.args((!options.sandbox).then_some("--no-sandbox"));
    // A backtrace would open files, which the sandbox answers with death.
    command.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
    command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::from(report));
    let child = command.spawn().map_err(|source| LinkError::Spawn { program: program.clone(), source })?;
    // Its copies of the listener must go, or a connection to a dead datapath would wait for ever.
    drop(command);

    let mut starting = Starting { child: Some(child) };
    let pid = starting.pid();
    // A child that ends at once takes its listener along, so either step can be the one that fails.
    let mut datapath = seqpacket::connect(&path)
        .map_err(LinkError::from)
        .and_then(|socket| Datapath::meet(socket, pid))
        .map_err(|e| starting.end().map_or(e, |source| LinkError::Spawn { program, source }))?;
    datapath.child = starting.child.take();
    Ok(datapath)
}

/// The datapath that listens in the run directory, if it is one like ours. One of another version
/// is shut down.
pub(super) fn take_over(options: &LinkOptions) -> Option<Datapath> {
    let path: PathBuf = options.run_dir.join(SOCKET_NAME);
    let socket = seqpacket::connect(&path).ok()?;
    match Datapath::meet(socket, None) {
        Ok(datapath) if datapath.is_compatible() => {
            tracing::info!(pid = datapath.pid, epoch = datapath.epoch, "taking over the running datapath");
            Some(datapath)
        }
        Ok(mut other) => {
            tracing::info!(pid = other.pid, "replacing the running datapath {}", other.build);
            other.shut_down();
            None
        }
        Err(e) => {
            tracing::warn!("what listens at {} is no datapath we can take over: {e}", path.display());
            kill_listener(&path);
            None
        }
    }
}

/// Ends whoever listens at `path` and does not say hello: it would go on reading our TAPs.
fn kill_listener(path: &std::path::Path) {
    let peer = || -> io::Result<OwnedFd> {
        let socket = seqpacket::connect(path).map_err(|e| e.source)?;
        let pid = seqpacket::peer_credentials(socket.as_fd())?.pid.unsigned_abs();
        if pid == std::process::id() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        process::pidfd_open(pid)
    };
    if let Ok(pidfd) = peer() {
        let _ = process::pidfd_send_signal(pidfd.as_fd(), SIGKILL);
        wait_for_exit(&pidfd, SHUTDOWN_LIMIT);
    }
}

/// A child that has not said hello; killed if it does not.
struct Starting {
    child: Option<Child>,
}

impl Starting {
    fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends the child and says how it ended if it did so by itself.
    fn end(&mut self) -> Option<io::Error> {
        let mut child = self.child.take()?;
        // Its end of the connection closes a moment before the process is gone.
        let grace = process::pidfd_open(child.id()).is_ok_and(|pidfd| wait_for_exit(&pidfd, EXIT_GRACE));
        let ended = if grace { child.try_wait().ok().flatten() } else { None };
        let _ = child.kill();
        let _ = child.wait();
        ended.map(|status| {
            io::Error::other(format!("the datapath process ended at once: {}", describe(status)))
        })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.end();
    }
}

impl Datapath {
    /// Takes the hello from a new connection. Its sender must be `expected`, or else the process
    /// that listens: of a new child it is known, while `SO_PEERCRED` still names this process,
    /// which made the listener.
    fn meet(socket: OwnedFd, expected: Option<u32>) -> Result<Self, LinkError> {
        let expected = match expected {
            Some(pid) => pid,
            None => seqpacket::peer_credentials(socket.as_fd())?.pid.unsigned_abs(),
        };
        let connection = Connection::new(socket);
        let Some((hello, fds)) = connection.receive_within(HELLO_LIMIT)? else {
            return Err(LinkError::NoHello("nothing".to_owned()));
        };
        let FromDatapath::Hello { version, build, pid, epoch } = hello else {
            return Err(LinkError::NoHello(format!("{hello:?}")));
        };
        if pid != expected || pid == std::process::id() {
            return Err(LinkError::NoHello(format!(
                "that it is process {pid}, which is process {expected},"
            )));
        }
        let pidfd = process::pidfd_open(pid)?;
        let mut fds = fds.into_iter();
        Ok(Self {
            connection: Arc::new(connection),
            pid,
            epoch,
            version,
            build,
            child: None,
            pidfd,
            crash_report: fds.next().map(File::from),
            connections: fds.next(),
        })
    }

    fn is_compatible(&self) -> bool {
        self.version == LINK_VERSION && self.build == env!("CARGO_PKG_VERSION")
    }

    /// Asks it to end; kills it if it does not.
    fn shut_down(&mut self) {
        let connection = Arc::clone(&self.connection);
        std::thread::scope(|scope| {
            scope.spawn(|| connection.serve(|_| {}));
            let _ = self.connection.request(protocol::link::ToDatapath::Shutdown, &[], SHUTDOWN_LIMIT);
            wait_for_exit(&self.pidfd, SHUTDOWN_LIMIT);
            self.connection.hang_up();
        });
        self.reap(Duration::ZERO);
    }

    /// After the connection ended: connects again if the process is alive and well.
    pub(super) fn reconnect(&mut self, options: &LinkOptions) -> Option<Self> {
        if wait_for_exit(&self.pidfd, EXIT_GRACE) {
            return None;
        }
        let socket = seqpacket::connect(&options.run_dir.join(SOCKET_NAME)).ok()?;
        let mut same = Self::meet(socket, Some(self.pid)).ok()?;
        same.child = self.child.take();
        Some(same)
    }

    /// What its successor needs to go on with its connections.
    pub(super) const fn take_connections(&mut self) -> Option<OwnedFd> {
        self.connections.take()
    }

    /// Waits up to `limit` for the process to end by itself, then kills it; says how it ended and
    /// whose frame it was working on.
    pub(super) fn reap(&mut self, limit: Duration) -> (String, Option<PortId>) {
        if !wait_for_exit(&self.pidfd, limit) {
            // Gone already is as good.
            let _ = process::pidfd_send_signal(self.pidfd.as_fd(), SIGKILL);
            wait_for_exit(&self.pidfd, SHUTDOWN_LIMIT);
        }
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        let ended = status.map_or_else(|| "ended".to_owned(), describe);
        match self.read_report() {
            Some(report) => (format!("{ended}: {}", report.message), report.culprit),
            None => (ended, None),
        }
    }

    fn read_report(&self) -> Option<CrashReport> {
        let mut bytes = vec![0; MAX_REPORT_BYTES];
        let len = self.crash_report.as_ref()?.read_at(&mut bytes, 0).ok()?;
        CrashReport::parse(bytes.get(..len)?)
    }
}

/// True if the process has ended, waiting up to `limit` for it.
fn wait_for_exit(pidfd: &OwnedFd, limit: Duration) -> bool {
    let mut exited = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut exited, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)), Ok(n) if n > 0)
}

/// How a process ended, for people.
fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(31), _) => "killed by its sandbox (SIGSYS): it made a system call it may not make".to_owned(),
        (Some(signal), _) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(name) => format!("killed by {name}"),
            Err(_) => format!("killed by signal {signal}"),
        },
        (None, Some(code)) => format!("exited with status {code}"),
        (None, None) => "ended".to_owned(),
    }
}
