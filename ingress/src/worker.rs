//! A worker: one thread, one event loop, its own connections to endpoints. Nothing on the way of a request is shared
//! between workers but the tables and a few counters.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

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
    /// Becomes true when it is not wanted any more; `None` for one that always is.
    pub(crate) closed: Option<watch::Receiver<bool>>,
}

/// A worker that runs.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) thread: JoinHandle<()>,
    /// What it is to serve besides. As many as there are ports, which are bounded.
    pub(crate) more: mpsc::UnboundedSender<Served>,
}

/// Starts one.
///
/// # Errors
/// When there can be no more threads.
pub(crate) fn start(number: usize, shared: Arc<Shared>, listeners: Vec<Served>) -> anyhow::Result<Worker> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a worker")?;
    let (more, told) = mpsc::unbounded_channel();
    let run = move || LocalSet::new().block_on(&runtime, serve(shared, listeners, told));
    let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(run);
    Ok(Worker { thread: thread.context("cannot start a worker")?, more })
}

async fn serve(shared: Arc<Shared>, listeners: Vec<Served>, mut told: mpsc::UnboundedReceiver<Served>) {
    let mut draining = shared.draining.subscribe();
    let patience = shared.settings.options.drain_timeout;
    let server = Rc::new(Server::new(shared));
    let mut accepting = JoinSet::new();
    for served in listeners {
        accepting.spawn_local(accept(Rc::clone(&server), served));
    }
    tokio::task::spawn_local(Rc::clone(&server).watch());
    let sweeping = Rc::clone(&server);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            sweeping.pool.sweep();
        }
    });
    loop {
        tokio::select! {
            () = drained(&mut draining) => break,
            Some(served) = told.recv() => {
                accepting.spawn_local(accept(Rc::clone(&server), served));
            }
            Some(_) = accepting.join_next() => {}
        }
    }
    let until = Instant::now() + patience;
    while accepting.join_next().await.is_some() {}
    while server.connections() > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn accept(server: Rc<Server>, served: Served) {
    let address = served.listener.configured;
    if let Err(error) = server.accept(served).await {
        tracing::error!(%address, %error, "cannot accept connections");
    }
}
