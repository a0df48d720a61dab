//! Ports that listeners of Gateways are at, beside the configured ones: opened and closed as routes change.
//!
//! A port whose last listener goes is closed to new connections; those that there are end as they would have. Which certificate and
//! which rule a connection gets is the tables' matter, as everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::front::listener::{self, Listener, Scheme};
use crate::front::tls;
use crate::tables::Shared;
use crate::worker::Served;

/// More than these are not opened: each has a socket per worker.
const MAX_PORTS: usize = 64;
/// Where rules of Ingress are; what is configured leads to them.
const OF_INGRESS: [u16; 2] = [80, 443];

/// A port, and whether TLS ends there.
type Port = (u16, bool);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    open: BTreeMap<Port, Open>,
    /// A predecessor's, which are used first.
    inherited: Vec<Listener>,
}

#[derive(Debug)]
struct Open {
    /// Kept to be passed on.
    listeners: Vec<Listener>,
    closed: watch::Sender<bool>,
}

impl Ports {
    pub(crate) const fn inheriting(inherited: Vec<Listener>) -> Self {
        Self { open: BTreeMap::new(), inherited }
    }

    /// Opens and closes, so that they are those of the routes in force; each worker is told by its `workers`.
    pub(crate) fn follow(
        &mut self,
        shared: &Arc<Shared>,
        taken: &BTreeSet<u16>,
        workers: &[mpsc::UnboundedSender<Served>],
    ) {
        let wanted = wanted(shared, taken);
        self.open.retain(|port, open| {
            let stays = wanted.contains(port);
            if !stays {
                open.closed.send_replace(true);
            }
            stays
        });
        let Some(address) = address(shared) else { return };
        for port in wanted {
            if self.open.contains_key(&port) {
                continue;
            }
            match self.open_one(shared, SocketAddr::new(address, port.0), port.1, workers) {
                Ok(open) => _ = self.open.insert(port, open),
                Err(error) => tracing::warn!(port = port.0, "cannot listen for a Gateway: {error:#}"),
            }
        }
        self.inherited.clear();
    }

    fn open_one(
        &mut self,
        shared: &Arc<Shared>,
        at: SocketAddr,
        https: bool,
        workers: &[mpsc::UnboundedSender<Served>],
    ) -> anyhow::Result<Open> {
        let scheme = if https { Scheme::Https } else { Scheme::Http };
        let is_it = |one: &Listener| one.scheme == scheme && one.configured == at;
        let mut listeners: Vec<Listener> = self.inherited.extract_if(.., |one| is_it(one)).collect();
        if listeners.is_empty() {
            listeners = listener::open(scheme, at, workers.len())?;
        }
        let tls = https.then(|| tls::server_config(Arc::clone(shared), at.port())).transpose()?;
        let (closed, is_closed) = watch::channel(false);
        // A predecessor may have had more workers: each socket is somebody's.
        for (listener, worker) in listeners.iter().zip(workers.iter().cycle()) {
            let served =
                Served { listener: listener.try_clone()?, tls: tls.clone(), closed: Some(is_closed.clone()) };
            // One that has ended serves nothing anyway.
            let _ = worker.send(served);
        }
        tracing::info!(address = %at, https, "listening for a Gateway");
        Ok(Open { listeners, closed })
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.open.values().flat_map(|open| &open.listeners)
    }
}

/// Those of the routes in force that are not served anyway.
fn wanted(shared: &Shared, taken: &BTreeSet<u16>) -> BTreeSet<Port> {
    let tables = shared.tables.load();
    let listeners = tables.plans.router.listeners().map(|listener| (listener.port, listener.https));
    let others = listeners.filter(|(port, _)| !OF_INGRESS.contains(port) && !taken.contains(port));
    let all: BTreeSet<Port> = others.collect();
    all.into_iter().take(MAX_PORTS).collect()
}

/// Where the first configured one is.
fn address(shared: &Shared) -> Option<IpAddr> {
    shared.settings.http.first().or(shared.settings.https.first()).map(SocketAddr::ip)
}
