//! `delete-pod`.

use protocol::client::ClientError;
use protocol::message::{AdminRequest, ErrorCode, PodRef, Response};

use crate::cli::Target;
use crate::cli::args::DeletePodArgs;
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::output;

pub(crate) fn run(target: &Target, args: &DeletePodArgs) -> Result<(), CliError> {
    let mut daemon = Connection::admin(target, "delete-pod")?;
    let mut failed = false;
    for name in &args.names {
        let pod = PodRef { namespace: args.namespace.namespace.clone(), name: name.clone() };
        match daemon.request(&AdminRequest::DeletePod(pod)) {
            Ok(Response::Done) => output::print(&format!("pod \"{name}\" deleted\n"))?,
            Ok(other) => return Err(unexpected(&other)),
            Err(CliError::Client(ClientError::Api(error))) => {
                if !(args.ignore_not_found && error.code == ErrorCode::NotFound) {
                    eprintln!("error: {error}");
                    failed = true;
                }
            }
            // The connection is gone, and the other pods with it.
            Err(error) => return Err(error),
        }
    }
    if failed { Err(CliError::Reported) } else { Ok(()) }
}
