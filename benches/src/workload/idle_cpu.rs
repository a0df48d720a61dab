//! What a daemon costs that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Options;
use crate::host::{check_stop, pause, process_cpu_seconds, progress};
use crate::metric::{Better, Metric, VPOD};
use crate::subject::{Subject, Vpod};

pub(super) const NAME: &str = "idle-cpu";

const PODS: u32 = 50;
/// New pods still exchange a few frames with the node; let them fall silent.
const SETTLE: Duration = Duration::from_secs(3);
/// The kernel counts CPU time in ticks of 10 ms.
const SHORTEST_SAMPLE: Duration = Duration::from_secs(2);

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let mut vpod = Vpod::start()?;
    for _ in 0..PODS {
        check_stop()?;
        vpod.add_pod()?;
    }
    progress(&format!("{PODS} pods created"));
    pause(SETTLE)?;
    let pids = vpod.processes()?;
    let mut percents = Vec::new();
    for round in 1..=options.rounds {
        check_stop()?;
        let (before, started) = (process_cpu_seconds(&pids)?, Instant::now());
        pause(Duration::from_secs_f64(options.seconds).max(SHORTEST_SAMPLE))?;
        let percent = 100.0 * (process_cpu_seconds(&pids)? - before) / started.elapsed().as_secs_f64();
        progress(&format!("{NAME}, round {round}/{}: {percent:.2} % of a core", options.rounds));
        percents.push(percent);
    }
    let metric =
        Metric::new(NAME, "both processes", "% of a core", Better::Lower, [(VPOD.to_owned(), percents)]);
    Ok(vec![metric.with_param("pods", PODS)])
}
