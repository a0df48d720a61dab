//! What the ingress reads: Ingress, IngressClass, Secret, GatewayClass, Gateway and HTTPRoute.
//!
//! One mirror of the store holds them all ([`PREFIX`]). On a thread of its own ([`follow`]) they become [`routing::Objects`], which says
//! which services and Secrets they lead to; those alone are told in the feed `Routes`, beside the objects. What each object's status is
//! is made when somebody asks ([`rows`]). What the cluster's store said last is remembered with its services, so that a node that starts
//! while the store is away serves it; the file is root's, as that of the node's own store is.

mod feeding;
mod objects;
mod rows;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use protocol::ObjectRef;
use routing::Objects;
use store::cluster::{Mirror, MirrorOptions};

use super::node::Control;
use super::services::Services;
use crate::config::Config;

pub(crate) use objects::{count, delete, is_readable, key_of, write};
pub(crate) use rows::{document, list};

/// Where they are: `<plural>/<name>` or `<plural>/<namespace>/<name>` follows.
pub(crate) const PREFIX: &str = "/vpod/v1/routing/";
/// Without a change of the store, endpoints are looked at as often.
const TICK: Duration = Duration::from_secs(1);
/// Changes on their way from the mirror.
const QUEUE: usize = 1024;

/// See the module.
pub(crate) struct Ingress {
    mirror: Mirror,
    /// There is something to go on with while the store is away.
    is_recalled: bool,
    state: Mutex<State>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

#[derive(Default)]
struct State {
    objects: Objects,
    /// The mirror was read once, or what is remembered was taken because the store is away.
    is_read: bool,
    /// Services and Secrets that objects lead to.
    services: BTreeSet<ObjectRef>,
    secrets: BTreeSet<ObjectRef>,
    /// Ports of Gateways' listeners.
    ports: BTreeSet<u16>,
}

impl Ingress {
    /// Begins to mirror.
    pub(crate) fn open(config: &Config, services: &Services) -> anyhow::Result<Self> {
        let (wake, woken) = bounded(1);
        let sender = wake.clone();
        // Full: it is about to look.
        let call: Box<dyn Fn() + Send> = Box::new(move || {
            let _ = sender.try_send(());
        });
        let recalled = services.recall(PREFIX);
        let is_recalled = !recalled.is_empty();
        let options = MirrorOptions {
            queue: QUEUE,
            wake: Some(call),
            known: (recalled, 0),
            ..MirrorOptions::new(PREFIX)
        };
        let mirror =
            Mirror::start(Arc::clone(services.store()), options).context("following the store of routes")?;
        let state = State { objects: Objects::with_class(&config.ingress.class), ..State::default() };
        Ok(Self { mirror, is_recalled, state: Mutex::new(state), wake, woken })
    }

    /// Ports of Gateways' listeners; `None` while objects have not been read.
    pub(crate) fn listener_ports(&self) -> Option<BTreeSet<u16>> {
        let state = self.state.lock();
        state.is_read.then(|| state.ports.clone())
    }

    /// Something that routes lead to may have changed.
    pub(crate) fn wake(&self) {
        // Full: it is about to look.
        let _ = self.wake.try_send(());
    }
}

/// Keeps the feed as the store and the endpoints are, until the daemon ends.
pub(crate) fn follow(control: &Arc<Control>) -> std::io::Result<()> {
    let control = Arc::clone(control);
    std::thread::Builder::new().name("ingress".to_owned()).spawn(move || {
        loop {
            match control.ingress.woken.recv_timeout(TICK) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            feeding::refresh(&control);
        }
    })?;
    Ok(())
}
