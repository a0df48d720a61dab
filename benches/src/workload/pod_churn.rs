//! Pods made and removed, one after the other: vpod over its admin socket, each peer by the commands
//! its users would run (`ip`, `ovs-vsctl`, `vde_plug2tap`).

use std::time::Instant;

use anyhow::Result;

use super::Options;
use crate::bed::{Bed, Kind};
use crate::host::check_stop;
use crate::metric::{Better, Metric};
use crate::subject::Subject;

pub(super) const NAME: &str = "pod-churn";

/// Pods that stay while others come and go.
const STANDING_PODS: usize = 2;

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let mut bed = Bed::set_up(options, STANDING_PODS)?;
    let measured = bed.rounds(
        options.rounds,
        NAME,
        |rate| format!("{rate:.1} pods/s"),
        |subject| measure(subject, options.seconds),
    )?;
    let kind = Kind { workload: NAME, name: "made and removed", unit: "pods/s", better: Better::Higher };
    Ok(vec![measured.metric(kind, |rate| *rate)])
}

fn measure(subject: &mut dyn Subject, seconds: f64) -> Result<f64> {
    let started = Instant::now();
    let mut pods = 0_u32;
    while started.elapsed().as_secs_f64() < seconds {
        check_stop()?;
        subject.add_pod()?;
        subject.remove_pod()?;
        pods += 1;
    }
    Ok(f64::from(pods) / started.elapsed().as_secs_f64())
}
