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

pub(crate) fn run(target: &Target, args: &WaitArgs) -> Result<(), CliError> {
    let pod = pod_of(args)?;
    let deadline = Instant::now() + args.timeout;
    let mut daemon = Connection::read(target)?;
    loop {
        let found = look_up(&mut daemon, &pod)?;
        let met = match (args.condition, &found) {
            (Condition::Ready, Some(found)) => summary::is_ready(found),
            (Condition::Delete, found) => found.is_none(),
            (Condition::Ready, None) => {
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
            return Err(timed_out(args, &pod, found.as_ref()));
        }
        thread::sleep(left.min(POLL_INTERVAL));
    }
}

fn pod_of(args: &WaitArgs) -> Result<PodRef, CliError> {
    if args.kind.kind != Kind::Pods {
        return Err(CliError::Usage("only pods can be waited for: vpodctl wait pod NAME".to_owned()));
    }
    let name = match (&args.kind.name, &args.name) {
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => return Err(CliError::Usage("which pod? vpodctl wait pod NAME".to_owned())),
        (Some(_), Some(name)) => return Err(CliError::Usage(format!("\"{name}\" is one name too many"))),
    };
    let name = name.parse().map_err(|error: protocol::NameError| CliError::Usage(error.to_string()))?;
    Ok(PodRef { namespace: args.namespace.namespace.clone(), name })
}

fn look_up(daemon: &mut Connection, pod: &PodRef) -> Result<Option<Pod>, CliError> {
    match daemon.pod(pod.clone()) {
        Ok(found) => Ok(Some(found)),
        Err(CliError::Client(ClientError::Api(error))) if error.code == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn timed_out(args: &WaitArgs, pod: &PodRef, found: Option<&Pod>) -> CliError {
    let what = match args.condition {
        Condition::Ready => "to be ready",
        Condition::Delete => "to be deleted",
    };
    let now = match found {
        Some(found) => format!("it is {}", summary::status(found)),
        None => "it does not exist".to_owned(),
    };
    CliError::TimedOut { pod: pod.to_string(), what, after: age::human(args.timeout), now }
}
