//! `vswitchd`: the daemon. One command that is several processes.
//!
//! Without a subcommand it is the control process ([`control`]): it keeps the desired state, makes
//! namespaces, TAPs and containers, and answers `vpodctl`. It starts the others itself: the datapath
//! ([`datapath_process`]), which sees every packet, and one supervisor per container
//! ([`container_shim`]).

mod config;
mod container_shim;
mod control;
mod datapath_process;
mod descriptors;
mod log;
mod process_identity;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// The vpod daemon: pods on a userspace switch.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    /// Configuration file (TOML) [default: /etc/vswitchd.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// This node's name, instead of the configured one
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Print the effective configuration and exit
    #[arg(long)]
    print_config: bool,
    /// Remove every pod, namespace, TAP and cgroup, and all state, of this configuration, and exit
    #[arg(long, conflicts_with = "print_config")]
    purge: bool,
    #[command(subcommand)]
    process: Option<Process>,
}

/// What the daemon starts itself.
#[derive(Debug, Subcommand)]
enum Process {
    /// Forward packets (started by vswitchd)
    #[command(hide = true)]
    Datapath(datapath_process::DatapathArgs),
    /// Supervise a container (started by vswitchd)
    #[command(hide = true)]
    ContainerShim {
        /// The container's directory
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vswitchd: {}", control::error::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.process {
        Some(Process::Datapath(args)) => return datapath_process::run(&args).context("datapath"),
        Some(Process::ContainerShim { dir }) => {
            return container_shim::run(container_shim::ContainerDir::new(dir)).context("container-shim");
        }
        None => {}
    }
    let config = config::load(arguments.config.as_deref(), arguments.node.clone())?;
    if arguments.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    let logs = log::Logs::start(&config.log_filter, config.log_format)?;
    if arguments.purge {
        return control::purge(&config);
    }
    let reload = move || config::load(arguments.config.as_deref(), arguments.node.clone());
    control::run(config, logs, &reload)
}
