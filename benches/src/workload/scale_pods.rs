//! Two pods that talk among many that do not: does a switch get slower, or do idle pods cost?

use std::time::Duration;

use anyhow::Result;

use super::{Options, same_node_rr, tcp_stream};
use crate::bed::{Bed, Kind};
use crate::host::{pause, process_cpu_seconds};
use crate::metric::{Better, Metric};

pub(super) const NAME: &str = "scale-pods";

/// New pods still exchange a few frames; let them fall silent.
const SETTLE: Duration = Duration::from_secs(2);
/// The kernel counts CPU time in ticks of 10 ms.
const IDLE_SAMPLE: Duration = Duration::from_secs(2);

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let mut bed = Bed::set_up(options, 2)?;
    let mut metrics = Vec::new();
    // Only ever more pods: smallest first.
    let mut counts = options.idle_pods.clone();
    counts.sort_unstable();
    for idle in counts {
        bed.grow(2 + idle)?;
        pause(SETTLE)?;
        metrics
            .extend(measure(&mut bed, options, idle)?.into_iter().map(|m| m.with_param("idle pods", idle)));
    }
    Ok(metrics)
}

fn measure(bed: &mut Bed, options: &Options, idle: usize) -> Result<Vec<Metric>> {
    let what = |metric: &str| format!("{NAME}, {idle} idle, {metric}");
    // A switch in the kernel has no process.
    let idle_cpu = bed.at_rest(options.rounds, IDLE_SAMPLE, &what("cpu of the idle switch"), |subject| {
        process_cpu_seconds(&subject.processes()?)
    })?;
    let streams = bed.rounds(
        options.rounds,
        &what("throughput"),
        |sample: &tcp_stream::Sample| format!("{:.2} Gbit/s", sample.gigabits_per_second),
        |subject| tcp_stream::measure(subject, 1, options.seconds),
    )?;
    let requests = bed.rounds(
        options.rounds,
        &what("requests"),
        |answered| format!("{:.0}/s", same_node_rr::rate(answered)),
        |subject| same_node_rr::measure(subject, 1, None, options.seconds),
    )?;
    let kind = Kind { workload: NAME, name: "idle cpu", unit: "% of a core", better: Better::Lower };
    let mut metrics = vec![idle_cpu.metric(kind, |cores| cores * 100.0)];
    metrics.extend(tcp_stream::metrics(NAME, &streams, 1));
    metrics.extend(same_node_rr::describe(NAME, &requests));
    Ok(metrics)
}
