//! TCP connections between two pods, one at a time, with one request each: the price of a flow.

use anyhow::{Context, Result};

use super::Options;
use super::same_node_rr::{checked, describe, rate};
use crate::bed::{Bed, limit};
use crate::host::Running;
use crate::load::rr::Answered;
use crate::load::{address_of, command, parse};
use crate::metric::Metric;
use crate::subject::Subject;

pub(super) const NAME: &str = "same-node-crr";

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let mut bed = Bed::set_up(options, 2)?;
    let measured = bed.rounds(
        options.rounds,
        NAME,
        |answered| format!("{:.0} connections/s, p99 {:.0} µs", rate(answered), answered.latencies.p99_us),
        |subject| measure(subject, options.seconds),
    )?;
    Ok(describe(NAME, &measured).map(|metric| metric.with_param("bytes", 1)).collect())
}

pub(super) fn measure(subject: &dyn Subject, seconds: f64) -> Result<Answered> {
    let address = address_of(subject.server());
    let mut server = command(Some(subject.server()))?;
    server.args(["serve", &address, "--size", "1", "--close"]);
    let server = Running::start_server(&mut server).context("server")?;
    let mut client = command(Some(subject.client()))?;
    client.args(["crr", &address, "--seconds", &seconds.to_string()]);
    let printed = Running::start(&mut client)?.finish(limit(seconds)).context("client")?;
    server.finish(limit(0.0)).context("server")?;
    checked(subject, parse(&printed)?)
}
