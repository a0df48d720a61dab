//! What the link thread asks of a worker: the conversation of [`protocol::link`] with descriptors
//! attached and pages sized by the asker, who knows what fits a message.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use protocol::link::{FromDatapath, TracePacket};
use protocol::{PeerId, PortId};

use super::change::Change;

/// A request to a worker; each is answered by exactly one [`Reply`], in order.
#[derive(Debug)]
pub(super) enum Command {
    Apply(Arc<Change>),
    ExportPorts { after: Option<PortId>, max: usize },
    Counters { after: Option<PortId>, max: usize },
    Fdb { cursor: u64, max: usize },
    Neighbors { cursor: u64, max: usize },
    Flows { cursor: u64, max: usize },
    Connections { cursor: u64, max: usize },
    Services { cursor: u64, max: usize },
    Policies { cursor: u64, max: usize },
    Denials { after: u64, max: usize },
    Trace(TracePacket),
    HoldAnnounced { until: datapath::Instant },
    Peers { after: Option<PeerId>, max: usize },
    Summary,
    StartCapture { port: PortId, snaplen: u32, stream: OwnedFd },
    Shutdown,
}

/// A worker's answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) body: FromDatapath,
    /// One per row of [`FromDatapath::Ports`].
    pub(super) fds: Vec<OwnedFd>,
}

impl From<FromDatapath> for Reply {
    fn from(body: FromDatapath) -> Self {
        Self { body, fds: Vec::new() }
    }
}

impl Reply {
    pub(super) fn refused(message: impl Into<String>) -> Self {
        FromDatapath::Refused { message: message.into() }.into()
    }
}

/// A worker, as the link thread sees it.
pub(super) struct WorkerHandle {
    pub(super) commands: Sender<Command>,
    pub(super) replies: Receiver<Reply>,
    /// Ends the worker's sleep; it looks at `commands` only when it is awake.
    pub(super) waker: Arc<mio::Waker>,
}

impl WorkerHandle {
    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// When the worker is gone, which is when this process is about to end.
    pub(super) fn ask(&self, command: Command) -> Result<Reply, WorkerGone> {
        self.send(command)?;
        self.wait()
    }

    /// Asks; the answer must be [waited](Self::wait) for before anything else is asked.
    pub(super) fn send(&self, command: Command) -> Result<(), WorkerGone> {
        self.commands.send(command).map_err(|_| WorkerGone)?;
        self.waker.wake().map_err(|_| WorkerGone)
    }

    /// The answer to what was [sent](Self::send).
    pub(super) fn wait(&self) -> Result<Reply, WorkerGone> {
        self.replies.recv().map_err(|_| WorkerGone)
    }
}

/// A worker thread has ended.
#[derive(Debug, thiserror::Error)]
#[error("a worker thread has ended")]
pub(crate) struct WorkerGone;
