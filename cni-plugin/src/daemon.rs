//! One conversation with the daemon, with an end.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cni::{Code, Error};
use protocol::attachment::AttachmentRequest;
use protocol::client::{Client, ClientError, DEFAULT_ADMIN_SOCKET};
use protocol::message::{AdminRequest, ErrorCode, Response};

/// For an answer: a node with a full disk or a machine that swaps is slow, and runtimes wait two minutes and more.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a daemon that is there and does not take the connection (all are in use, or it stops) is asked again.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Why the daemon did not do what was asked.
pub(crate) enum Refusal {
    /// Nobody is there, or it went away before it answered.
    Away(String),
    /// It said no.
    Said(Error),
}

impl Refusal {
    /// As an answer to ADD.
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Away(why) => Error::new(Code::TryAgain, why),
            Self::Said(error) => error,
        }
    }
}

/// The socket that is asked.
pub(crate) fn socket(configured: Option<&PathBuf>) -> PathBuf {
    configured.cloned().unwrap_or_else(|| PathBuf::from(DEFAULT_ADMIN_SOCKET))
}

/// One request and all that is answered. A request that may not have been heard is not repeated.
pub(crate) fn ask(socket: &Path, request: AttachmentRequest) -> Result<Vec<Response>, Refusal> {
    let mut client = connect(socket)?;
    let request = AdminRequest::Attachment(request);
    client.send(&request).map_err(refusal)?;
    let mut responses = Vec::new();
    loop {
        let response = client.receive().map_err(refusal)?;
        let is_final = response.is_final();
        responses.push(response);
        if is_final {
            return Ok(responses);
        }
    }
}

fn connect(socket: &Path) -> Result<Client, Refusal> {
    let began = Instant::now();
    loop {
        match Client::connect(socket) {
            Ok(mut client) => {
                let limited = client.set_timeout(Some(ANSWER_LIMIT));
                limited.map_err(|error| Refusal::Away(format!("{}: {error}", socket.display())))?;
                return Ok(client);
            }
            Err(error) if is_busy(&error) && began.elapsed() < BUSY_LIMIT => thread::sleep(BUSY_PAUSE),
            Err(error) => return Err(refusal(error)),
        }
    }
}

fn is_busy(error: &ClientError) -> bool {
    match error {
        ClientError::Api(error) => error.code == ErrorCode::Unavailable,
        ClientError::Connect { .. } | ClientError::Codec { .. } | ClientError::Unexpected(_) => false,
    }
}

fn refusal(error: ClientError) -> Refusal {
    match error {
        ClientError::Api(error) if error.code == ErrorCode::Unavailable => Refusal::Away(error.message),
        ClientError::Api(error) => Refusal::Said(error.into()),
        other @ (ClientError::Connect { .. } | ClientError::Codec { .. } | ClientError::Unexpected(_)) => {
            Refusal::Away(other.to_string())
        }
    }
}

/// An answer that does not belong to the request.
pub(crate) fn unexpected(responses: &[Response]) -> Error {
    let text: String = format!("{responses:?}").chars().take(200).collect();
    Error::new(Code::Switch, format!("vswitchd sent an answer that does not fit the request: {text}"))
}
