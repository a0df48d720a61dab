//! The connection to `vswitchd`, and which of its two sockets it is.
//!
//! The admin socket takes everything and belongs to root; the read-only socket (`ro.sock` in the
//! same directory) takes only requests that change nothing, in a request type of its own. Who may
//! not open the admin socket is served by the read-only one where that is enough.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::client::{Client, ClientError, DEFAULT_ADMIN_SOCKET};
use protocol::message::{AdminRequest, Items, Kind, PodRef, ReadRequest, Response};
use protocol::object::Pod;
use protocol::{Namespace, ObjectName};

use crate::cli::Target;
use crate::error::CliError;

const READ_ONLY_SOCKET: &str = "ro.sock";

/// A connection that knows what it may ask.
pub(crate) struct Connection {
    client: Client,
    socket: PathBuf,
    read_only: bool,
}

impl Connection {
    /// Opens the admin socket; `command` names who needs it.
    pub(crate) fn admin(target: &Target, command: &'static str) -> Result<Self, CliError> {
        let socket = socket_of(target);
        if is_read_only(&socket) {
            return Err(CliError::ReadOnly { command, socket });
        }
        Self::open(target, socket, false)
    }

    /// Opens whichever socket answers questions.
    pub(crate) fn read(target: &Target) -> Result<Self, CliError> {
        let socket = socket_of(target);
        if is_read_only(&socket) {
            return Self::open(target, socket, true);
        }
        let fallback = socket.with_file_name(READ_ONLY_SOCKET);
        match Self::open(target, socket, false) {
            Err(CliError::Client(ClientError::Connect { source, .. }))
                if source.kind() == io::ErrorKind::PermissionDenied && fallback.exists() =>
            {
                Self::open(target, fallback, true)
            }
            other => other,
        }
    }

    fn open(target: &Target, socket: PathBuf, read_only: bool) -> Result<Self, CliError> {
        let mut client = Client::connect(&socket)?;
        let timeout = (!target.request_timeout.is_zero()).then_some(target.request_timeout);
        set_timeout(&mut client, &socket, timeout)?;
        Ok(Self { client, socket, read_only })
    }

    /// Waits for the daemon as long as it takes; for streams that only the user ends.
    pub(crate) fn wait_for_ever(&mut self) -> Result<(), CliError> {
        set_timeout(&mut self.client, &self.socket, None)
    }

    /// Sends what only the admin socket takes.
    pub(crate) fn send(&mut self, request: &AdminRequest) -> Result<(), CliError> {
        Ok(self.client.send(request)?)
    }

    /// The next response to the request before.
    pub(crate) fn receive(&mut self) -> Result<Response, CliError> {
        Ok(self.client.receive()?)
    }

    /// One request of the admin socket, one response.
    pub(crate) fn request(&mut self, request: &AdminRequest) -> Result<Response, CliError> {
        self.send(request)?;
        self.receive()
    }

    fn send_read(&mut self, request: ReadRequest) -> Result<(), CliError> {
        if self.read_only {
            return Ok(self.client.send_read(&request)?);
        }
        self.send(&AdminRequest::Read(request))
    }

    /// One question, one response.
    pub(crate) fn ask(&mut self, request: ReadRequest) -> Result<Response, CliError> {
        self.send_read(request)?;
        self.receive()
    }

    /// All pages of a list.
    pub(crate) fn list(&mut self, kind: Kind, namespace: Option<Namespace>) -> Result<Vec<Items>, CliError> {
        self.send_read(ReadRequest::List { kind, namespace })?;
        self.pages()
    }

    fn pages(&mut self) -> Result<Vec<Items>, CliError> {
        let mut pages = Vec::new();
        loop {
            match self.receive()? {
                Response::Items(items) => pages.push(items),
                Response::Done => return Ok(pages),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// One pod.
    pub(crate) fn pod(&mut self, pod: PodRef) -> Result<Pod, CliError> {
        match self.ask(ReadRequest::GetPod(pod))? {
            Response::Pod(pod) => Ok(*pod),
            other => Err(unexpected(&other)),
        }
    }

    /// One object of a kind that is kept as a document.
    pub(crate) fn object(
        &mut self,
        kind: Kind,
        namespace: Namespace,
        name: ObjectName,
    ) -> Result<Vec<Items>, CliError> {
        self.send_read(ReadRequest::GetObject { kind, namespace, name })?;
        self.pages()
    }

    /// Hands each piece of a byte stream to `sink` until the daemon says it is complete.
    pub(crate) fn bytes(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        loop {
            match self.receive()? {
                Response::Bytes(bytes) => sink(&bytes)?,
                Response::Done => return Ok(()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// The daemon's metrics, as Prometheus text.
    pub(crate) fn metrics(
        &mut self,
        sink: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        self.send_read(ReadRequest::Metrics)?;
        self.bytes(sink)
    }
}

/// The error for a response that answers another question.
pub(crate) fn unexpected(response: &Response) -> CliError {
    let kind = match response {
        Response::Done => "an empty answer",
        Response::Error(_) => "an error",
        Response::Items(_) => "a list",
        Response::Pod(_) => "a pod",
        Response::Status(_) => "its status",
        Response::Entry(_) => "how to enter a pod",
        Response::Bytes(_) => "raw bytes",
        Response::Applied(_) => "what became of manifests",
        Response::Programming(_) => "how far changes have come",
        Response::Trace(_) => "the way of a packet",
        Response::Changes(_) => "changes of a feed",
        Response::Followed(_) => "a position in a feed",
        Response::PolicyVerdicts(_) => "what policies say",
        Response::PolicyAudit(_) => "what policies would change",
        Response::Attached(_) | Response::Attachments(_) | Response::Readiness(_) => "attachments",
    };
    ClientError::Unexpected(kind.to_owned()).into()
}

fn set_timeout(client: &mut Client, socket: &Path, timeout: Option<Duration>) -> Result<(), CliError> {
    client
        .set_timeout(timeout)
        .map_err(|source| ClientError::Connect { path: socket.to_owned(), source }.into())
}

fn socket_of(target: &Target) -> PathBuf {
    target.socket.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_ADMIN_SOCKET))
}

fn is_read_only(socket: &Path) -> bool {
    socket.file_name().is_some_and(|name| name == READ_ONLY_SOCKET)
}
