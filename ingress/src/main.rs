//! The HTTP ingress. See `docs/design/0011-ingress-proxy.md`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use vpod_ingress::{Ingress, Settings};

/// The cluster's HTTP ingress.
#[derive(Debug, Parser)]
#[command(name = "vpod-ingress", version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What to log, as in `info` or `vpod_ingress=debug`.
    #[arg(long, value_name = "FILTER", env = "VPOD_LOG", default_value = "info")]
    log: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_new(&arguments.log).context("the log filter is not one")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let settings = Settings::read(&arguments.config)?;
    let socket = settings.socket.clone();
    let ingress = Ingress::start(settings)?;
    if let Some(socket) = socket {
        vpod_ingress::follow(&socket, Arc::clone(&ingress))?;
    }
    wait_for_end(&ingress)?;
    tracing::info!("draining");
    ingress.drain();
    ingress.join();
    Ok(())
}

/// A signal, or a successor.
fn wait_for_end(ingress: &Ingress) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = ingress.drained() => {}
        }
        Ok(())
    })
}
