//! `vpod-bench`: measures vpod beside what people use today, in one run.
//!
//! Absolute figures of a shared machine say little; ratios of two systems measured in turn say a
//! lot. So every workload runs each subject A B A B …, with the same MTU, congestion control and
//! tools, and reports medians, spread and the ratio to each peer. The harness sets every subject
//! up by itself, in namespaces of its own, and leaves nothing behind.

mod bed;
mod goal;
mod host;
mod load;
mod metric;
mod plot;
mod report;
mod subject;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::host::{Machine, Stolen};
use crate::subject::{Peer, Sabotage, Settings};
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
    /// One end of some traffic; used by the harness inside the namespaces.
    #[command(subcommand, hide = true)]
    Load(load::Load),
}

#[derive(clap::Args)]
struct Run {
    /// Workloads to run (see `vpod-bench list`), or "all".
    #[arg(required = true, value_name = "WORKLOAD", value_parser = parse_workload)]
    workloads: Vec<Selection>,
    /// Peers to measure beside vpod, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "PEER,…", default_value = "bridge")]
    peers: Vec<Peer>,
    /// Measure vpod alone.
    #[arg(long, conflicts_with = "peers")]
    no_peers: bool,
    /// Measure the peers alone.
    #[arg(long, conflicts_with = "no_peers")]
    only_peers: bool,
    /// How often each subject is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of one sample.
    #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Numbers of idle pods that `scale-pods` measures with.
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_values_t = [10, 100, 250])]
    idle_pods: Vec<usize>,
    /// Numbers of services that the workloads with services measure with; 10000 take kube-proxy's rules
    /// minutes to load.
    #[arg(long, value_delimiter = ',', value_name = "N,…", default_values_t = [1, 1000], value_parser = clap::value_parser!(u32).range(1..=50_000))]
    services: Vec<u32>,
    /// Print one JSON object per workload and metric instead of the table.
    #[arg(long)]
    json: bool,
    /// Draw the ratios into this file.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Write everything into this file, with what is known of the machine.
    #[arg(long, value_name = "FILE.json")]
    save: Option<PathBuf>,
    /// Directory of another build (its `vswitchd` and `vpodctl`), measured as the peer "base".
    #[arg(long, value_name = "DIRECTORY")]
    base: Option<PathBuf>,
    /// Make the pump damage what it carries; the run must fail.
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

/// What one word stands for: a workload, or all of them.
#[derive(Clone, Copy)]
struct Selection(&'static [Workload]);

fn parse_workload(name: &str) -> Result<Selection, String> {
    if name == "all" {
        return Ok(Selection(WORKLOADS));
    }
    let found = WORKLOADS.iter().find(|w| w.name == name).map(std::slice::from_ref);
    found.map(Selection).ok_or_else(|| {
        let known: Vec<_> = WORKLOADS.iter().map(|w| w.name).collect();
        format!("known workloads are {}, and \"all\"", known.join(", "))
    })
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=60.0).contains(&seconds) { Ok(seconds) } else { Err("want 0.1 to 60 seconds".to_owned()) }
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
        Command::Load(load) => load::run(&load),
        Command::Run(run) => measure(run),
    }
}

fn measure(run: Run) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "vpod-bench makes network namespaces: run it as root");
    host::stop_on_signals()?;
    let options = run.options()?;
    let machine = Machine::describe();
    eprintln!("{}", machine.line());
    let (mut metrics, mut beds, mut stolen) = (Vec::new(), None, Vec::new());
    for workload in run.workloads.iter().flat_map(|selection| selection.0) {
        let taken = Stolen::since_now()?;
        let measured =
            workload.run(&options, &mut beds).with_context(|| format!("workload {}", workload.name))?;
        stolen.push(format!("{} {:.1} %", workload.name, taken.percent()?));
        if run.json {
            report::print_json(&measured)?;
        }
        metrics.extend(measured);
    }
    if !run.json {
        println!("{}\n", machine.line());
        report::print_table(&metrics);
        println!("\nTaken from this machine by its host meanwhile: {}", stolen.join(", "));
    }
    if let Some(path) = &run.save {
        report::save(path, &machine, &metrics).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &run.plot {
        plot::draw(path, &machine, &metrics).with_context(|| format!("drawing {}", path.display()))?;
    }
    Ok(())
}

impl Run {
    fn options(&self) -> Result<Options> {
        let mut peers = if self.no_peers { Vec::new() } else { self.peers.clone() };
        if self.base.is_some() && !peers.contains(&Peer::Base) {
            peers.push(Peer::Base);
        }
        ensure!(
            self.sabotage.is_none() || peers.contains(&Peer::Pump),
            "--sabotage is for the pump: add it to --peers"
        );
        Ok(Options {
            rounds: self.rounds,
            seconds: self.seconds,
            peers,
            settings: Settings { base: self.base.clone(), sabotage: self.sabotage },
            only_peers: self.only_peers,
            idle_pods: self.idle_pods.clone(),
            services: self.services.clone(),
        })
    }
}
