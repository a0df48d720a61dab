//! Why a command failed, and the exit status that says so.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use protocol::client::ClientError;

/// Status of a process that a closed pipe ended (128 + SIGPIPE), as for any other filter.
const BROKEN_PIPE_STATUS: u8 = 141;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// No connection, a broken one, or the daemon's refusal.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Arguments that only make sense in another combination.
    #[error("{0}\nSee 'vpodctl --help' and 'vpodctl COMMAND --help'.")]
    Usage(String),
    /// A command that needs the admin socket was given the read-only one.
    #[error("{command} needs the admin socket, but {} is the read-only one: use --socket {}", .socket.display(), .socket.with_file_name("admin.sock").display())]
    ReadOnly { command: &'static str, socket: PathBuf },
    /// An object that the daemon did not list.
    #[error("{kind} \"{name}\" not found (vpodctl get {plural} lists what there is)")]
    NotFound { kind: &'static str, plural: &'static str, name: String },
    /// A pod without the container that was asked for.
    #[error("container \"{container}\" not found in pod \"{pod}\": {have}")]
    NoContainer { container: String, pod: String, have: String },
    /// A wait that ended without what it waited for.
    #[error("timed out after {after} waiting for {object} {what}; {now}")]
    TimedOut { object: String, what: &'static str, after: String, now: String },
    /// The program to run inside a pod does not exist, or may not be run.
    #[error("cannot run \"{program}\" in pod \"{pod}\": {source}{}", program_hint(source))]
    Program { program: String, pod: String, source: io::Error },
    /// The way into a pod is barred before the program is even looked for.
    #[error("cannot enter pod \"{pod}\": {}", entry_text(source))]
    Enter { pod: String, source: io::Error },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A DNS server that was asked and did not answer.
    #[error("asking {server} about {name}: {why}")]
    Ask { server: IpAddr, name: String, why: String },
    /// Standard output cannot take the answer.
    #[error("cannot write to standard output: {0}")]
    Stdout(io::Error),
    /// A file cannot take the answer.
    #[error("cannot write {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
    /// An object that has no JSON or YAML form.
    #[error("cannot write {format}: {reason}")]
    Format { format: &'static str, reason: String },
    /// A manifest that cannot be read, or describes nothing that vpod knows.
    #[error("error validating \"{source_name}\": {problem}")]
    Manifest { source_name: String, problem: String },
    /// An object that is to be new.
    #[error("{kind} \"{name}\" already exists")]
    Exists { kind: &'static str, name: String },
    /// Some of several objects failed; each has been reported already.
    #[error("")]
    Reported,
}

fn program_hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound { " (is it installed, and in PATH?)" } else { "" }
}

/// The error with its causes, and what to do about the most likely one.
fn entry_text(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut forbidden = error.kind() == io::ErrorKind::PermissionDenied;
    let mut next = error.get_ref().and_then(|inner| inner.source());
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        forbidden |= kind == Some(io::ErrorKind::PermissionDenied);
        next = cause.source();
    }
    if forbidden {
        text.push_str(" (entering a pod needs root: try sudo)");
    }
    text
}

impl CliError {
    /// What to print after `error:`; nothing when it has been said, or nobody listens any more.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Reported => None,
            Self::Stdout(source) if source.kind() == io::ErrorKind::BrokenPipe => None,
            other => Some(other.to_string()),
        }
    }

    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Stdout(source) if source.kind() == io::ErrorKind::BrokenPipe => BROKEN_PIPE_STATUS,
            // As shells do: 127 not found, 126 found but not executable.
            Self::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Program { .. } => 126,
            Self::Client(_)
            | Self::ReadOnly { .. }
            | Self::NotFound { .. }
            | Self::NoContainer { .. }
            | Self::TimedOut { .. }
            | Self::Enter { .. }
            | Self::Read { .. }
            | Self::Ask { .. }
            | Self::Stdout(_)
            | Self::File { .. }
            | Self::Signals(_)
            | Self::Format { .. }
            | Self::Manifest { .. }
            | Self::Exists { .. }
            | Self::Reported => 1,
        }
    }
}
