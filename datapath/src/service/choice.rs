//! Choosing a backend for a new connection.

use std::net::Ipv4Addr;

use protocol::link::TrafficPolicy;

use super::backends::Traits;
use super::eligible::Asked;
use super::frontends::FrontendHit;
use super::rng::Rng;
use super::{Origin, Services};
use crate::time::Instant;

/// A chosen backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    /// For counting its connections.
    pub(crate) slot: u32,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoBackend {
    /// The service has none, or all that it has were excluded: the client is told.
    None,
    /// Policy `Local`, and the others are on other nodes: silence, so that a load balancer looks elsewhere.
    NoLocal,
    /// The client is in none of the service's source ranges: silence.
    SourceNotAllowed,
}

impl Services {
    /// A backend for a new connection of `client` to a frontend; the client's last one where the service wants that and
    /// the backend may still be chosen. Slots in `exclude` are not chosen: they have just refused.
    pub(crate) fn choose(
        &mut self,
        hit: &FrontendHit,
        client: (Ipv4Addr, u16),
        origin: Origin,
        now: Instant,
        rng: &mut Rng,
        exclude: &[u32],
    ) -> Result<Chosen, NoBackend> {
        let service =
            self.rows.get_mut(hit.service.index()).and_then(Option::as_deref_mut).ok_or(NoBackend::None)?;
        let settings = &*service.settings;
        if !settings.admits(hit.kind, client.0) {
            return Err(NoBackend::SourceNotAllowed);
        }
        let (eligible, member) = match settings.policy(hit.kind, origin) {
            TrafficPolicy::Cluster => (&mut service.cluster, Traits::IN_CLUSTER),
            TrafficPolicy::Local => match service.local.as_deref_mut().filter(|local| !local.is_empty()) {
                Some(local) => (local, Traits::IN_LOCAL),
                None if service.cluster.is_empty() => return Err(NoBackend::None),
                None => return Err(NoBackend::NoLocal),
            },
        };
        let affinity = &self.shared.affinity;
        let last = settings.affinity_seconds.and_then(|timeout| {
            let (address, port) = affinity.lookup(hit.service, client.0, timeout, now)?;
            let slot = self.backends.find(super::index(hit.service), address, port)?;
            let is_member = self.backends.get(slot)?.traits.has(member);
            (is_member && !exclude.contains(&slot)).then_some(slot)
        });
        let asked = Asked { client, frontend: hit.address, exclude };
        let scheduler = settings.scheduler;
        let slot = last
            .or_else(|| eligible.choose(scheduler, &asked, &self.backends, &self.shared.active, rng))
            .ok_or(NoBackend::None)?;
        let backend = self.backends.get(slot).ok_or(NoBackend::None)?;
        if settings.affinity_seconds.is_some() {
            affinity.remember(hit.service, client.0, (backend.address, backend.port), now);
        }
        Ok(Chosen { address: backend.address, port: backend.port, slot })
    }
}
