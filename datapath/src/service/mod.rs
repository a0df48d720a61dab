//! Services: which frontend a packet is for, and which backend a new connection gets.
//!
//! One [`Services`] a worker, all alike: every worker applies the same changes in the same order, so a slot means the same
//! backend everywhere, and what they know together ([`SharedServices`]) is counted by slot.
//!
//! How it works: a seeded hash finds the frontend of (protocol, address, port). Its service has lists of the backends
//! that may be chosen, made when the service last changed, and a scheduler chooses from one (`eligible`). A change
//! costs what the changed services cost, however many there are: `stage` collects and checks it, [`Services::install`]
//! carries it out.
//!
//! # Who may be chosen
//!
//! Ready backends; where none is ready, draining ones. Decided separately for all backends (policy `Cluster`) and for
//! this node's (policy `Local`), as kube-proxy does (`pkg/proxy/topology.go`). Among all, ready ones that topology
//! prefers come before others; where it leaves none, and among draining ones, it does not count. A weighted scheduler
//! never chooses weight 0.
//!
//! Nobody eligible is [`NoBackend::None`], which is refused; nobody here but elsewhere, under policy `Local`,
//! [`NoBackend::NoLocal`], which is dropped.
//!
//! # Which policy holds
//!
//! | frontend | from a pod or the node ([`Origin::Inside`]) | from elsewhere ([`Origin::Outside`]) |
//! |-|-|-|
//! | ClusterIP | internal | internal |
//! | NodePort | `Cluster` | external |
//! | load balancer | `Cluster` | external |
//! | external IP | `Cluster` | external |
//!
//! The middle column is kube-proxy's rule (iptables and nftables mode, "short-circuit pod traffic"): traffic of the
//! cluster to external frontends is subject to neither policy, as if it had gone up and out to a load balancer and come
//! back in. Source ranges hold for load-balancer frontends, whoever asks.

mod affinity;
mod backends;
mod choice;
mod eligible;
mod frontends;
mod maglev;
mod rng;
mod settings;
mod shared;
mod stage;
mod tally;
#[cfg(test)]
mod tests;
mod trial;

use std::net::Ipv4Addr;
use std::sync::Arc;

use protocol::ServiceId;

use backends::{Backends, Row, Traits};
use eligible::Eligible;
use frontends::Frontends;
use settings::Settings;
use tally::Tallies;

pub(crate) use backends::MAX_BACKENDS;
#[cfg(test)]
pub(crate) use choice::Chosen;
pub(crate) use choice::NoBackend;
pub(crate) use frontends::FrontendHit;
pub(crate) use rng::Rng;
pub(crate) use shared::{ActiveConnections, SharedServices};
pub(crate) use stage::Changes;
pub(crate) use tally::Work;
pub(crate) use trial::{Candidates, Turns};

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A pod, or a node.
    Inside,
    /// Anywhere else: through the uplink.
    Outside,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Services {
    /// By number; as long as the greatest in use.
    rows: Vec<Option<Box<Service>>>,
    frontends: Frontends,
    backends: Backends,
    shared: Arc<SharedServices>,
    tallies: Tallies,
}

/// One port of a Service.
#[derive(Debug)]
struct Service {
    settings: Arc<Settings>,
    /// Slots, by [`Row::key`].
    slots: Box<[u32]>,
    /// For policy `Cluster`.
    cluster: Eligible,
    /// For policy `Local`, if the service has it anywhere.
    local: Option<Box<Eligible>>,
}

impl Services {
    /// No services; what is known together is `shared`.
    pub(crate) fn new(seed: u64, shared: Arc<SharedServices>) -> Self {
        Self {
            rows: Vec::new(),
            frontends: Frontends::new(seed),
            backends: Backends::new(seed),
            shared,
            tallies: Tallies::default(),
        }
    }

    /// What the workers know together.
    pub(crate) fn shared(&self) -> &SharedServices {
        &self.shared
    }

    /// The frontend a packet to this address is for. `is_node_address`: the address is one of the node's, where its
    /// node ports are.
    pub(crate) fn frontend(
        &self,
        protocol: u8,
        address: Ipv4Addr,
        port: u16,
        is_node_address: bool,
    ) -> Option<FrontendHit> {
        self.frontends.lookup(protocol, address, port, is_node_address)
    }

    /// Some service has this address, if perhaps not at every port: what is for another port is refused.
    pub(crate) fn is_service_address(&self, address: Ipv4Addr) -> bool {
        self.frontends.has_address(address)
    }

    /// The slot of a service's backend, ready or draining; `None` if it is none.
    pub(crate) fn slot(&self, service: ServiceId, address: Ipv4Addr, port: u16) -> Option<u32> {
        self.backends.find(index(service), address, port)
    }

    /// Whether connections to this backend of the service may go on.
    pub(crate) fn is_backend(&self, service: ServiceId, address: Ipv4Addr, port: u16) -> bool {
        self.slot(service, address, port).is_some()
    }

    /// Makes staged changes active. They were checked, so there is room.
    pub(crate) fn install(&mut self, changes: Changes) {
        // First what goes: its slots and frontends may be wanted.
        for (id, draft) in changes.iter() {
            self.release(id, draft);
        }
        for (id, draft) in changes.into_iter() {
            if let stage::Draft::Put { settings, rows } = draft {
                self.put(id, settings, rows);
            }
        }
    }

