//! Backends of all services, in slots that stay theirs.
//!
//! Slots are given out in the order of configuration changes alone, so every worker gives the same ones, and what is
//! counted by slot is common to all workers. A seeded index finds a service's backend by address and port.
//!
//! Bounds: [`MAX_BACKENDS`] in all, [`MAX_BACKENDS_OF_SERVICE`] of one service; `stage` refuses more.

use std::hash::BuildHasher;
use std::net::Ipv4Addr;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;

/// Backends in all: 26 for each of 10,000 services. They take some 15 MiB in each worker.
pub(crate) const MAX_BACKENDS: u32 = 1 << 18;

/// Backends of one service: three times the pods of the largest cluster that Kubernetes is tested with would fit
/// into few; more than some thousand are slow to choose from by least connections.
pub(super) const MAX_BACKENDS_OF_SERVICE: usize = 1 << 14;

/// Conditions that choosing depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traits(u8);

impl Traits {
    pub(super) const READY: Self = Self(1);
    pub(super) const LOCAL: Self = Self(1 << 1);
    pub(super) const PREFERRED: Self = Self(1 << 2);
    /// Derived: may be chosen by policy `Cluster`.
    pub(super) const IN_CLUSTER: Self = Self(1 << 3);
    /// Derived: may be chosen by policy `Local`.
    pub(super) const IN_LOCAL: Self = Self(1 << 4);

    pub(super) const fn with(self, other: Self, is_set: bool) -> Self {
        if is_set { Self(self.0 | other.0) } else { Self(self.0 & !other.0) }
    }

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A backend, as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    pub(super) weight: u16,
    pub(super) traits: Traits,
}

impl Row {
    /// Its identity within the service, and the order of a service's backends: the same on every node, in whatever
    /// order they came.
    pub(super) const fn key(&self) -> (Ipv4Addr, u16) {
        (self.address, self.port)
    }
}

/// A slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backend {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    pub(super) weight: u16,
    service: u16,
    pub(super) traits: Traits,
}

const _: () = assert!(size_of::<Backend>() == 12);

impl Backend {
    /// As it was configured.
    pub(super) const fn row(&self) -> Row {
        let traits = self.traits.with(Traits::IN_CLUSTER, false).with(Traits::IN_LOCAL, false);
        Row { address: self.address, port: self.port, weight: self.weight, traits }
    }

    fn key(&self) -> u64 {
        key(self.service, self.address, self.port)
    }
}

fn key(service: u16, address: Ipv4Addr, port: u16) -> u64 {
    u64::from(service) << 48 | u64::from(port) << 32 | u64::from(address.to_bits())
}

/// See the module.
#[derive(Debug)]
pub(super) struct Backends {
    hasher: SeedableRandomState,
    slots: Vec<Backend>,
    free: Vec<u32>,
    index: HashTable<u32>,
}

impl Backends {
    pub(super) fn new(seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_random());
        Self { hasher, slots: Vec::new(), free: Vec::new(), index: HashTable::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Slots there are, taken or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Backend> {
        self.slots.get(slot as usize)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Backend> {
        self.slots.get_mut(slot as usize)
    }

    /// The slot of a service's backend.
    pub(super) fn find(&self, service: u16, address: Ipv4Addr, port: u16) -> Option<u32> {
        let key = key(service, address, port);
        let same = |&slot: &u32| self.get(slot).is_some_and(|backend| backend.key() == key);
        self.index.find(self.hasher.hash_one(key), same).copied()
    }

    /// Changes the backend at `slot`, whose address and port stay.
    pub(super) fn update(&mut self, slot: u32, row: &Row) {
        if let Some(backend) = self.get_mut(slot) {
            (backend.weight, backend.traits) = (row.weight, row.traits);
        }
    }

    /// Gives a new backend a slot; none if all are taken.
    pub(super) fn insert(&mut self, service: u16, row: &Row) -> Option<u32> {
        let Row { address, port, weight, traits } = *row;
        let backend = Backend { address, port, weight, service, traits };
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.get_mut(slot)? = backend;
                slot
            }
            None => {
                let slot = u32::try_from(self.slots.len()).ok().filter(|slot| *slot < MAX_BACKENDS)?;
                self.slots.push(backend);
                slot
            }
        };
        let (hasher, slots) = (&self.hasher, &self.slots);
        let hash_of = |slot: u32| slots.get(slot as usize).map_or(0, |other| hasher.hash_one(other.key()));
        self.index.insert_unique(hasher.hash_one(backend.key()), slot, |&slot| hash_of(slot));
        Some(slot)
    }

    /// Gives the slot up.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(hash) = self.get(slot).map(|backend| self.hasher.hash_one(backend.key())) else { return };
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == slot) {
            entry.remove();
            self.free.push(slot);
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_size(&self) -> usize {
        self.slots.capacity() * size_of::<Backend>()
            + self.free.capacity() * size_of::<u32>()
            + self.index.allocation_size()
    }
}
