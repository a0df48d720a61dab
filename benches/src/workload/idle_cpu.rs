//! What a daemon costs that has nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Options;
use crate::host::{check_stop, process_cpu_seconds, progress};
use crate::metric::{Better, Metric, VPOD};
use crate::subject::Vpod;

const PODS: u32 = 50;
/// New pods still exchange a few frames with the node; let them fall silent.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let mut vpod = Vpod::start()?;
    for n in 0..PODS {
        check_stop()?;
        vpod.create_pod(&format!("idle-{n}"))?;
    }
    progress(&format!("{PODS} pods created"));
    thread::sleep(SETTLE);
    let pids = vpod.pids()?;
    let mut percents = Vec::new();
    for round in 1..=options.rounds {
        check_stop()?;
        let (before, started) = (cpu_seconds(&pids)?, Instant::now());
        thread::sleep(Duration::from_secs(options.seconds.into()));
        let percent = 100.0 * (cpu_seconds(&pids)? - before) / started.elapsed().as_secs_f64();
        progress(&format!("round {round}/{}: {percent:.2} % of a core", options.rounds));
        percents.push(percent);
    }
    let metric = Metric::new(
        "idle-cpu",
        "both processes",
        "% of a core",
        Better::Lower,
        [(VPOD.to_owned(), percents)],
    );
    Ok(vec![metric.with_param("pods", PODS)])
}

fn cpu_seconds(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| process_cpu_seconds(*pid)).sum()
}
