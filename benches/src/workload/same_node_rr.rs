//! TCP requests and answers between two pods, one at a time: the price of a packet's whole way.
//!
//! Free, every process runs where the scheduler puts it, and on a virtual machine much of a round
//! trip is the wake-up of another core. On one core no core is woken, and what remains is the work.

use anyhow::{Context, Result};

use super::Options;
use crate::bed::{Bed, Damaged, Kind, Measured, limit};
use crate::host::{Pinned, Running};
use crate::load::rr::Answered;
use crate::load::{address_of, command, parse};
use crate::metric::{Better, Metric};
use crate::subject::{IP_MTU, Subject};

pub(super) const NAME: &str = "same-node-rr";

/// Payload bytes of a request, and of its answer.
const SIZES: [usize; 2] = [1, 1024];
/// The core of the pinned runs. Not the first, which often has the interrupts.
const CORE: usize = 1;

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    measure_all(NAME, Bed::set_up(options, 2)?, options, &SIZES)
}

/// The same for any two pods.
pub(super) fn measure_all(
    name: &'static str,
    mut bed: Bed,
    options: &Options,
    sizes: &[usize],
) -> Result<Vec<Metric>> {
    let several = std::thread::available_parallelism()?.get() > CORE;
    let core = if several { CORE } else { 0 };
    let mut metrics = Vec::new();
    for &size in sizes {
        for (cores, core) in [("all", None), ("one", Some(core))] {
            let measured = bed.rounds(
                options.rounds,
                &format!("{name}, {size} bytes, {cores} core(s)"),
                |answered| format!("{:.0}/s, p99 {:.0} µs", rate(answered), answered.latencies.p99_us),
                |subject| measure(subject, size, core, options.seconds),
            )?;
            let of_run = |m: Metric| m.with_param("bytes", size).with_param("cores", cores);
            metrics.extend(describe(name, &measured).map(of_run));
        }
    }
    Ok(metrics)
}

/// Requests per second.
pub(super) fn rate(answered: &Answered) -> f64 {
    super::same_node_udp::number(answered.latencies.count) / answered.seconds
}

pub(super) fn describe(
    workload: &'static str,
    measured: &Measured<Answered>,
) -> impl Iterator<Item = Metric> {
    let metric = |name, unit, better, field: fn(&Answered) -> f64| {
        measured.metric(Kind { workload, name, unit, better }, field).with_param("mtu", IP_MTU)
    };
    [
        metric("rate", "requests/s", Better::Higher, rate),
        metric("p50", "µs", Better::Lower, |a| a.latencies.p50_us),
        metric("p99", "µs", Better::Lower, |a| a.latencies.p99_us),
    ]
    .into_iter()
}

pub(super) fn measure(
    subject: &dyn Subject,
    size: usize,
    core: Option<usize>,
    seconds: f64,
) -> Result<Answered> {
    // All threads of the switch, for the length of this sample.
    let _pinned = core.map(|core| Pinned::to(core, subject.processes()?)).transpose()?;
    let core = core.map(|core| ["--core".to_owned(), core.to_string()]);
    let core = core.iter().flatten();
    let (address, size) = (address_of(subject.server()), size.to_string());
    let mut server = command(Some(subject.server()))?;
    server.args(["serve", &address, "--size", &size]).args(core.clone());
    let server = Running::start_server(&mut server).context("server")?;
    let mut client = command(Some(subject.client()))?;
    client.args(["rr", &address, "--size", &size, "--seconds", &seconds.to_string()]).args(core);
    let printed = Running::start(&mut client)?.finish(limit(seconds)).context("client")?;
    server.finish(limit(0.0)).context("server")?;
    checked(subject, parse(&printed)?)
}

/// Answers that differ from their requests are an error.
pub(super) fn checked(subject: &dyn Subject, answered: Answered) -> Result<Answered> {
    let Answered { damaged, .. } = answered;
    if damaged > 0 {
        let what = format!("{damaged} of {} answers differ from their request", answered.latencies.count);
        return Err(Damaged::by(subject, what).into());
    }
    Ok(answered)
}
