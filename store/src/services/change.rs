//! What the datapath is told when services change.

use std::net::IpAddr;
use std::sync::Arc;

use protocol::ServiceId;
use protocol::link::{BackendChanges, BackendConfig, ConfigDelta, ServiceConfig};

use super::endpoints::Backends;
use super::map::Services;

/// One port of a service with its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceState {
    /// Its settings.
    pub config: ServiceConfig,
    /// What it leads to.
    pub backends: Backends,
}

/// Bytes of settings or backends in one message, as [`config_weight`] and the constants below count them; half of
/// what there is room for.
const BYTES_PER_MESSAGE: usize = 32 << 10;
/// A number as it is encoded, at most.
const ID_BYTES: usize = 5;
/// Family, 16 bytes, port.
const REMOVED_BYTES: usize = 20;
/// And weight, state, flags.
const BACKEND_BYTES: usize = 26;
/// Number of the service, two lengths.
const CHANGES_BYTES: usize = 16;

/// Everything that differs, as one delta.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ServiceChanges {
    /// Whatever services there are go.
    pub reset: bool,
    /// Services that go, or whose number another one has got.
    pub forget: Vec<ServiceId>,
    /// New settings.
    pub services: Vec<ServiceConfig>,
    /// New, changed and former backends.
    pub backends: Vec<BackendChanges>,
}

/// What turns `active` into `wanted`.
#[must_use]
pub fn diff(active: &Services, wanted: &Services) -> ServiceChanges {
    let mut changes = ServiceChanges::default();
    for (id, old, new) in active.changes(wanted) {
        match new {
            Some(new) => changes.compare(id, old, new),
            None => changes.forget.push(id),
        }
    }
    changes
}

impl ServiceChanges {
    fn compare(&mut self, id: ServiceId, old: Option<&Arc<ServiceState>>, new: &Arc<ServiceState>) {
        let none = Backends::new();
        let old = match old {
            Some(old)
                if old.config.name == new.config.name && old.config.transport == new.config.transport =>
            {
                Some(old)
            }
            Some(_) => {
                self.forget.push(id);
                None
            }
            None => None,
        };
        if old.is_none_or(|old| old.config != new.config) {
            self.services.push(new.config.clone());
        }
        let before = old.map_or(&none, |old| &old.backends);
        let remove = before.keys().filter(|key| !new.backends.contains_key(key)).copied().collect();
        let put = new.backends.iter().filter(|(key, backend)| before.get(key) != Some(backend));
        let changes = BackendChanges { service: id, remove, put: put.map(|(_, backend)| *backend).collect() };
        if !changes.remove.is_empty() || !changes.put.is_empty() {
            self.backends.push(changes);
        }
    }

    /// Split into deltas, each of which fits a message. None commits, none has a number.
    #[must_use]
    pub fn in_messages(self) -> Vec<ConfigDelta> {
        let blank = ConfigDelta::default;
        let mut deltas = Vec::new();
        if self.reset {
            deltas.push(ConfigDelta { reset_services: true, ..blank() });
        }
        let gone = self.forget.chunks(BYTES_PER_MESSAGE / ID_BYTES);
        deltas.extend(gone.map(|chunk| ConfigDelta { forget_services: chunk.to_vec(), ..blank() }));
        for services in by_weight(self.services, config_weight) {
            deltas.push(ConfigDelta { services, ..blank() });
        }
        let parts = self.backends.into_iter().flat_map(parts).collect();
        for backends in by_weight(parts, changes_weight) {
            deltas.push(ConfigDelta { backends, ..blank() });
        }
        deltas
    }
}

/// At least as many bytes as `config` takes: 20 per frontend (sort, family, 16 bytes, port), 19 per range.
fn config_weight(config: &ServiceConfig) -> usize {
    64 + config.name.len() + 22 * config.frontends.len() + 20 * config.source_ranges.len()
}

fn changes_weight(changes: &BackendChanges) -> usize {
    CHANGES_BYTES + REMOVED_BYTES * changes.remove.len() + BACKEND_BYTES * changes.put.len()
}

/// Changes of one service in parts, each of which fits a message: removals first.
fn parts(changes: BackendChanges) -> Vec<BackendChanges> {
    if changes_weight(&changes) <= BYTES_PER_MESSAGE {
        return vec![changes];
    }
    let BackendChanges { service, remove, put } = changes;
    let room = BYTES_PER_MESSAGE - CHANGES_BYTES;
    let removed =
        |chunk: &[(IpAddr, u16)]| BackendChanges { service, remove: chunk.to_vec(), put: Vec::new() };
    let added = |chunk: &[BackendConfig]| BackendChanges { service, remove: Vec::new(), put: chunk.to_vec() };
    let removed = remove.chunks(room / REMOVED_BYTES).map(removed);
    removed.chain(put.chunks(room / BACKEND_BYTES).map(added)).collect()
}

/// In groups that weigh at most [`BYTES_PER_MESSAGE`] together, as one of them does.
fn by_weight<T>(items: Vec<T>, weight: fn(&T) -> usize) -> Vec<Vec<T>> {
    crate::desired::by_weight(items, BYTES_PER_MESSAGE, weight)
}
