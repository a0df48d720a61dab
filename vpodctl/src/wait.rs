//! `wait`: until a pod or a service is as it should be, or all nodes run a revision.

use std::time::{Duration, Instant};

use protocol::client::ClientError;
use protocol::message::{ErrorCode, Kind, PodRef, ReadRequest, Response};
use protocol::object::{NodeProgramming, Programming};
use protocol::{NameError, ObjectName};

use crate::cli::args::{Condition, WaitArgs};
use crate::cli::{Target, kind};
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::output::{self, age};
use crate::pod;

/// The daemon answers earlier, if there is anything to say.
const PATIENCE_MS: u32 = 500;
/// Between two looks at what the daemon does not wait for itself.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Nodes named when time is over; of the others their number.
const NAMED: usize = 10;

pub(crate) fn run(target: &Target, args: &WaitArgs) -> Result<(), CliError> {
    if let Some(revision) = args.revision {
        let mut daemon = Connection::read(target)?;
        let found = until_active(&mut daemon, Some(revision), args.timeout, &format!("revision {revision}"))?;
        return output::print(&said(&found));
    }
    let (Some(kind), Some(condition)) = (&args.kind, args.condition) else {
        return Err(CliError::Usage("what for? vpodctl wait pod NAME --for=ready".to_owned()));
    };
    let name = match (&kind.name, &args.name) {
        (Some(name), None) | (None, Some(name)) => name,
        (None, None) => return Err(CliError::Usage("which one? vpodctl wait pod NAME".to_owned())),
        (Some(_), Some(name)) => return Err(CliError::Usage(format!("\"{name}\" is one name too many"))),
    };
    let name: ObjectName = name.parse().map_err(|error: NameError| CliError::Usage(error.to_string()))?;
    match (kind.kind, condition) {
        (Kind::Pods, Condition::Ready | Condition::Delete) => {
            let pod = PodRef { namespace: args.namespace.namespace.clone(), name };
            pod::wait::run(target, args, condition, &pod)
        }
        (
            kind @ (Kind::Services | Kind::NetworkPolicies | Kind::ClusterNetworkPolicies),
            Condition::Active,
        ) => active(target, args, kind, &name),
        (
            Kind::Services
            | Kind::EndpointSlices
            | Kind::Namespaces
            | Kind::Ingresses
            | Kind::IngressClasses
            | Kind::Secrets
            | Kind::GatewayClasses
            | Kind::Gateways
            | Kind::HttpRoutes
            | Kind::NetworkPolicies
            | Kind::ClusterNetworkPolicies,
            Condition::Delete,
        ) => deleted(target, args, kind.kind, name),
        _ => Err(CliError::Usage(
            "only pods can be waited for to be ready, only services and policies to be active".to_owned(),
        )),
    }
}

/// Until all nodes run what there is now of the object.
fn active(target: &Target, args: &WaitArgs, kind: Kind, name: &ObjectName) -> Result<(), CliError> {
    let mut daemon = Connection::read(target)?;
    let names = kind::names(kind);
    if !exists(&mut daemon, args, kind, name)? {
        return Err(CliError::NotFound {
            kind: names.singular,
            plural: names.plural,
            name: name.to_string(),
        });
    }
    let singular = names.singular;
    let what = match kind {
        Kind::ClusterNetworkPolicies => format!("{singular} \"{name}\""),
        _ => format!("{singular} \"{}/{name}\"", args.namespace.namespace),
    };
    until_active(&mut daemon, None, args.timeout, &what)?;
    output::print(&format!("{singular}/{name} condition met\n"))
}

fn deleted(target: &Target, args: &WaitArgs, kind: Kind, name: ObjectName) -> Result<(), CliError> {
    let deadline = Instant::now() + args.timeout;
    let mut daemon = Connection::read(target)?;
    let singular = kind::names(kind).singular;
    while exists(&mut daemon, args, kind, &name)? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let object = format!("{singular} \"{}/{name}\"", args.namespace.namespace);
            let after = age::human(args.timeout);
            let now = "it exists".to_owned();
            return Err(CliError::TimedOut { object, what: "to be deleted", after, now });
        }
        std::thread::sleep(left.min(POLL_INTERVAL));
    }
    output::print(&format!("{singular}/{name} condition met\n"))
}

fn exists(daemon: &mut Connection, args: &WaitArgs, kind: Kind, name: &ObjectName) -> Result<bool, CliError> {
    let namespace = args.namespace.namespace.clone();
    match daemon.object(kind, namespace, name.clone()) {
        Ok(_) => Ok(true),
        Err(CliError::Client(ClientError::Api(error))) if error.code == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Until all nodes run `revision`, or what the store has come to. `what` is waited for, in words.
pub(crate) fn until_active(
    daemon: &mut Connection,
    revision: Option<u64>,
    timeout: Duration,
    what: &str,
) -> Result<Programming, CliError> {
    let deadline = Instant::now() + timeout;
    let mut revision = revision;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let patience_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).min(PATIENCE_MS);
        let found = match daemon.ask(ReadRequest::Programming { revision, patience_ms })? {
            Response::Programming(found) => found,
            other => return Err(unexpected(&other)),
        };
        if found.is_complete() {
            return Ok(found);
        }
        if left.is_zero() {
            let (object, after) = (what.to_owned(), age::human(timeout));
            return Err(CliError::TimedOut {
                object,
                what: "to be active on all nodes",
                after,
                now: missing(&found),
            });
        }
        revision = Some(found.revision);
    }
}

/// What to print about a revision that is active.
pub(crate) fn said(found: &Programming) -> String {
    let nodes = found.nodes.len();
    let plural = if nodes == 1 { "node" } else { "nodes" };
    format!("revision {} is active on {nodes} {plural}\n", found.revision)
}

/// Which nodes are behind.
fn missing(found: &Programming) -> String {
    if found.store_revision < found.revision {
        return format!("the store has come to revision {} only", found.store_revision);
    }
    let word = |node: &NodeProgramming| match node.active {
        Some(active) => format!("{} (at {active})", node.name),
        None => node.name.clone(),
    };
    let all: Vec<String> = found.missing().map(word).collect();
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("revision {} is missing on {named}{more}", found.revision)
}
