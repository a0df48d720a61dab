//! Choosing a backend for a new connection.

use std::net::Ipv4Addr;

use protocol::link::TrafficPolicy;

use super::affinity::Affinity;
use super::backends::{Backends, Traits};
use super::eligible::Asked;
use super::frontends::FrontendHit;
use super::rng::Rng;
use super::settings::Settings;
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
        let last = last_of(settings, affinity, &self.backends, hit, client.0, member, now)
            .filter(|slot| !exclude.contains(slot));
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

/// The slot of the backend that the client had last, if the service wants that and it may still be chosen.
pub(super) fn last_of(
    settings: &Settings,
    affinity: &Affinity,
    backends: &Backends,
    hit: &FrontendHit,
    client: Ipv4Addr,
    member: Traits,
    now: Instant,
) -> Option<u32> {
    let timeout = settings.affinity_seconds?;
    let (address, port) = affinity.lookup(hit.service, client, timeout, now)?;
    let slot = backends.find(super::index(hit.service), address, port)?;
    backends.get(slot)?.traits.has(member).then_some(slot)
}
