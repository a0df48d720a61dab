//! The whole program, as `main` and the tests start it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use parking_lot::Mutex;
use protocol::feed::Changes;
use tokio::task::LocalSet;

use crate::front::listener::{self, Listener, Scheme};
use crate::front::tls;
use crate::handover;
use crate::ports::Ports;
use crate::report::access_log::AccessLog;
use crate::report::admin;
use crate::settings::Settings;
use crate::state::State;
use crate::tables::Shared;
use crate::worker::{self, Served, Worker};

/// An ingress that serves.
#[derive(Debug)]
pub struct Ingress {
    shared: Arc<Shared>,
    state: Mutex<State>,
    workers: Mutex<Vec<Worker>>,
    /// Kept to be passed on.
    listeners: Mutex<Vec<Listener>>,
    /// Those of Gateways, likewise.
    ports: Mutex<Ports>,
    admin: Vec<SocketAddr>,
}

impl Ingress {
    /// Binds, or takes over what a predecessor has bound, and serves.
    ///
    /// # Errors
    /// When an address cannot be bound, or a file cannot be opened.
    pub fn start(settings: Settings) -> anyhow::Result<Arc<Self>> {
        Self::start_with(settings, |_| Ok(()))
    }

    /// The same, after `prepare`: so that routes are there before the first request is.
    ///
    /// # Errors
    /// When an address cannot be bound, a file cannot be opened, or `prepare` fails.
    pub fn start_with(
        settings: Settings,
        prepare: impl FnOnce(&Arc<Self>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Arc<Self>> {
        let access_log = settings.access_log.as_deref().map(AccessLog::open).transpose();
        let shared = Arc::new(Shared::new(settings, access_log.context("cannot open the access log")?));
        let admin = start_admin(&shared)?;
        let ingress = Arc::new(Self {
            state: Mutex::new(State::new(&shared.settings.class)),
            workers: Mutex::default(),
            listeners: Mutex::default(),
            ports: Mutex::default(),
            admin,
            shared: Arc::clone(&shared),
        });
        prepare(&ingress)?;
        let (listeners, inherited) = bind_all(&shared.settings)?;
        *ingress.workers.lock() = start_workers(&shared, &listeners)?;
        *ingress.listeners.lock() = listeners;
        *ingress.ports.lock() = Ports::inheriting(inherited);
        ingress.follow_ports();
        if let Some(path) = &shared.settings.handover {
            let offered = handover::offer(path, Arc::downgrade(&ingress));
            offered.with_context(|| format!("cannot offer {}", path.display()))?;
        }
        Ok(ingress)
    }

    /// Whether routes have been learned.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.shared.synced.load(Ordering::Acquire)
    }

    /// Where a scheme is served.
    #[must_use]
    pub fn addresses(&self, scheme: Scheme) -> Vec<SocketAddr> {
        let listeners = self.listeners.lock();
        let mut addresses: Vec<SocketAddr> = listeners
            .iter()
            .filter(|l| l.scheme == scheme)
            .filter_map(|l| l.socket.local_addr().ok())
            .collect();
        addresses.dedup();
        addresses
    }

    /// Where health, readiness and metrics are served.
    #[must_use]
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin
    }

    /// Takes changes of the feed: builds other tables and swaps them. `complete` says that no more belong to these.
    pub fn apply(&self, changes: Changes, complete: bool) {
        let mut state = self.state.lock();
        state.apply(changes, &self.shared.metrics);
        if complete {
            state.publish(&self.shared);
            self.shared.synced.store(true, Ordering::Release);
            drop(state);
            self.follow_ports();
        }
    }

    /// Listens where the listeners of Gateways are.
    fn follow_ports(&self) {
        let workers = self.workers.lock();
        // It has not started, or is about to end.
        if workers.is_empty() || *self.shared.draining.borrow() {
            return;
        }
        let configured = [Scheme::Http, Scheme::Https].into_iter().flat_map(|scheme| self.addresses(scheme));
        let taken = configured.chain(self.admin.iter().copied()).map(|address| address.port()).collect();
        let workers: Vec<_> = workers.iter().map(|worker| worker.more.clone()).collect();
        self.ports.lock().follow(&self.shared, &taken, &workers);
    }

