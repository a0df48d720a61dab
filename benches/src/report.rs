//! Tables for people, JSON lines for programs.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::metric::{Better, Metric, VPOD};
use crate::subject::Peer;
use crate::workload::WORKLOADS;

/// Prints what a workload measured.
pub(crate) fn print(workload: &str, metrics: &[Metric], json: bool) -> Result<()> {
    if json {
        for metric in metrics {
            println!("{}", serde_json::to_string(metric)?);
        }
        return Ok(());
    }
    println!("{workload}");
    println!("{}\n", table(metrics));
    for (peer, reason) in metrics.iter().flat_map(|m| &m.skipped) {
        println!("not measured: {peer}: {reason}");
    }
    Ok(())
}

/// One row per metric and subject.
fn table(metrics: &[Metric]) -> Table {
    let mut table = plain_table();
    table.set_header(["METRIC", "UNIT", "SUBJECT", "MEDIAN", "MIN", "MAX", "VPOD ÷ PEER", "BETTER"]);
    for metric in metrics {
        let better = match metric.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
        };
        let ours_first = metric.subjects.iter().filter(|(name, _)| *name == VPOD);
        for (name, samples) in ours_first.chain(metric.subjects.iter().filter(|(name, _)| *name != VPOD)) {
            let ratio = metric.ratios.get(name).map_or_else(String::new, |r| format!("{r:.2}"));
            table.add_row([
                describe(metric),
                metric.unit.to_owned(),
                name.clone(),
                number(samples.median),
                number(samples.min),
                number(samples.max),
                ratio,
                better.to_owned(),
            ]);
        }
    }
    for column in 3..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn describe(metric: &Metric) -> String {
    let params: Vec<_> = metric.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if params.is_empty() {
        metric.metric.clone()
    } else {
        format!("{} ({})", metric.metric, params.join(", "))
    }
}

/// Four significant digits or so, without an exponent.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
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
