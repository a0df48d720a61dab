//! How long a flow's first packet takes through a service, there and back, to services all over the list.

use anyhow::{Context, Result};

use super::{ServiceBeds, finish, start_servers, with_counts};
use crate::bed::{Kind, Measured, limit};
use crate::host::Running;
use crate::load::rr::Answered;
use crate::load::{command, parse};
use crate::metric::{Better, Metric};
use crate::subject::Subject;
use crate::subject::services::{Protocol, Services};
use crate::workload::Options;
use crate::workload::same_node_rr::checked;

pub(crate) const NAME: &str = "first-packet";

pub(crate) fn run(options: &Options, beds: &mut ServiceBeds) -> Result<Vec<Metric>> {
    let mut metrics = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let name = protocol.name();
        let measured = beds.rounds(
            options.rounds,
            &format!("{NAME}, {name}"),
            |Answered { latencies, .. }| {
                format!("p50 {:.1} µs, p99 {:.0} µs", latencies.p50_us, latencies.p99_us)
            },
            |subject, services, _| measure(subject, services, protocol, options.seconds),
        )?;
        metrics.extend(with_counts(&measured, describe).into_iter().map(|m| m.with_param("protocol", name)));
    }
    Ok(metrics)
}

fn describe(measured: &Measured<Answered>) -> Vec<Metric> {
    let kind = |name| Kind { workload: NAME, name, unit: "µs", better: Better::Lower };
    vec![
        measured.metric(kind("p50"), |answered| answered.latencies.p50_us),
        measured.metric(kind("p99"), |answered| answered.latencies.p99_us),
    ]
}

fn measure(subject: &dyn Subject, services: &Services, protocol: Protocol, seconds: f64) -> Result<Answered> {
    let (server, server_options, client_options): (_, &[&str], &[&str]) = match protocol {
        Protocol::Tcp => ("serve", &["--size", "1", "--close"], &[]),
        Protocol::Udp => ("echo", &[], &["--udp"]),
    };
    let servers = start_servers(subject, server, server_options)?;
    let mut client = command(Some(subject.client()))?;
    client.arg("first").args(services.live().iter().map(ToString::to_string)).args(client_options);
    client.args(["--seconds", &seconds.to_string()]);
    let printed = Running::start(&mut client)?.finish(limit(seconds)).context("client")?;
    finish(servers)?;
    checked(subject, parse(&printed)?)
}
