//! TCP connections from a pod to a server outside, which sees the node's address: the price of a flow that
//! leaves the node.

use anyhow::{Context, Result};

use super::Options;
use super::same_node_rr::{checked, describe, rate};
use crate::bed::{Bed, limit};
use crate::host::Running;
use crate::load::rr::Answered;
use crate::load::{address_of, command, parse};
use crate::metric::Metric;
use crate::subject::{Place, Subject, node_address};

pub(super) const NAME: &str = "egress-crr";

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let mut bed = Bed::set_up_in(Place::Outside, options, 1)?;
    let measured = bed.rounds(
        options.rounds,
        NAME,
        |answered| format!("{:.0} connections/s, p99 {:.0} µs", rate(answered), answered.latencies.p99_us),
        |subject| measure(subject, options.seconds),
    )?;
    Ok(describe(NAME, &measured).collect())
}

fn measure(subject: &dyn Subject, seconds: f64) -> Result<Answered> {
    let address = address_of(subject.server());
    let mut server = command(Some(subject.server()))?;
    // A client with another address than the node's ends it.
    server.args(["serve", &address, "--size", "1", "--close", "--only-from", &node_address()]);
    let server = Running::start_server(&mut server).context("server")?;
    let mut client = command(Some(subject.client()))?;
    client.args(["crr", &address, "--seconds", &seconds.to_string()]);
    let printed = Running::start(&mut client)?.finish(limit(seconds));
    // What the server complains of is why the client fails.
    server.finish(limit(0.0)).context("server")?;
    checked(subject, parse(&printed.context("client")?)?)
}
