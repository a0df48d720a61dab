//! A worker: one thread, one event loop, its own connections to endpoints. Nothing on the way of a request is shared
//! between workers but the tables and a few counters.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::LocalSet;

use crate::front::accept::{Server, drained};
use crate::front::listener::Listener;
use crate::tables::Shared;
use crate::upstream::pool::SWEEP_EVERY;

/// How often a draining worker looks whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A listener, and how TLS ends there.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) listener: Listener,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

/// Starts one.
///
/// # Errors
/// When there can be no more threads.
pub(crate) fn start(
    number: usize,
    shared: Arc<Shared>,
    listeners: Vec<Served>,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a worker")?;
    let run = move || LocalSet::new().block_on(&runtime, serve(shared, listeners));
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(run).context("cannot start a worker")
}

async fn serve(shared: Arc<Shared>, listeners: Vec<Served>) {
    let mut draining = shared.draining.subscribe();
    let patience = shared.settings.options.drain_timeout;
    let server = Rc::new(Server::new(shared));
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|Served { listener, tls }| {
            let address = listener.configured;
            let accepting = Rc::clone(&server).accept(listener, tls);
            tokio::task::spawn_local(async move {
                if let Err(error) = accepting.await {
                    tracing::error!(%address, %error, "cannot accept connections");
                }
            })
        })
        .collect();
    tokio::task::spawn_local(Rc::clone(&server).watch());
    let sweeping = Rc::clone(&server);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            sweeping.pool.sweep();
        }
    });
    drained(&mut draining).await;
    let until = Instant::now() + patience;
    for task in accepting {
        let _ = task.await;
    }
    while server.connections() > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
