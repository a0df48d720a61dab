//! `wait`: polls a pod until it is ready or gone.

use std::thread;
use std::time::{Duration, Instant};

use protocol::client::ClientError;
use protocol::message::{ErrorCode, Kind, PodRef};
use protocol::object::Pod;

use super::summary;
use crate::cli::args::{Condition, WaitArgs};
use crate::cli::{Target, kind};
use crate::connection::Connection;
use crate::error::CliError;
use crate::output::{self, age};

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Until `pod` is ready or gone.
pub(crate) fn run(
    target: &Target,
    args: &WaitArgs,
    condition: Condition,
    pod: &PodRef,
) -> Result<(), CliError> {
    let deadline = Instant::now() + args.timeout;
    let mut daemon = Connection::read(target)?;
    loop {
        let found = look_up(&mut daemon, pod)?;
        let met = match (condition, &found) {
            (Condition::Ready | Condition::Active, Some(found)) => summary::is_ready(found),
            (Condition::Delete, found) => found.is_none(),
            (Condition::Ready | Condition::Active, None) => {
                let names = kind::names(Kind::Pods);
                let name = pod.to_string();
                return Err(CliError::NotFound { kind: names.singular, plural: names.plural, name });
            }
        };
        if met {
            return output::print(&format!("pod/{} condition met\n", pod.name));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out(args, condition, pod, found.as_ref()));
        }
        thread::sleep(left.min(POLL_INTERVAL));
    }
}

fn look_up(daemon: &mut Connection, pod: &PodRef) -> Result<Option<Pod>, CliError> {
    match daemon.pod(pod.clone()) {
        Ok(found) => Ok(Some(found)),
        Err(CliError::Client(ClientError::Api(error))) if error.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn timed_out(args: &WaitArgs, condition: Condition, pod: &PodRef, found: Option<&Pod>) -> CliError {
    let what = match condition {
        Condition::Ready | Condition::Active => "to be ready",
        Condition::Delete => "to be deleted",
    };
    let now = match found {
        Some(found) => format!("it is {}", summary::status(found)),
        None => "it does not exist".to_owned(),
    };
    CliError::TimedOut { object: format!("pod \"{pod}\""), what, after: age::human(args.timeout), now }
}
