//! The blocking client of the control socket: the one file here with a socket in it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::codec::{self, CodecError, MAX_ADMIN_FRAME_BYTES};
use crate::message::{AdminRequest, ApiError, Items, ReadRequest, Response};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_ADMIN_SOCKET: &str = "/run/vswitchd/admin.sock";
/// Environment variable that names another socket.
pub const SOCKET_VARIABLE: &str = "VPOD_SOCKET";

/// How long the daemon may take to say hello: it does so without looking at anything.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot reach vswitchd at {path}: {}", connect_hint(source))]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection broke or the peer speaks something else.
    #[error("talking to vswitchd at {path}: {}", codec_hint(source))]
    Codec {
        /// The socket's path.
        path: PathBuf,
        /// What went wrong.
        source: CodecError,
    },
    /// The daemon refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The daemon answered something that does not answer the request.
    #[error("vswitchd sent an answer that does not fit the request: {0}")]
    Unexpected(String),
}

fn connect_hint(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("{source}; is the daemon running? (start it with: vswitchd)")
        }
        io::ErrorKind::PermissionDenied => format!("{source}; the admin socket is for root (try sudo)"),
        _ => source.to_string(),
    }
}

fn codec_hint(source: &CodecError) -> String {
    match source {
        CodecError::Closed => {
            "it closed the connection before it answered; it may be stopping, see its log".to_owned()
        }
        CodecError::Io(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "it did not answer in time; it may be busy or stopped".to_owned()
            }
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
                format!("the connection broke ({error}); the daemon may have been restarted, try again")
            }
            _ => source.to_string(),
        },
        CodecError::Version { .. } => format!("{source}; use the vpodctl that came with the daemon"),
        CodecError::NotVpod(_) | CodecError::TooLarge { .. } | CodecError::Malformed(_) => source.to_string(),
    }
}

/// A connection to `vswitchd`.
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
}

impl Client {
    /// Connects and exchanges versions.
    ///
    /// # Errors
    /// When nobody listens at `path`, or what listens is another version.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)
            .map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        let mut client = Self { path: path.to_owned(), stream };
        client.limit_hello(Some(HELLO_TIMEOUT))?;
        // A daemon that refuses the connection has said why and closed it, perhaps before this.
        let greeted = codec::write_preamble(&mut client.stream);
        codec::read_preamble(&mut client.stream).map_err(|e| client.codec_error(e))?;
        greeted.map_err(|e| client.refusal_or(e))?;
        client.limit_hello(None)?;
        Ok(client)
    }

    fn limit_hello(&mut self, timeout: Option<Duration>) -> Result<(), ClientError> {
        self.set_timeout(timeout).map_err(|error| self.codec_error(error.into()))
    }

    /// Fails a read or write that takes longer than `timeout`; without, waits for ever.
    ///
    /// # Errors
    /// When `timeout` is zero.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)?;
        self.stream.set_write_timeout(timeout)
    }

    /// Sends a request of the admin socket; read the answer with [`Client::receive`].
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send(&mut self, request: &AdminRequest) -> Result<(), ClientError> {
        self.send_raw(request)
    }

    /// Sends a request of the read-only socket.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send_read(&mut self, request: &ReadRequest) -> Result<(), ClientError> {
        self.send_raw(request)
    }

    fn send_raw<T: Serialize>(&mut self, request: &T) -> Result<(), ClientError> {
        codec::write_frame(&mut self.stream, request, MAX_ADMIN_FRAME_BYTES).map_err(|e| self.refusal_or(e))
    }

    /// The next response; an [`Response::Error`] becomes an `Err`.
    ///
    /// # Errors
    /// What the daemon refused, or how the connection failed.
    pub fn receive(&mut self) -> Result<Response, ClientError> {
        match codec::read_frame(&mut self.stream, MAX_ADMIN_FRAME_BYTES).map_err(|e| self.codec_error(e))? {
            Response::Error(error) => Err(error.into()),
            response => Ok(response),
        }
    }

    /// One request, one final response.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn request(&mut self, request: &AdminRequest) -> Result<Response, ClientError> {
        self.send(request)?;
        self.receive()
    }

    /// All rows of a list request, page by page.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn list(&mut self, request: &AdminRequest) -> Result<Vec<Items>, ClientError> {
        self.send(request)?;
        let mut pages = Vec::new();
        loop {
            match self.receive()? {
                Response::Items(items) => pages.push(items),
                Response::Done => return Ok(pages),
                other => return Err(ClientError::Unexpected(format!("{other:?}"))),
            }
        }
    }

    /// After a failed write: what the daemon said before it closed the connection, else `error`.
    fn refusal_or(&mut self, error: CodecError) -> ClientError {
        let closed =
            |e: &io::Error| matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        if matches!(&error, CodecError::Io(source) if closed(source))
            && let Err(ClientError::Api(refusal)) = self.receive()
        {
            return refusal.into();
        }
        self.codec_error(error)
    }

    fn codec_error(&self, source: CodecError) -> ClientError {
        ClientError::Codec { path: self.path.clone(), source }
    }
}
