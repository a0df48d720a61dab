//! What went wrong with etcd, and what that says about the request.
//!
//! gRPC has few codes and etcd uses them loosely, so that its texts decide in a few places. They are the constants
//! of etcd's `api/v3rpc/rpctypes/error.go`, which clients may rely on.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::error::seconds;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum EtcdFailure {
    /// What the client crate says, or the server through it.
    #[error("{}", causes(.0))]
    Client(Box<etcd_client::Error>),
    /// No answer in time.
    #[error("no answer within {}", seconds(*.0))]
    Silent(Duration),
    /// The member has no leader, so it can neither write nor answer for sure.
    #[error("it has no leader")]
    NoLeader,
    /// The server ended it.
    #[error("the server ended it: {0}")]
    Ended(String),
    /// What is configured cannot be used.
    #[error("etcd endpoint \"{what}\": {reason}")]
    Config {
        /// The endpoint.
        what: String,
        /// Why not.
        reason: &'static str,
    },
    /// A certificate cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The thread could not be started.
    #[error("cannot start the etcd client's thread: {0}")]
    Thread(io::Error),
}

/// What a failure says about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server has decided; asking again gives the same.
    Refused,
    /// Certainly not made; worth another try on a new connection.
    NotMade,
    /// It may have been made.
    Unknown,
}

impl EtcdFailure {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Client(error) => verdict(error),
            Self::Config { .. } | Self::File { .. } => Verdict::Refused,
            Self::NoLeader | Self::Thread(_) => Verdict::NotMade,
            Self::Silent(_) | Self::Ended(_) => Verdict::Unknown,
        }
    }

    pub(super) fn is_lease_not_found(&self) -> bool {
        matches!(self, Self::Client(error)
            if matches!(&**error, etcd_client::Error::GRpcStatus(status)
                if status.message().contains("requested lease not found")))
    }
}

impl From<etcd_client::Error> for EtcdFailure {
    fn from(error: etcd_client::Error) -> Self {
        Self::Client(Box::new(error))
    }
}

/// Codes of gRPC (`google/rpc/code.proto`) by which the server says no.
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNAUTHENTICATED: i32 = 16;

fn verdict(error: &etcd_client::Error) -> Verdict {
    let status = match error {
        etcd_client::Error::GRpcStatus(status) => status,
        etcd_client::Error::InvalidArgs(_) | etcd_client::Error::InvalidUri(_) => return Verdict::Refused,
        other => return by_cause(other),
    };
    let says = |text: &str| status.message().contains(text);
    // A compacted page of a list: from the first page again.
    if says("required revision has been compacted") || says("auth store is old") || says("no leader") {
        return Verdict::NotMade;
    }
    match status.code() as i32 {
        // Tokens do not survive a restart of the server; a wrong password is an invalid argument.
        UNAUTHENTICATED => Verdict::NotMade,
        INVALID_ARGUMENT | NOT_FOUND | PERMISSION_DENIED | RESOURCE_EXHAUSTED | FAILED_PRECONDITION
        | OUT_OF_RANGE => Verdict::Refused,
        _ => by_cause(status),
    }
}

/// Nobody listened, so nobody heard. Any other break of a connection may have come after the request.
fn by_cause(error: &(dyn StdError + 'static)) -> Verdict {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
            return Verdict::NotMade;
        }
        cause = error.source();
    }
    Verdict::Unknown
}

/// An error with its causes: tonic's own texts say little ("transport error").
fn causes(error: &etcd_client::Error) -> String {
    let mut cause: Option<&(dyn StdError + 'static)> = match error {
        etcd_client::Error::GRpcStatus(status) => status.source(),
        etcd_client::Error::TransportError(error) => error.source(),
        _ => None,
    };
    let mut text = match error {
        etcd_client::Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    };
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
