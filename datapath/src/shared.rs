//! What the switches of a process have in common: connections, whose two directions may be read by different workers,
//! and what is counted of services.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use zerocopy::FromZeros;

use crate::bandwidth::Buckets;
use crate::conntrack::Connections;
use crate::limits::Limits;
use crate::nat::fail_over::Openings;
use crate::service::SharedServices;

/// Connections of a switch that shares them with nobody.
const ALONE: u32 = 1 << 14;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub(crate) connections: Connections,
    pub(crate) services: Arc<SharedServices>,
    /// What may come to ports with a limit.
    pub(crate) buckets: Arc<Buckets>,
    /// SYNs that may have to be offered to another backend.
    pub(crate) openings: Openings,
}

impl Shared {
    /// Words of memory the connections need. Whoever wants a successor to find them gives it the same memory.
    #[must_use]
    pub fn connection_words(limits: &Limits) -> usize {
        Connections::words(limits)
    }

    /// How many of the first words of `memory` say anything: the others were never written.
    #[must_use]
    pub fn used_words(memory: &'static [AtomicU64]) -> usize {
        Connections::used_words(memory)
    }

    /// With the connections that are in `memory`: none, or a predecessor's.
    #[must_use]
    pub fn new(memory: &'static [AtomicU64], seed: u64, limits: &Limits) -> Self {
        let services = Arc::new(SharedServices::new(seed));
        let connections = Connections::new(memory, seed, limits, Arc::clone(&services.active));
        Self { connections, services, buckets: Arc::new(Buckets::new()), openings: Openings::new() }
    }

    /// Over what is `below`, for decisions that are only tried: finds what that has, and changes nothing of it. `slots`: backends
    /// there are.
    pub(crate) fn above(
        below: &Arc<Self>,
        memory: &'static [AtomicU64],
        limits: &Limits,
        slots: usize,
    ) -> Self {
        let services = Arc::new(SharedServices::above(&below.services, slots));
        let active = Arc::clone(&services.active);
        let connections = Connections::above(below, memory, limits, active);
        Self { connections, services, buckets: Arc::clone(&below.buckets), openings: Openings::nothing() }
    }

    /// For one switch without a successor. Its memory is never given back.
    pub(crate) fn alone(seed: u64, limits: &Limits) -> Self {
        let connections = limits.connections.min(ALONE);
        let connection_reserve = limits.connection_reserve.min(connections / 16);
        let limits = Limits { connections, connection_reserve, ..*limits };
        // Zeroed by the kernel, page by page as they are used.
        let words = <[AtomicU64]>::new_box_zeroed_with_elems(Connections::words(&limits)).unwrap_or_default();
        Self::new(Box::leak(words), seed, &limits)
    }
}
