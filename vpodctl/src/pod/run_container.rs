//! `run-container`.

use protocol::message::{AdminRequest, Response};

use crate::cli::Target;
use crate::cli::args::RunContainerArgs;
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::output;

pub(crate) fn run(target: &Target, args: RunContainerArgs) -> Result<(), CliError> {
    let pod = args.pod.reference();
    let name = args.container.clone();
    let request = AdminRequest::RunContainer { pod, name: args.container, command: args.command };
    let mut daemon = Connection::admin(target, "run-container")?;
    match daemon.request(&request)? {
        Response::Pod(pod) => {
            output::print(&format!("container \"{name}\" started in pod/{}\n", pod.metadata.name))
        }
        other => Err(unexpected(&other)),
    }
}
