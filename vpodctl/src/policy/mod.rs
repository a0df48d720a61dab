//! Network policies: their tables and descriptions, what they have refused, and `policy test` and `policy audit`.

mod audit;
mod denial;
mod kept;
mod test;

use protocol::object::PolicyFlow;

use crate::cli::Target;
use crate::cli::policy::{PolicyCommand, PolicyCommandArgs};
use crate::error::CliError;
use crate::flow::{end, protocol_name};

pub(crate) use kept::{ClusterNetworkPolicies, NetworkPolicies, describe};

pub(crate) fn run(target: &Target, args: &PolicyCommandArgs) -> Result<(), CliError> {
    match &args.command {
        PolicyCommand::Test(args) => test::run(target, args),
        PolicyCommand::Audit(args) => audit::run(target, args),
    }
}

/// `shop/cart (10.244.0.5)`, or the address alone.
fn source(flow: &PolicyFlow) -> String {
    match &flow.source_pod {
        Some(pod) => format!("{pod} ({})", flow.source),
        None => flow.source.to_string(),
    }
}

/// `shop/db (10.244.0.6:5432)`, or address and port alone.
fn destination(flow: &PolicyFlow) -> String {
    let place = end(flow.destination, flow.port);
    match &flow.destination_pod {
        Some(pod) => format!("{pod} ({place})"),
        None => place,
    }
}

/// `tcp shop/cart (10.244.0.5) → shop/db (10.244.0.6:5432)`.
fn words(flow: &PolicyFlow) -> String {
    format!("{} {} → {}", protocol_name(flow.protocol), source(flow), destination(flow))
}
