//! `vpod-bench`: measures vpod beside what people use today, in one run.
//!
//! Absolute figures of a shared machine say little; ratios of two systems measured in turn say a
//! lot. So every workload runs each subject A B A B …, with the same MTU, congestion control and
//! tools, and reports medians, spread and the ratio to each peer. The harness sets every subject
//! up by itself, in namespaces of its own, and leaves nothing behind.

mod host;
mod integrity;
mod metric;
mod report;
mod subject;
mod workload;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::subject::Peer;
use crate::workload::{Options, WORKLOADS, Workload};

/// Measure vpod beside its peers.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the workloads and the peers.
    List,
    /// Run workloads: set subjects up, measure them in turn, print medians and ratios.
    Run(Run),
    /// One end of a hashed transfer; used by the harness inside the namespaces.
    #[command(subcommand, hide = true)]
    Transfer(integrity::Transfer),
}

#[derive(clap::Args)]
struct Run {
    /// Workloads to run (see `vpod-bench list`).
    #[arg(required = true, value_name = "WORKLOAD", value_parser = parse_workload)]
    workloads: Vec<&'static Workload>,
    /// Peers to measure beside vpod.
    #[arg(long, value_delimiter = ',', default_value = "bridge")]
    peers: Vec<Peer>,
    /// How often each subject is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of one throughput measurement.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Print one JSON object per workload and metric instead of the table.
    #[arg(long)]
    json: bool,
}

fn parse_workload(name: &str) -> Result<&'static Workload, String> {
    WORKLOADS.iter().find(|w| w.name == name).ok_or_else(|| {
        let known: Vec<_> = WORKLOADS.iter().map(|w| w.name).collect();
        format!("known workloads are {}", known.join(", "))
    })
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::List => {
            report::list();
            Ok(())
        }
        Command::Transfer(end) => integrity::run(&end),
        Command::Run(run) => {
            anyhow::ensure!(
                nix::unistd::geteuid().is_root(),
                "vpod-bench makes network namespaces: run it as root"
            );
            host::stop_on_signals()?;
            let options = Options { rounds: run.rounds, seconds: run.seconds, peers: run.peers };
            for workload in run.workloads {
                let metrics =
                    (workload.run)(&options).with_context(|| format!("workload {}", workload.name))?;
                report::print(workload.name, &metrics, run.json)?;
            }
            Ok(())
        }
    }
}
