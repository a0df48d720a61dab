//! `vpod-dns`: the cluster's DNS server. See `docs/design/0010-dns-server.md`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use vpod_dns::config::Config;
use vpod_dns::run::Server;

/// The cluster's DNS server: answers for services and pods, and forwards what is outside.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; without one, everything is as by default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("VPOD_DNS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let config = arguments.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
    if arguments.check {
        config.zone()?;
        config.upstreams()?;
        return Ok(());
    }
    // A question to another server is a socket; with connections there can be more than the usual 1024.
    netdev::descriptors::raise_limit().context("raising the limit of open descriptors")?;
    let server = Server::start(&config)?;
    tracing::info!(node = config.node, zone = %server.shared().zone.origin(), listen = ?server.addresses(), "answering");
    server.runtime().block_on(until_end(&server))?;
    tracing::info!(seconds = config.lameduck_seconds, "leaving");
    server.leave(Duration::from_secs(config.lameduck_seconds));
    server.stop();
    Ok(())
}

/// Waits for the signal to end; SIGUSR1 turns the query log on and off.
async fn until_end(server: &Server) -> Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut toggle = signal(SignalKind::user_defined1())?;
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = toggle.recv() => {
                let before = server.shared().log_queries.fetch_xor(true, Ordering::Relaxed);
                tracing::info!(on = !before, "query log");
            }
        }
    }
}