    /// Objects that are not used as they are, and why.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.state.lock().problems().to_vec()
    }

    /// Stops accepting and lets connections end; returns at once.
    pub fn drain(&self) {
        self.listeners.lock().clear();
        *self.ports.lock() = Ports::default();
        self.shared.draining.send_replace(true);
    }

    /// Waits until the last connection has ended, or the time to drain is over.
    pub fn join(&self) {
        let workers = std::mem::take(&mut *self.workers.lock());
        for worker in workers {
            if worker.thread.join().is_err() {
                tracing::error!("a worker has failed");
            }
        }
    }

    /// Waits until it drains.
    pub async fn drained(&self) {
        crate::front::accept::drained(&mut self.draining()).await;
    }

    /// Whether a successor has taken the listeners.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.shared.handed_over.load(Ordering::Acquire)
    }

    /// Gives the listeners to a successor, by `send`, and drains if it took them.
    pub(crate) fn hand_over(
        &self,
        send: impl FnOnce(&[&Listener]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        {
            let (listeners, ports) = (self.listeners.lock(), self.ports.lock());
            let all: Vec<&Listener> = listeners.iter().chain(ports.listeners()).collect();
            send(&all)?;
        }
        self.shared.handed_over.store(true, Ordering::Release);
        self.drain();
        Ok(())
    }

    pub(crate) fn draining(&self) -> tokio::sync::watch::Receiver<bool> {
        self.shared.draining.subscribe()
    }
}

/// A listener for each address and worker: the predecessor's where it has them. What else it had comes second.
fn bind_all(settings: &Settings) -> anyhow::Result<(Vec<Listener>, Vec<Listener>)> {
    let mut inherited = match &settings.handover {
        Some(path) => {
            listener::take_over(path).with_context(|| format!("cannot take over by {}", path.display()))?
        }
        None => Vec::new(),
    };
    let mut listeners = Vec::new();
    let wanted = settings
        .http
        .iter()
        .map(|a| (Scheme::Http, *a))
        .chain(settings.https.iter().map(|a| (Scheme::Https, *a)));
    for (scheme, address) in wanted {
        let (mine, rest) =
            inherited.into_iter().partition(|l: &Listener| l.scheme == scheme && l.configured == address);
        inherited = rest;
        let mine: Vec<Listener> = mine;
        if mine.is_empty() {
            let opened = listener::open(scheme, address, settings.worker_count());
            listeners.extend(opened.with_context(|| format!("cannot listen on {address}"))?);
        } else {
            listeners.extend(mine);
        }
    }
    Ok((listeners, inherited))
}

/// Each worker gets its share of the listeners of each address.
fn start_workers(shared: &Arc<Shared>, listeners: &[Listener]) -> anyhow::Result<Vec<Worker>> {
    let count = shared.settings.worker_count();
    let mut configs: HashMap<u16, Arc<rustls::ServerConfig>> = HashMap::new();
    let mut shares: Vec<Vec<Served>> = std::iter::repeat_with(Vec::new).take(count).collect();
    for (number, listener) in listeners.iter().enumerate() {
        let port = listener.socket.local_addr()?.port();
        let tls = match (listener.scheme, configs.get(&port)) {
            (Scheme::Http, _) => None,
            (Scheme::Https, Some(known)) => Some(Arc::clone(known)),
            (Scheme::Https, None) => {
                let config = tls::server_config(Arc::clone(shared), port)?;
                configs.insert(port, Arc::clone(&config));
                Some(config)
            }
        };
        if let Some(share) = shares.get_mut(number % count) {
            share.push(Served { listener: listener.try_clone()?, tls, closed: None });
        }
    }
    let started = shares.into_iter().enumerate();
    started.map(|(number, share)| worker::start(number, Arc::clone(shared), share)).collect()
}

/// One thread for all of the probes' addresses.
fn start_admin(shared: &Arc<Shared>) -> anyhow::Result<Vec<SocketAddr>> {
    let mut wanted: Vec<SocketAddr> =
        [shared.settings.health, shared.settings.ready, shared.settings.metrics]
            .into_iter()
            .flatten()
            .collect();
    wanted.sort_unstable();
    wanted.dedup_by(|a, b| a == b && a.port() != 0);
    let mut sockets = Vec::new();
    for address in wanted {
        let socket = listener::open(Scheme::Http, address, 1)
            .with_context(|| format!("cannot listen on {address}"))?;
        sockets.extend(socket.into_iter().map(|l| l.socket));
    }
    let addresses = sockets.iter().map(std::net::TcpListener::local_addr).collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        LocalSet::new().block_on(&runtime, async move {
            let mut draining = shared.draining.subscribe();
            for socket in sockets {
                tokio::task::spawn_local(admin::serve(socket, Arc::clone(&shared)));
            }
            // Probes are answered while the process drains, and die with it.
            crate::front::accept::drained(&mut draining).await;
            if shared.handed_over.load(Ordering::Acquire) {
                // They ask the successor, at the same addresses.
                return;
            }
            tokio::time::sleep(shared.settings.options.drain_timeout).await;
        });
    })?;
    Ok(addresses)
}
