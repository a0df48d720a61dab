//! How long it takes until a new pod can talk, as a user sees it: the whole `vpodctl` process.

use std::time::Instant;

use anyhow::Result;

use super::Options;
use crate::host::{check_stop, progress};
use crate::metric::{Better, Metric, VPOD, quantile};
use crate::subject::Vpod;

pub(super) const NAME: &str = "create-pod";

/// Pods made and deleted in one round.
const PODS_PER_ROUND: u32 = 20;

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let vpod = Vpod::start()?;
    let mut rounds: [Vec<f64>; 4] = Default::default();
    for round in 1..=options.rounds {
        let (mut creates, mut deletes) = (Vec::new(), Vec::new());
        for n in 0..PODS_PER_ROUND {
            check_stop()?;
            let name = format!("pod-{round}-{n}");
            creates.push(milliseconds(|| vpod.vpodctl(&["create-pod", &name]))?);
            deletes.push(milliseconds(|| vpod.vpodctl(&["delete-pod", &name]))?);
        }
        for (values, (times, q)) in
            rounds.iter_mut().zip([(&creates, 0.5), (&creates, 0.99), (&deletes, 0.5), (&deletes, 0.99)])
        {
            values.extend(quantile(times, q));
        }
        let p50 = rounds[0].last().copied().unwrap_or_default();
        progress(&format!("{NAME}, round {round}/{}: create p50 {p50:.1} ms", options.rounds));
    }
    let names = ["create p50", "create p99", "delete p50", "delete p99"];
    let metric = |(name, values)| {
        Metric::new(NAME, name, "ms", Better::Lower, [(VPOD.to_owned(), values)])
            .with_param("pods", PODS_PER_ROUND)
    };
    Ok(names.into_iter().zip(rounds).map(metric).collect())
}

fn milliseconds(step: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    step()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
