//! Who has which frontend. Cluster addresses and NodePorts are allocated without collisions; external addresses are
//! as users write them, and two services may name the same one. The first by name has it, on all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use protocol::link::{Frontend, Transport};

use super::super::names::{ObjectRef, PortKey};

/// What makes a frontend one and the same.
type Claim = (Transport, IpAddr, u16);

#[derive(Debug, Default)]
pub(super) struct Claims {
    by_frontend: BTreeMap<Claim, BTreeSet<PortKey>>,
    by_service: BTreeMap<ObjectRef, Vec<(Claim, PortKey)>>,
}

fn claim(key: &PortKey, frontend: &Frontend) -> Claim {
    (key.transport, frontend.address, frontend.port)
}

impl Claims {
    /// These are all frontends that `service` wants. Returns the services that have won or lost one by that.
    pub(super) fn set<'a>(
        &mut self,
        service: &ObjectRef,
        wanted: impl Iterator<Item = (&'a PortKey, &'a Frontend)>,
    ) -> BTreeSet<ObjectRef> {
        let wanted: Vec<_> = wanted.map(|(key, frontend)| (claim(key, frontend), key.clone())).collect();
        let mut concerned = BTreeSet::new();
        for (claim, key) in self.by_service.remove(service).into_iter().flatten() {
            let Some(keys) = self.by_frontend.get_mut(&claim) else { continue };
            keys.remove(&key);
            match keys.first() {
                Some(heir) => _ = concerned.insert(heir.service.clone()),
                None => _ = self.by_frontend.remove(&claim),
            }
        }
        for (claim, key) in &wanted {
            let keys = self.by_frontend.entry(*claim).or_default();
            if let Some(owner) = keys.first().filter(|owner| key < *owner) {
                concerned.insert(owner.service.clone());
            }
            keys.insert(key.clone());
        }
        if !wanted.is_empty() {
            self.by_service.insert(service.clone(), wanted);
        }
        concerned.remove(service);
        concerned
    }

    /// Who has a frontend.
    pub(super) fn owner(&self, key: &PortKey, frontend: &Frontend) -> Option<&PortKey> {
        self.by_frontend.get(&claim(key, frontend))?.first()
    }
}
