//! TCP connections through a service, one at a time, with one request each: the price of a translated flow.

use anyhow::{Context, Result};

use super::{ServiceBeds, finish, start_servers, with_counts};
use crate::bed::limit;
use crate::host::Running;
use crate::load::rr::Answered;
use crate::load::{command, parse};
use crate::metric::Metric;
use crate::subject::Subject;
use crate::subject::services::Services;
use crate::workload::Options;
use crate::workload::same_node_rr::{checked, describe, rate};

pub(crate) const NAME: &str = "service-crr";

pub(crate) fn run(options: &Options, beds: &mut ServiceBeds) -> Result<Vec<Metric>> {
    let measured = beds.rounds(
        options.rounds,
        NAME,
        |answered| format!("{:.0} connections/s, p99 {:.0} µs", rate(answered), answered.latencies.p99_us),
        |subject, services, _| measure(subject, services, options.seconds),
    )?;
    Ok(with_counts(&measured, |measured| describe(NAME, measured).collect()))
}

fn measure(subject: &dyn Subject, services: &Services, seconds: f64) -> Result<Answered> {
    let servers = start_servers(subject, "serve", &["--size", "1", "--close"])?;
    let mut client = command(Some(subject.client()))?;
    client.args(["crr", &services.middle().to_string(), "--seconds", &seconds.to_string()]);
    let printed = Running::start(&mut client)?.finish(limit(seconds)).context("client")?;
    finish(servers)?;
    checked(subject, parse(&printed)?)
}
