//! `logs`.

use protocol::message::AdminRequest;

use crate::cli::Target;
use crate::cli::args::LogsArgs;
use crate::connection::Connection;
use crate::error::CliError;
use crate::output;

pub(crate) fn run(target: &Target, args: LogsArgs) -> Result<(), CliError> {
    let mut daemon = Connection::admin(target, "logs")?;
    if args.follow {
        daemon.wait_for_ever()?;
    }
    daemon.send(&AdminRequest::Logs {
        pod: args.pod.reference(),
        container: args.container,
        follow: args.follow,
        tail: args.tail,
        previous: args.previous,
    })?;
    daemon.bytes(output::print_bytes)
}
