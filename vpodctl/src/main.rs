//! `vpodctl`, the command line of vpod.
//!
//! It follows kubectl's habits: kinds and their short names, `-n`, `-A`, `-o`, `-w`, what the
//! tables look like, and errors that name the object and say what to do. A folder or file per
//! noun holds its request and its printer; [`output`] holds what the printers share, [`cli`] the
//! definition from which help, completion, man pages and `docs/cli.md` all come.
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage; `exec` ends with the status of the
//! command it became.

#![forbid(unsafe_code)]

mod apply;
mod cli;
mod cni;
mod connection;
mod conntrack;
mod daemon;
mod delete;
mod describe;
mod dns;
mod drops;
mod error;
mod fdb;
mod filter;
mod flow;
mod generate;
mod get;
mod kept;
mod manifest;
mod neighbor;
mod node;
mod output;
mod peer;
mod pod;
mod port;
mod route;
mod service;
mod trace;
mod traffic;
mod wait;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use error::CliError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(text) = error.text() {
                eprintln!("error: {text}");
            }
            ExitCode::from(error.exit_status())
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let target = cli.target;
    match cli.command {
        Command::CreatePod(args) => pod::create::run(&target, args),
        Command::DeletePod(args) => pod::delete::run(&target, &args),
        Command::CreateService(args) => service::create(&target, &args),
        Command::DeleteService(args) => service::delete(&target, &args),
        Command::Apply(args) => apply::run(&target, &args),
        Command::Delete(args) => delete::run(&target, args),
        Command::Exec(args) => pod::exec::run(&target, args),
        Command::RunContainer(args) => pod::run_container::run(&target, args),
        Command::Logs(args) => pod::logs::run(&target, args),
        Command::Get(args) => get::run(&target, &args),
        Command::Describe(args) => describe::run(&target, &args),
        Command::Status(args) => daemon::status(&target, &args),
        Command::Wait(args) => wait::run(&target, &args),
        Command::Trace(args) => trace::run(&target, &args),
        Command::Dns(args) => match &args.command {
            cli::dns::DnsCommand::Query(args) => dns::run(&target, args),
        },
        Command::Cni(args) => match &args.command {
            cli::cni::CniCommand::Check(args) => cni::check(args),
        },
        Command::Capture(args) => pod::capture::run(&target, &args),
        Command::LogLevel(args) => daemon::log_level(&target, args),
        Command::Metrics => daemon::metrics(&target),
        Command::Completion(args) => generate::completion(&args),
        Command::Man(args) => generate::man(&args),
        Command::Version => daemon::version(&target),
    }
}