    fn release(&mut self, id: ServiceId, draft: &stage::Draft) {
        let Some(row) = self.rows.get_mut(id.index()) else { return };
        let Some(service) = row else { return };
        let (loses_frontends, kept): (bool, Option<&[Row]>) = match draft {
            stage::Draft::Gone => (true, Some(&[])),
            stage::Draft::Put { settings, rows } => (settings.is_some(), rows.as_deref()),
        };
        if loses_frontends {
            self.frontends.remove(service.settings.protocol, &service.settings.frontends);
        }
        if let Some(kept) = kept {
            for &slot in &service.slots {
                let key = self.backends.get(slot).map(|backend| backend.row().key());
                if key.is_some_and(|key| kept.binary_search_by_key(&key, Row::key).is_err()) {
                    self.backends.remove(slot);
                    self.tallies.retired.push((slot, id));
                }
            }
        }
        match draft {
            stage::Draft::Gone => {
                *row = None;
                self.tallies.gone.push(id);
            }
            stage::Draft::Put { .. } => {}
        }
    }

    fn put(&mut self, id: ServiceId, settings: Option<Arc<Settings>>, rows: Option<Vec<Row>>) {
        if self.rows.len() <= id.index() {
            self.rows.resize_with(id.index() + 1, || None);
        }
        let Some(place) = self.rows.get_mut(id.index()) else { return };
        let before = place.take();
        if let Some(settings) = &settings {
            self.frontends.insert(index(id), settings.protocol, &settings.frontends);
        }
        let kept = before.as_ref().map(|before| &before.settings);
        if let (Some(before), Some(settings)) = (kept, &settings)
            && before.name != settings.name
        {
            // Another service has got its number.
            self.tallies.gone.push(id);
        }
        let Some(settings) = settings.or_else(|| kept.map(Arc::clone)) else { return };
        let slots: Box<[u32]> = match rows {
            Some(rows) => {
                let backends = &mut self.backends;
                let shared = &self.shared;
                let slot = |row: &Row| match backends.find(index(id), row.address, row.port) {
                    Some(slot) => {
                        backends.update(slot, row);
                        Some(slot)
                    }
                    None => {
                        let slot = backends.insert(index(id), row)?;
                        shared.active.reset(slot);
                        Some(slot)
                    }
                };
                rows.iter().filter_map(slot).collect()
            }
            None => before.as_ref().map_or_else(Box::default, |before| before.slots.clone()),
        };
        *place = Some(Box::new(Service::new(settings, slots, &mut self.backends, before.as_deref())));
    }

    /// Bytes on the heap, but for what is shared.
    pub(crate) fn heap_size(&self) -> usize {
        let rows = self.rows.iter().flatten().map(|service| {
            let eligible = service.cluster.heap_size()
                + service.local.as_ref().map_or(0, |local| size_of::<Eligible>() + local.heap_size());
            let settings = size_of::<Settings>() + 2 * size_of::<usize>() + service.settings.heap_size();
            size_of::<Service>() + settings + size_of_val(&*service.slots) + eligible
        });
        self.rows.capacity() * size_of::<Option<Box<Service>>>()
            + rows.sum::<usize>()
            + self.frontends.heap_size()
            + self.backends.heap_size()
    }
}

impl Service {
    /// With the lists of who may be chosen.
    fn new(
        settings: Arc<Settings>,
        slots: Box<[u32]>,
        backends: &mut Backends,
        before: Option<&Self>,
    ) -> Self {
        let scheduler = settings.scheduler;
        let weighted = eligible::is_weighted(scheduler);
        let matching = |wanted: Traits, backends: &Backends| -> Vec<u32> {
            let eligible = |slot: &u32| {
                backends
                    .get(*slot)
                    .is_some_and(|backend| backend.traits.has(wanted) && (!weighted || backend.weight > 0))
            };
            slots.iter().copied().filter(eligible).collect()
        };
        let first_of = |choices: &[Traits], backends: &Backends| {
            choices.iter().map(|wanted| matching(*wanted, backends)).find(|slots| !slots.is_empty())
        };
        let ready = Traits::READY;
        let cluster = first_of(&[ready.with(Traits::PREFERRED, true), ready, Traits::default()], backends);
        let cluster = cluster.unwrap_or_default();
        let local = settings.needs_local().then(|| {
            first_of(&[ready.with(Traits::LOCAL, true), Traits::LOCAL], backends).unwrap_or_default()
        });
        for (member, eligible) in [(Traits::IN_CLUSTER, Some(&cluster)), (Traits::IN_LOCAL, local.as_ref())] {
            for slot in &slots {
                if let Some(backend) = backends.get_mut(*slot) {
                    backend.traits = backend.traits.with(member, false);
                }
            }
            for slot in eligible.into_iter().flatten() {
                if let Some(backend) = backends.get_mut(*slot) {
                    backend.traits = backend.traits.with(member, true);
                }
            }
        }
        let cluster = Eligible::new(cluster, scheduler, backends, before.map(|before| &before.cluster));
        let local = local.map(|local| {
            let before = before.and_then(|before| before.local.as_deref());
            Box::new(Eligible::new(local, scheduler, backends, before))
        });
        Self { settings, slots, cluster, local }
    }
}

/// A service's number in tables; they are checked to be below [`ServiceId::MAX_SERVICES`], which are 16 bits.
fn index(service: ServiceId) -> u16 {
    const { assert!(ServiceId::MAX_SERVICES <= 1 << 16) };
    u16::try_from(service.0).unwrap_or(u16::MAX)
}
