//! How quickly changes of services reach the datapath, and what services cost in memory.
//!
//! For vpod a load is a new datapath process that is told everything, and a start one of the whole daemon,
//! which reads its store; for kube-proxy's rules a load is the program that writes them all, without
//! kube-proxy's own work before it. A change moves one endpoint, and the next connection has to follow it.

use std::time::Duration;

use anyhow::Result;

use super::{Published, ServiceBeds, check_moved, with_counts};
use crate::bed::{Kind, Measured};
use crate::metric::{Better, Metric};
use crate::subject::services::{SERVERS, Services};
use crate::subject::{Programmed, Subject};
use crate::workload::Options;

pub(crate) const NAME: &str = "program";

/// Where loading takes the peers minutes, how long it took to publish counts: it is the same.
const MANY: u32 = 2000;
/// Changes of one sample to each server; their median counts.
const CHANGES: usize = 2;

struct Sample {
    load: Option<Duration>,
    start: Option<Duration>,
    change: Programmed,
}

pub(crate) fn run(options: &Options, beds: &mut ServiceBeds) -> Result<Vec<Metric>> {
    let measured = beds.rounds(
        options.rounds,
        NAME,
        |sample: &Sample| {
            let load = sample.load.map_or_else(String::new, |load| format!("load {load:.1?}, "));
            format!("{load}change {:.1?}, {:.1?} since heard of", sample.change.asked, sample.change.heard)
        },
        measure,
    )?;
    let mut metrics = with_counts(&measured, describe);
    for sized in &beds.0 {
        let published = memory(&sized.published).into_iter().chain(loads(&sized.published, sized.count));
        metrics.extend(published.map(|metric| metric.with_param("services", sized.count)));
    }
    metrics.retain(|metric| !metric.subjects.is_empty());
    Ok(metrics)
}

fn measure(subject: &mut dyn Subject, services: &Services, _: u32) -> Result<Sample> {
    let has_program = !subject.processes()?.is_empty();
    let few = services.all().count() <= MANY as usize;
    let load = if has_program || few { Some(subject.reload()?) } else { None };
    let start = subject.restart()?;
    let mut changes = Vec::new();
    // It ends where it began.
    for server in (0..SERVERS).rev().cycle().take(CHANGES * SERVERS) {
        changes.push(subject.move_endpoint(server)?);
    }
    check_moved(subject, services, 0)?;
    let middle = |field: fn(&Programmed) -> Duration| {
        let mut times: Vec<Duration> = changes.iter().map(field).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let change = Programmed { asked: middle(|c| c.asked), heard: middle(|c| c.heard) };
    Ok(Sample { load, start, change })
}

const fn kind(name: &'static str, unit: &'static str) -> Kind {
    Kind { workload: NAME, name, unit, better: Better::Lower }
}

fn describe(measured: &Measured<Sample>) -> Vec<Metric> {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    vec![
        measured.metric(kind("one change, since heard of", "ms"), |s| s.change.heard.as_secs_f64() * 1e3),
        measured.metric(kind("one change, since asked for", "ms"), |s| s.change.asked.as_secs_f64() * 1e3),
        measured.metric_of_some(kind("load of all", "s"), |s| seconds(s.load)),
        measured.metric_of_some(kind("start", "s"), |s| seconds(s.start)),
    ]
}

/// What was published counts as a load where it is one and was not repeated.
fn loads(published: &Measured<Published>, count: u32) -> Vec<Metric> {
    let is_load = |one: &Published| one.before.len() == 1 && count >= MANY;
    let seconds = |one: &Published| one.took.as_secs_f64();
    vec![
        published.metric_of_some(kind("load of all, once", "s"), |one| is_load(one).then(|| seconds(one))),
        published.metric(kind("publishing all, once", "s"), seconds),
    ]
}

fn memory(published: &Measured<Published>) -> Vec<Metric> {
    #[expect(clippy::cast_precision_loss, reason = "bytes of a machine are below 2^52")]
    let growth = |one: &Published, of: usize| {
        let (before, after) = (one.before.get(of)?, one.after.get(of)?);
        Some(after.saturating_sub(*before) as f64)
    };
    let all = |one: &Published| (0..one.before.len()).filter_map(|of| growth(one, of)).sum::<f64>();
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let of_endpoint = |one: &Published| Some(growth(one, 1)? / one.endpoints as f64);
    #[expect(clippy::cast_precision_loss, reason = "bytes of a machine are below 2^52")]
    let mebibytes = |one: &Published, of: usize| Some(*one.after.get(of)? as f64 / f64::from(1 << 20));
    let is_program = |one: &&Published| one.after.len() > 1;
    vec![
        published.metric(kind("memory of all services", "MiB"), |one| all(one) / f64::from(1 << 20)),
        published.metric_of_some(kind("datapath's memory of an endpoint", "B"), of_endpoint),
        published.metric_of_some(kind("control process", "MiB RSS"), |one| {
            Some(one).filter(is_program).and_then(|one| mebibytes(one, 0))
        }),
        published.metric_of_some(kind("datapath process", "MiB RSS"), |one| mebibytes(one, 1)),
    ]
}
