//! One greedy pod beside polite ones. The greedy pod sends small datagrams to a victim as fast as it
//! can; ten polite pods ask another pod small questions over UDP. The polite ones should not notice:
//! the goal is to lose at most 0.1 % and to answer 99 % within 2 ms.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Options;
use super::same_node_udp::{Flood, number};
use crate::bed::{Bed, Damaged, Kind, limit};
use crate::host::{Running, pause};
use crate::load::polite::Asked;
use crate::load::{address_of, command, parse};
use crate::metric::{Better, Metric};
use crate::subject::{Pod, Subject};

pub(super) const NAME: &str = "fairness";

const POLITE_PODS: usize = 10;
const REQUESTS_PER_SECOND: u32 = 500;
/// Payload bytes of the flood.
const FLOOD_SIZE: usize = 64;
/// The flood begins so long before the first request and ends so long after the last.
const MARGIN: Duration = Duration::from_millis(300);

struct Sample {
    polite: Asked,
    flood_pps: f64,
}

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    // The pump, which connects two pods, drops out here with that reason.
    let mut bed = Bed::set_up(options, 3 + POLITE_PODS)?;
    bed.each("polite pods alone", |subject| {
        let alone = ask(subject, 0.2)?;
        ensure!(alone.asked > alone.lost, "no answer reaches the polite pods");
        Ok(())
    })?;
    let measured = bed.rounds(
        options.rounds,
        NAME,
        |s| {
            let (lost, p99) = (lost_percent(s), s.polite.latencies.p99_us / 1e3);
            format!("{lost:.2} % lost, p99 {p99:.2} ms, beside {:.0} kpps", s.flood_pps / 1e3)
        },
        |subject| measure(subject, options.seconds),
    )?;
    let metric = |name, unit, better, field: fn(&Sample) -> f64| {
        measured
            .metric(Kind { workload: NAME, name, unit, better }, field)
            .with_param("polite", POLITE_PODS)
            .with_param("requests/s", REQUESTS_PER_SECOND)
    };
    Ok(vec![
        metric("polite loss", "%", Better::Lower, lost_percent),
        metric("polite p50", "ms", Better::Lower, |s| s.polite.latencies.p50_us / 1e3),
        metric("polite p99", "ms", Better::Lower, |s| s.polite.latencies.p99_us / 1e3),
        metric("flood received", "kpps", Better::Higher, |s| s.flood_pps / 1e3),
    ])
}

fn lost_percent(sample: &Sample) -> f64 {
    100.0 * number(sample.polite.lost) / number(sample.polite.asked)
}

/// Who plays what.
struct Roles<'a> {
    greedy: &'a Pod,
    victim: &'a Pod,
    server: &'a Pod,
    polite: &'a [Pod],
}

fn roles(subject: &dyn Subject) -> Result<Roles<'_>> {
    let [greedy, victim, server, polite @ ..] = subject.pods() else {
        anyhow::bail!("too few pods");
    };
    Ok(Roles { greedy, victim, server, polite })
}

fn measure(subject: &dyn Subject, seconds: f64) -> Result<Sample> {
    let Roles { greedy, victim, .. } = roles(subject)?;
    let flood_seconds = seconds + 2.0 * MARGIN.as_secs_f64();
    let flood =
        Flood { from: greedy, to: victim, size: FLOOD_SIZE, rate: None, seconds: flood_seconds }.start()?;
    pause(MARGIN)?;
    let polite = ask(subject, seconds)?;
    let flood = flood.finish(subject)?;
    let flood_pps = number(flood.received.received) / flood.sent.seconds;
    Ok(Sample { polite, flood_pps })
}

/// Damaged or doubled answers are an error.
fn ask(subject: &dyn Subject, seconds: f64) -> Result<Asked> {
    let Roles { server, polite, .. } = roles(subject)?;
    let address = address_of(server);
    let mut echo = command(Some(server))?;
    let echo = Running::start_server(echo.args(["echo", &address])).context("echo")?;
    // It enters the pods by itself.
    let mut ask = command(None)?;
    ask.args(["polite", &address, "--rate", &REQUESTS_PER_SECOND.to_string()]);
    ask.args(["--seconds", &seconds.to_string()]).args(polite.iter().map(|pod| &pod.netns));
    let printed = Running::start(&mut ask)?.finish(limit(seconds)).context("polite pods")?;
    echo.finish(limit(0.0)).context("echo")?;
    let asked: Asked = parse(&printed)?;
    let Asked { damaged, duplicates, .. } = asked;
    if damaged > 0 || duplicates > 0 {
        let what = format!("of {} answers {damaged} are damaged, {duplicates} duplicates", asked.asked);
        return Err(Damaged::by(subject, what).into());
    }
    Ok(asked)
}
