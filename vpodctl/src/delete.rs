//! `delete`: objects of a kind.

use protocol::client::ClientError;
use protocol::message::{AdminRequest, ErrorCode, Kind, PodRef, Response};
use protocol::{NameError, ObjectName};

use crate::apply;
use crate::cli::args::{DeleteArgs, FileArgs, Validation};
use crate::cli::{Target, kind};
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::output;

pub(crate) fn run(target: &Target, args: DeleteArgs) -> Result<(), CliError> {
    let Some(kind_arg) = args.kind else {
        let validate = Validation::Warn;
        let files = FileArgs { files: args.filename, namespace: args.namespace, validate };
        return apply::delete(target, &files, args.ignore_not_found);
    };
    let kind = kind_arg.kind;
    let singular = kind::names(kind).singular;
    let namespace = args.namespace.namespace;
    let mut names = args.names;
    if let Some(name) = &kind_arg.name {
        names.insert(0, name.parse().map_err(|error: NameError| CliError::Usage(error.to_string()))?);
    }
    let request = |name: &ObjectName| match kind {
        Kind::Nodes => Ok(AdminRequest::DeleteNode(name.clone())),
        Kind::Pods => {
            Ok(AdminRequest::DeletePod(PodRef { namespace: namespace.clone(), name: name.clone() }))
        }
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
        | Kind::ClusterNetworkPolicies => Ok(AdminRequest::DeleteObject {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
            dry_run: false,
        }),
        Kind::Peers
        | Kind::Routes
        | Kind::Ports
        | Kind::Fdb
        | Kind::Neighbors
        | Kind::Flows
        | Kind::Connections
        | Kind::Drops
        | Kind::Traffic
        | Kind::Denials
        | Kind::Endpoints => Err(CliError::Usage(format!(
            "a {singular} cannot be deleted; nodes, pods, and what is applied can"
        ))),
    };
    let requests = names.iter().map(request).collect::<Result<Vec<_>, _>>()?;
    if requests.is_empty() {
        return Err(CliError::Usage(format!("which {singular}? vpodctl delete {singular} NAME")));
    }
    let mut daemon = Connection::admin(target, "delete")?;
    each(&mut daemon, singular, names.iter().zip(requests), args.ignore_not_found)
}

/// Goes on after a refusal, and fails in the end if there was one.
pub(crate) fn each<'a>(
    daemon: &mut Connection,
    kind: &str,
    requests: impl Iterator<Item = (&'a ObjectName, AdminRequest)>,
    ignore_not_found: bool,
) -> Result<(), CliError> {
    let mut failed = false;
    for (name, request) in requests {
        match daemon.request(&request) {
            Ok(Response::Done) => output::print(&format!("{kind} \"{name}\" deleted\n"))?,
            Ok(other) => return Err(unexpected(&other)),
            Err(CliError::Client(ClientError::Api(error))) => {
                if !(ignore_not_found && error.code == ErrorCode::NotFound) {
                    eprintln!("error: {error}");
                    failed = true;
                }
            }
            // The connection is gone, and the other objects with it.
            Err(error) => return Err(error),
        }
    }
    if failed { Err(CliError::Reported) } else { Ok(()) }
}
