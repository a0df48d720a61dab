//! What a decision would change, put aside while one is only tried.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use protocol::{PeerId, PortId};

use crate::Transmit;
use crate::action::Forward;
use crate::bandwidth::Shaper;
use crate::conntrack::{Connections, Key};
use crate::counters::Counters;
use crate::limits::Limits;
use crate::output::Egress;
use crate::overlay::Train;
use crate::overlay::peers::Traffic;
use crate::service::{Rng, SharedServices, Turns};
use crate::shared::Shared;
use crate::switch::Switch;
use crate::wire::ipv4::Ipv4;

/// Connections that one decision can make or look at, and room.
const CONNECTIONS: u32 = 256;

/// What is as it was again in the end.
pub(super) struct Trial {
    shared: Arc<Shared>,
    services: Arc<SharedServices>,
    turns: Option<Turns>,
    rng: Rng,
}

/// A device that takes everything and keeps nothing.
pub(super) struct Nowhere;

impl Egress for Nowhere {
    fn transmit(&mut self, _port: PortId, _frame: &[u8]) -> Transmit {
        Transmit::Sent
    }

    fn transmit_tunnel(&mut self, _port: PortId, _train: &Train<'_>) -> Transmit {
        Transmit::Sent
    }
}

/// Counts of whom a frame passes, and the limit of its port: nothing that is only tried waits.
pub(super) struct Counts {
    port: Option<(PortId, Counters, Option<Box<Shaper>>)>,
    peer: Option<(PeerId, Traffic)>,
}

impl Switch {
    /// From here on to [`Self::end_trial`], decisions about the packet change nothing of what there is.
    pub(super) fn begin_trial(&mut self, ip: &Ipv4) -> Trial {
        let words = *self.scratch.get_or_insert_with(|| {
            let limits = scratch_limits(&self.limits);
            // Once, and used again: it is never given back.
            let words: Vec<AtomicU64> =
                std::iter::repeat_with(|| AtomicU64::new(0)).take(Connections::words(&limits)).collect();
            Box::leak(words.into_boxed_slice())
        });
        for word in words {
            word.store(0, std::sync::atomic::Ordering::Relaxed);
        }
        let slow_path = &mut self.slow_path;
        let limits = scratch_limits(&self.limits);
        let real = Arc::clone(&slow_path.shared);
        let scratch = Arc::new(Shared::above(&real, words, &limits, slow_path.services.slot_count()));
        let frontend = Key::of(ip).and_then(|key| slow_path.frontend_of(&key));
        Trial {
            turns: frontend.and_then(|hit| slow_path.services.turns(hit.service)),
            services: slow_path.services.share(Arc::clone(&scratch.services)),
            shared: std::mem::replace(&mut slow_path.shared, scratch),
            rng: slow_path.rng.clone(),
        }
    }

    /// Everything is as it was.
    pub(super) fn end_trial(&mut self, trial: Trial) {
        let slow_path = &mut self.slow_path;
        let Trial { shared, services, turns, rng } = trial;
        slow_path.shared = shared;
        slow_path.services.share(services);
        if let Some(turns) = turns {
            slow_path.services.put_back(turns);
        }
        slow_path.rng = rng;
    }

    /// What counts and delays the frames that a decision forwards.
    pub(super) fn keep_counts(&mut self, forward: &Forward) -> Counts {
        let port = self.ports.get_mut(forward.egress);
        let port = port.map(|port| (forward.egress, port.counters.clone(), port.receives.take()));
        let peer = forward.peer().and_then(|id| Some((id, self.slow_path.overlay.peers.get(id)?.traffic)));
        Counts { port, peer }
    }

    pub(super) fn put_counts_back(&mut self, counts: Counts) {
        if let Some((id, counters, shaper)) = counts.port
            && let Some(port) = self.ports.get_mut(id)
        {
            (port.counters, port.receives) = (counters, shaper);
        }
        if let Some((id, traffic)) = counts.peer
            && let Some(peer) = self.slow_path.overlay.peers.get_mut(id)
        {
            peer.traffic = traffic;
        }
    }
}

/// As the real ones, but for room.
fn scratch_limits(limits: &Limits) -> Limits {
    Limits { connections: CONNECTIONS, connections_per_port: CONNECTIONS, connection_reserve: 0, ..*limits }
}
