//! The HTTP ingress. See `docs/design/0011-ingress-proxy.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use vpod_ingress::{Ingress, Settings};

/// A request is some thirty allocations of a few bytes to a few kilobytes, all of one thread and short-lived. The C library's
/// allocator took a tenth of the time of a request, and a seventh of that of a connection; this one takes a third of that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The longest wait for routes before connections are accepted all the same: probes say that it is not ready.
const LEARN_WITHIN: Duration = Duration::from_secs(10);

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
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    use_small_pages();
    // A connection is a descriptor, and one to an endpoint another: far more than the usual 1024.
    netdev::descriptors::raise_limit().context("raising the limit of open descriptors")?;
    let settings = Settings::read(&arguments.config)?;
    let socket = settings.socket.clone();
    let ingress = Ingress::start_with(settings, |ingress| learn(ingress, socket.as_deref()))?;
    wait_for_end(&ingress)?;
    tracing::info!("draining");
    ingress.drain();
    ingress.join();
    Ok(())
}

/// The allocator asks for huge pages, and all of such a page counts from its first byte. Of the buffers that a connection has, half is never
/// touched: with small pages an idle one costs 12 KB instead of 20, and a request no more time.
fn use_small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::warn!(%error, "cannot do without huge pages: idle connections take more memory");
    }
}

/// Follows the feed, and waits a while for the routes: a request that comes before them would be answered 404.
fn learn(ingress: &Arc<Ingress>, socket: Option<&Path>) -> anyhow::Result<()> {
    let Some(socket) = socket else { return Ok(()) };
    vpod_ingress::follow(socket, Arc::clone(ingress)).context("cannot follow the feed")?;
    let until = Instant::now() + LEARN_WITHIN;
    while !ingress.is_synced() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
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
