//! Datagrams between two pods of one node.
//!
//! Two rates are of interest: what a subject delivers when it is given more than it can carry, and
//! the highest rate at which it loses next to nothing (RFC 2544 §26.1, with a tolerance). The
//! second is found by halving the interval between zero and the first.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use super::Options;
use crate::bed::{Bed, Damaged, Kind, Measured, limit};
use crate::host::{Running, check_stop, machine_cpu_seconds};
use crate::load::flood::Sent;
use crate::load::sink::Received;
use crate::load::{address_of, command, parse};
use crate::metric::{Better, Metric};
use crate::subject::{IP_MTU, Pod, Subject};

pub(super) const NAME: &str = "same-node-udp";

/// Payload bytes.
const SIZES: [usize; 2] = [64, 1400];
/// Of the datagrams that show that any arrive.
const SLOW_SIZE: usize = 64;
/// Share of datagrams that may be lost at the rate that is searched for.
const TOLERATED_LOSS: f64 = 0.001;
/// Halvings: the rate found is within 1/64 of the bound.
const STEPS: u32 = 6;
/// Length of one step, as a share of a sample's.
const STEP_LENGTH: f64 = 0.3;
/// On a shared machine one loss may be another program's fault; a rate is refused when it fails
/// this often.
const TRIES: u32 = 2;

struct Sample {
    lossless_pps: f64,
    overload_pps: f64,
    offered_pps: f64,
    /// Lost because the receiving program was too slow, not on the way.
    overruns_percent: f64,
    cpu_seconds_per_million: f64,
}

/// What both ends say about one trial.
pub(super) struct Trial {
    pub(super) sent: Sent,
    pub(super) received: Received,
    pub(super) cpu_seconds: f64,
}

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
    // Also resolves addresses, so that no measured datagram waits for that.
    bed.each("numbered datagrams, slowly", |subject| {
        let slow = trial(subject, SLOW_SIZE, Some(1000.0), 0.1)?;
        ensure!(slow.received.received > 0, "no datagram arrives");
        Ok(())
    })?;
    let mut metrics = Vec::new();
    for &size in sizes {
        let measured = bed.rounds(
            options.rounds,
            &format!("{name}, {size} bytes"),
            |sample: &Sample| {
                format!(
                    "{:.0} kpps at {} % loss at most, {:.0} of {:.0} kpps under overload",
                    sample.lossless_pps / 1e3,
                    TOLERATED_LOSS * 100.0,
                    sample.overload_pps / 1e3,
                    sample.offered_pps / 1e3
                )
            },
            |subject| measure(subject, size, options.seconds),
        )?;
        metrics.extend(describe(name, &measured, size));
    }
    Ok(metrics)
}

fn describe(workload: &'static str, measured: &Measured<Sample>, size: usize) -> Vec<Metric> {
    let metric = |name, unit, better, field: fn(&Sample) -> f64| {
        let kind = Kind { workload, name, unit, better };
        measured.metric(kind, field).with_param("payload", size).with_param("mtu", IP_MTU)
    };
    vec![
        metric("rate at ≤ 0.1 % loss", "kpps", Better::Higher, |s| s.lossless_pps / 1e3),
        metric("received under overload", "kpps", Better::Higher, |s| s.overload_pps / 1e3),
        metric("offered under overload", "kpps", Better::Higher, |s| s.offered_pps / 1e3),
        metric("overruns of the receiver", "%", Better::Lower, |s| s.overruns_percent),
        metric("cpu under overload", "CPU s/Mpacket", Better::Lower, |s| s.cpu_seconds_per_million),
    ]
}

fn measure(subject: &dyn Subject, size: usize, seconds: f64) -> Result<Sample> {
    let overload = trial(subject, size, None, seconds)?;
    let (sent, received) = (number(overload.sent.sent), number(overload.received.received));
    ensure!(overload.received.received > 1 && overload.received.seconds > 0.0, "nothing arrived");
    let overload_pps = received / overload.received.seconds;
    Ok(Sample {
        lossless_pps: search(subject, size, overload_pps, seconds * STEP_LENGTH)?,
        overload_pps,
        offered_pps: sent / overload.sent.seconds,
        overruns_percent: 100.0 * number(overload.received.overruns) / sent,
        cpu_seconds_per_million: overload.cpu_seconds / received * 1e6,
    })
}

