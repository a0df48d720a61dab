//! `delete-pod`.

use protocol::message::{AdminRequest, PodRef};

use crate::cli::Target;
use crate::cli::args::DeletePodArgs;
use crate::connection::Connection;
use crate::delete;
use crate::error::CliError;

pub(crate) fn run(target: &Target, args: &DeletePodArgs) -> Result<(), CliError> {
    let mut daemon = Connection::admin(target, "delete-pod")?;
    let requests = args.names.iter().map(|name| {
        let pod = PodRef { namespace: args.namespace.namespace.clone(), name: name.clone() };
        (name, AdminRequest::DeletePod(pod))
    });
    delete::each(&mut daemon, "pod", requests, args.ignore_not_found)
}
