//! What a choice is made from, and what it changes, for choices that are only tried ([`crate::trace`]).

use std::net::Ipv4Addr;
use std::sync::Arc;

use protocol::ServiceId;
use protocol::link::{FrontendKind, Scheduler, TrafficPolicy};

use super::backends::Traits;
use super::choice::last_of;
use super::eligible::{Eligible, Turn};
use super::frontends::FrontendHit;
use super::shared::SharedServices;
use super::tally::Counted;
use super::{Origin, Services};
use crate::time::Instant;

/// Among whom a choice would be made.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    /// As it is configured: `namespace/name:port`.
    pub(crate) name: String,
    pub(crate) kind: FrontendKind,
    pub(crate) scheduler: Scheduler,
    /// The policy that holds; `None` where the client may not use the frontend.
    pub(crate) policy: Option<TrafficPolicy>,
    pub(crate) eligible: Vec<(Ipv4Addr, u16)>,
    /// All backends.
    pub(crate) backends: usize,
    /// The one the client had last, if it gets it again.
    pub(crate) last: Option<(Ipv4Addr, u16)>,
}

impl Services {
    /// Who may be chosen, for people.
    pub(crate) fn candidates(
        &self,
        hit: &FrontendHit,
        client: (Ipv4Addr, u16),
        origin: Origin,
        now: Instant,
    ) -> Option<Candidates> {
        let service = self.rows.get(hit.service.index())?.as_deref()?;
        let settings = &*service.settings;
        let policy = settings.admits(hit.kind, client.0).then(|| settings.policy(hit.kind, origin));
        let (slots, member) = match policy {
            Some(TrafficPolicy::Cluster) => (service.cluster.slots(), Traits::IN_CLUSTER),
            Some(TrafficPolicy::Local) => {
                (service.local.as_deref().map_or(&[][..], Eligible::slots), Traits::IN_LOCAL)
            }
            None => (&[][..], Traits::default()),
        };
        let affinity = &self.shared.affinity;
        let last =
            policy.and_then(|_| last_of(settings, affinity, &self.backends, hit, client.0, member, now));
        Some(Candidates {
            name: settings.name.to_string(),
            kind: hit.kind,
            scheduler: settings.scheduler,
            policy,
            eligible: slots.iter().filter_map(|slot| self.address(*slot)).collect(),
            backends: service.slots.len(),
            last: last.and_then(|slot| self.address(slot)),
        })
    }

    /// Knows from now on what `shared` knows; gives back what it knew before.
    pub(crate) fn share(&mut self, shared: Arc<SharedServices>) -> Arc<SharedServices> {
        std::mem::replace(&mut self.shared, shared)
    }

    /// Slots that backends have or had.
    pub(crate) fn slot_count(&self) -> usize {
        self.backends.slots()
    }

    /// Whose turn it is, and what was counted where a choice was made.
    pub(crate) fn turns(&self, service: ServiceId) -> Option<Turns> {
        let row = self.rows.get(service.index())?.as_deref()?;
        let local = row.local.as_deref().map(Eligible::turn);
        let tally = self.tally(service)?;
        Some(Turns { service, cluster: row.cluster.turn(), local, tally })
    }

    /// As it was.
    pub(crate) fn put_back(&mut self, turns: Turns) {
        let Turns { service, cluster, local, tally } = turns;
        if let Some(row) = self.rows.get_mut(service.index()).and_then(Option::as_deref_mut) {
            row.cluster.set_turn(cluster);
            if let (Some(list), Some(turn)) = (row.local.as_deref_mut(), local) {
                list.set_turn(turn);
            }
        }
        self.set_tally(service, tally);
    }
}

/// See [`Services::turns`].
#[derive(Debug)]
pub(crate) struct Turns {
    service: ServiceId,
    cluster: Turn,
    local: Option<Turn>,
    tally: Counted,
}
