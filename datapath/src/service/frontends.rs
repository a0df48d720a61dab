//! Frontends: which service an address, protocol and port stand for.

use std::hash::BuildHasher;
use std::net::Ipv4Addr;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::{HashMap, HashTable};
use protocol::ServiceId;
use protocol::link::FrontendKind;

/// Frontends of one service at most: its cluster address and node port, and what load balancers and external addresses
/// it has.
pub(super) const MAX_FRONTENDS_OF_SERVICE: usize = 256;

/// Frontends in all; four for every possible service.
pub(super) const MAX_FRONTENDS: usize = 1 << 18;

/// An address and port that stands for a service; the unspecified address for a node port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frontend {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    pub(super) kind: FrontendKind,
}

/// A frontend that a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrontendHit {
    /// Whose; also its slot.
    pub(crate) service: ServiceId,
    /// What sort of address was asked.
    pub(crate) kind: FrontendKind,
    /// Which of the service's frontends.
    pub(crate) number: u8,
    /// The address that was asked; one of the node's for a node port.
    pub(crate) address: Ipv4Addr,
}

/// Protocol, address and port as one number: hashed and compared at once.
pub(super) fn key(protocol: u8, address: Ipv4Addr, port: u16) -> u64 {
    u64::from(protocol) << 48 | u64::from(port) << 32 | u64::from(address.to_bits())
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    key: u64,
    service: u16,
    number: u8,
    kind: FrontendKind,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Frontends {
    hasher: SeedableRandomState,
    entries: HashTable<Entry>,
    /// How many frontends have the address; node ports and host ports do not count.
    addresses: HashMap<Ipv4Addr, u32, SeedableRandomState>,
}

impl Frontends {
    pub(super) fn new(seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, SharedSeed::global_random());
        let addresses = HashMap::with_hasher(hasher.clone());
        Self { hasher, entries: HashTable::new(), addresses }
    }

    /// The frontend at this address; at any address of the node, its node ports too.
    pub(super) fn lookup(
        &self,
        protocol: u8,
        address: Ipv4Addr,
        port: u16,
        is_node_address: bool,
    ) -> Option<FrontendHit> {
        let any = || is_node_address.then(|| self.find(key(protocol, Ipv4Addr::UNSPECIFIED, port))).flatten();
        let entry = self.find(key(protocol, address, port)).or_else(any)?;
        let service = ServiceId(entry.service.into());
        Some(FrontendHit { service, kind: entry.kind, number: entry.number, address })
    }

    /// Some frontend has this address.
    pub(super) fn has_address(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// All addresses of frontends.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses.keys().copied()
    }

    /// Whose frontend it is.
    pub(super) fn owner(&self, key: u64) -> Option<ServiceId> {
        self.find(key).map(|entry| ServiceId(entry.service.into()))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Enters a service's frontends, which are nobody else's.
    pub(super) fn insert(&mut self, service: u16, protocol: u8, frontends: &[Frontend]) {
        for (number, frontend) in (0..=u8::MAX).zip(frontends) {
            let key = key(protocol, frontend.address, frontend.port);
            let (hasher, entry) = (&self.hasher, Entry { key, service, number, kind: frontend.kind });
            self.entries.insert_unique(hasher.hash_one(key), entry, |entry| hasher.hash_one(entry.key));
            if frontend.kind.owns_address() {
                *self.addresses.entry(frontend.address).or_default() += 1;
            }
        }
    }

    /// Takes a service's frontends out.
    pub(super) fn remove(&mut self, protocol: u8, frontends: &[Frontend]) {
        for frontend in frontends {
            let key = key(protocol, frontend.address, frontend.port);
            let found = self.entries.find_entry(self.hasher.hash_one(key), |entry| entry.key == key);
            if let Ok(entry) = found {
                entry.remove();
            }
            let count = self.addresses.get_mut(&frontend.address).filter(|_| frontend.kind.owns_address());
            if let Some(count) = count {
                *count -= 1;
                if *count == 0 {
                    self.addresses.remove(&frontend.address);
                }
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_size(&self) -> usize {
        self.entries.allocation_size() + self.addresses.allocation_size()
    }

    fn find(&self, key: u64) -> Option<&Entry> {
        self.entries.find(self.hasher.hash_one(key), |entry| entry.key == key)
    }
}
