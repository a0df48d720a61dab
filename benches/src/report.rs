//! A table for people, JSON for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::goal;
use crate::host::Machine;
use crate::metric::{Better, Metric, Samples, VPOD};
use crate::subject::Peer;
use crate::workload::WORKLOADS;

/// Prints one JSON object per metric.
pub(crate) fn print_json(metrics: &[Metric]) -> Result<()> {
    for metric in metrics {
        println!("{}", serde_json::to_string(metric)?);
    }
    Ok(())
}

/// Writes all metrics into one file.
pub(crate) fn save(path: &Path, machine: &Machine, metrics: &[Metric]) -> Result<()> {
    #[derive(Serialize)]
    struct Run<'a> {
        machine: &'a Machine,
        metrics: &'a [Metric],
    }
    Ok(serde_json::to_writer_pretty(File::create(path)?, &Run { machine, metrics })?)
}

/// Prints one row per metric, one column per subject, and what was not measured.
pub(crate) fn print_table(metrics: &[Metric]) {
    let measured: Vec<_> = metrics.iter().filter(|metric| !metric.subjects.is_empty()).cloned().collect();
    for (peers, metrics) in tables(&measured) {
        println!("{}\n", table(&peers, metrics));
    }
    println!("Medians; in parentheses vpod's range, and beside each peer's median: vpod ÷ peer.");
    println!("↑ more is better, ↓ less is better.");
    for line in skipped(metrics).into_iter().chain(goal::lines(metrics)) {
        println!("{line}");
    }
}

/// Peers that appear: those of `--peers` in the order of `list`, then those that a workload brings with it.
pub(crate) fn peers(metrics: &[Metric]) -> Vec<&str> {
    let all: BTreeSet<&str> = metrics.iter().flat_map(|m| m.subjects.keys()).map(String::as_str).collect();
    let listed = Peer::ALL.map(Peer::name);
    let own = all.iter().copied().filter(|name| *name != VPOD && !listed.contains(name));
    listed.into_iter().filter(|name| all.contains(name)).chain(own).collect()
}

/// Workloads with the same peers make one table, so that none has columns without figures.
fn tables(mut metrics: &[Metric]) -> Vec<(Vec<&str>, &[Metric])> {
    let mut tables = Vec::new();
    while let Some(first) = metrics.first() {
        let of = |first: &Metric, metrics: &[Metric]| {
            metrics.iter().take_while(|metric| metric.workload == first.workload).count()
        };
        let mut count = of(first, metrics);
        let wanted = peers(&metrics[..count]);
        while let Some(next) = metrics.get(count) {
            let more = of(next, &metrics[count..]);
            if peers(&metrics[count..count + more]) != wanted {
                break;
            }
            count += more;
        }
        let (one, rest) = metrics.split_at(count);
        tables.push((wanted, one));
        metrics = rest;
    }
    tables
}

fn table(peers: &[&str], metrics: &[Metric]) -> Table {
    let mut table = plain_table();
    let fixed = ["WORKLOAD", "METRIC", "UNIT", "VPOD"].map(str::to_owned);
    table.set_header(fixed.into_iter().chain(peers.iter().map(|p| p.to_uppercase())));
    let mut last_workload = "";
    for metric in metrics {
        let repeated = metric.workload == last_workload;
        last_workload = &metric.workload;
        let arrow = match metric.better {
            Better::Higher => "↑",
            Better::Lower => "↓",
        };
        let fixed = [
            if repeated { String::new() } else { metric.workload.clone() },
            describe(metric),
            format!("{} {arrow}", metric.unit),
            metric.subjects.get(VPOD).map_or_else(|| "–".to_owned(), with_range),
        ];
        table.add_row(fixed.into_iter().chain(peers.iter().map(|peer| beside(metric, peer))));
    }
    for column in 3..4 + peers.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn with_range(samples: &Samples) -> String {
    let Samples { median, min, max, .. } = samples;
    format!("{} ({}–{})", number(*median), number(*min), number(*max))
}

fn beside(metric: &Metric, peer: &str) -> String {
    let Some(samples) = metric.subjects.get(peer) else { return "–".to_owned() };
    match metric.ratios.get(peer) {
        Some(ratio) => format!("{} ×{ratio:.2}", number(samples.median)),
        None => number(samples.median),
    }
}

/// The metric with those parameters that tell it from its neighbours.
pub(crate) fn describe(metric: &Metric) -> String {
    // The same for all workloads.
    let constant = |name: &str| name == "mtu" || name == "cc";
    let params: Vec<_> =
        metric.params.iter().filter(|(k, _)| !constant(k)).map(|(k, v)| format!("{k}={v}")).collect();
    if params.is_empty() {
        metric.metric.clone()
    } else {
        format!("{} ({})", metric.metric, params.join(", "))
    }
}

/// Each reason once, with the workloads it holds for.
fn skipped(metrics: &[Metric]) -> Vec<String> {
    let mut workloads: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for metric in metrics {
        for (peer, reason) in &metric.skipped {
            let of_reason = workloads.entry((peer, reason)).or_default();
            if of_reason.last() != Some(&metric.workload.as_str()) {
                of_reason.push(&metric.workload);
            }
        }
    }
    let line = |((peer, reason), workloads): (&(&str, &str), &Vec<&str>)| {
        format!("not measured: {peer} in {}: {reason}", workloads.join(", "))
    };
    workloads.iter().map(line).collect()
}

/// Three or four significant digits, without an exponent.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Prints workloads and peers.
pub(crate) fn list() {
    let mut table = plain_table();
    table.set_header(["WORKLOAD", "WHAT IT MEASURES"]);
    for workload in WORKLOADS {
        table.add_row([workload.name, workload.description]);
    }
    println!("{table}\n");
    let mut table = plain_table();
    table.set_header(["PEER", "WHAT IT IS"]);
    for peer in Peer::ALL {
        table.add_row([peer.name(), peer.description()]);
    }
    println!("{table}");
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(workload: &str, peer: &str) -> Metric {
        let samples = [VPOD, peer].map(|name| (name.to_owned(), vec![1.0]));
        Metric::new(workload, "rate", "1/s", Better::Higher, samples)
    }

    #[test]
    fn a_table_has_the_workloads_that_follow_each_other_with_the_same_peers() {
        let metrics = [metric("a", "ovs"), metric("b", "ovs"), metric("c", "bridge"), metric("d", "ovs")];
        let found: Vec<_> = tables(&metrics).into_iter().map(|(peers, rows)| (peers, rows.len())).collect();
        assert_eq!(found, [(vec!["ovs"], 2), (vec!["bridge"], 1), (vec!["ovs"], 1)]);
    }
}