/// The highest rate found that loses no more than tolerated.
fn search(subject: &dyn Subject, size: usize, bound: f64, seconds: f64) -> Result<f64> {
    // What arrives under overload may be less than what could: dropping costs as well.
    let (mut good, mut bad) = (0.0, bound * 1.25);
    let mut found: f64 = 0.0;
    for _ in 0..STEPS {
        let rate = (good + bad) / 2.0;
        match passes(subject, size, rate, seconds)? {
            Some(delivered) => {
                good = rate;
                found = found.max(delivered);
            }
            None => bad = rate,
        }
    }
    Ok(found)
}

/// The rate at which datagrams arrived, if next to none was lost in one of the tries.
fn passes(subject: &dyn Subject, size: usize, rate: f64, seconds: f64) -> Result<Option<f64>> {
    for _ in 0..TRIES {
        check_stop()?;
        let trial = trial(subject, size, Some(rate), seconds)?;
        let (sent, received) = (number(trial.sent.sent), number(trial.received.received));
        if sent > 0.0 && received >= sent * (1.0 - TOLERATED_LOSS) {
            return Ok(Some(received / trial.sent.seconds));
        }
    }
    Ok(None)
}

/// Sends from the client to the server.
fn trial(subject: &dyn Subject, size: usize, rate: Option<f64>, seconds: f64) -> Result<Trial> {
    let (client, server) = (subject.client(), subject.server());
    let run = Flood { from: client, to: server, size, rate, seconds }.start()?;
    run.finish(subject)
}

/// A stream of datagrams from one pod to another.
pub(super) struct Flood<'a> {
    pub(super) from: &'a Pod,
    pub(super) to: &'a Pod,
    pub(super) size: usize,
    pub(super) rate: Option<f64>,
    pub(super) seconds: f64,
}

/// One that runs.
pub(super) struct RunningFlood {
    sender: Running,
    sink: Running,
    cpu_before: f64,
    seconds: f64,
}

impl Flood<'_> {
    pub(super) fn start(&self) -> Result<RunningFlood> {
        static RUNS: AtomicU64 = AtomicU64::new(1);
        let run = RUNS.fetch_add(1, Ordering::Relaxed).to_string();
        let (address, size) = (address_of(self.to), self.size.to_string());
        let mut sink = command(Some(self.to))?;
        sink.args(["sink", &address, "--run", &run, "--size", &size]);
        let sink = Running::start_server(&mut sink).context("sink")?;
        let cpu_before = machine_cpu_seconds()?;
        let mut flood = command(Some(self.from))?;
        flood.args([
            "flood",
            &address,
            "--run",
            &run,
            "--size",
            &size,
            "--seconds",
            &self.seconds.to_string(),
        ]);
        if let Some(rate) = self.rate {
            flood.args(["--rate", &rate.to_string()]);
        }
        Ok(RunningFlood { sender: Running::start(&mut flood)?, sink, cpu_before, seconds: self.seconds })
    }
}

impl RunningFlood {
    /// Waits for its end. Damaged or doubled datagrams are an error.
    pub(super) fn finish(self, subject: &dyn Subject) -> Result<Trial> {
        let sent: Sent = parse(&self.sender.finish(limit(self.seconds)).context("flood")?)?;
        let cpu_seconds = machine_cpu_seconds()? - self.cpu_before;
        let received: Received = parse(&self.sink.finish(limit(0.0)).context("sink")?)?;
        let Received { damaged, duplicates, .. } = received;
        if damaged > 0 || duplicates > 0 || received.received > sent.sent {
            let (got, sent) = (received.received, sent.sent);
            let what =
                format!("of {sent} datagrams {got} arrived, {damaged} damaged, {duplicates} duplicates");
            return Err(Damaged::by(subject, what).into());
        }
        Ok(Trial { sent, received, cpu_seconds })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of datagrams are far below 2^52")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}
