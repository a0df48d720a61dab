//! Changes on their way to become active: collected from deltas, checked, and then installed all at once.
//!
//! Only services that a delta names are here, so that a change costs its own size. What a service had is copied when
//! its backends first change; two sorted lists are merged then. Nothing here is visible, and dropping it forgets it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use protocol::ServiceId;
use protocol::link::{BackendChanges, ConfigDelta, NodeConfig, ServiceConfig};

use super::backends::{MAX_BACKENDS, MAX_BACKENDS_OF_SERVICE, Row};
use super::frontends::{self, MAX_FRONTENDS};
use super::settings::{self, Settings, bad_service};
use super::{Service, Services};
use crate::config::ConfigError;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    drafts: BTreeMap<ServiceId, Draft>,
    /// Somebody's addresses change, so that a service may have come to claim one.
    addresses: bool,
    /// The node changes, so that a service may have come to lie in its ranges.
    node: bool,
    /// Backends and frontends more than are active, or fewer.
    growth: Growth,
}

#[derive(Debug, Clone, Copy, Default)]
struct Growth {
    backends: i64,
    frontends: i64,
}

/// What becomes of one service.
#[derive(Debug, Clone)]
pub(super) enum Draft {
    Gone,
    Put {
        /// `None`: as they are.
        settings: Option<Arc<Settings>>,
        /// By [`Row::key`]. `None`: as they are.
        rows: Option<Vec<Row>>,
    },
}

impl Changes {
    pub(super) fn iter(&self) -> impl Iterator<Item = (ServiceId, &Draft)> {
        self.drafts.iter().map(|(id, draft)| (*id, draft))
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (ServiceId, Draft)> {
        self.drafts.into_iter()
    }

    /// Adds what a delta says about services, in the order the link prescribes.
    pub(crate) fn collect(&mut self, delta: &ConfigDelta, active: &Services) -> Result<(), ConfigError> {
        self.node |= delta.node.is_some();
        self.addresses |= self.node
            || !delta.attach.is_empty()
            || !delta.update.is_empty()
            || !delta.peers.is_empty()
            || !delta.services.is_empty();
        if delta.reset_services {
            self.reset(active);
        }
        for &id in &delta.forget_services {
            self.forget(id, active)?;
        }
        for config in &delta.services {
            self.put(config, active)?;
        }
        for change in &delta.backends {
            self.change_backends(change, active)?;
        }
        Ok(())
    }

    /// What must hold of all services together, once those of `owners` have their addresses.
    pub(crate) fn check<'a>(
        &self,
        active: &Services,
        node: Option<&NodeConfig>,
        owners: impl Iterator<Item = (IpAddr, &'a str)>,
    ) -> Result<(), ConfigError> {
        if !self.addresses {
            return Ok(());
        }
        let claimed = self.check_frontends(active)?;
        for (address, owner) in owners {
            if let IpAddr::V4(address) = address
                && let Some(id) = self.claimant(address, &claimed, active)
            {
                return Err(self.claims(id, address, owner, active));
            }
        }
        let pods = node.map(|node| node.cluster_cidr);
        let is_pods = |address: &Ipv4Addr| pods.is_some_and(|pods| pods.contains(&IpAddr::V4(*address)));
        if let Some((&address, &id)) = claimed.iter().find(|(address, _)| is_pods(address)) {
            return Err(self.claims(id, address, "the range of pods", active));
        }
        if self.node {
            for address in active.frontends.addresses().filter(is_pods) {
                if let Some(id) = self.claimant(address, &claimed, active) {
                    return Err(self.claims(id, address, "the range of pods", active));
                }
            }
        }
        Ok(())
    }

    /// Forgets all there are, and all that were to be.
    fn reset(&mut self, active: &Services) {
        self.drafts = active.all().map(|(id, _)| (id, Draft::Gone)).collect();
        self.growth =
            Growth { backends: -signed(active.backends.len()), frontends: -signed(active.frontends.len()) };
    }

    fn forget(&mut self, id: ServiceId, active: &Services) -> Result<(), ConfigError> {
        if !self.exists(id, active) {
            return Err(ConfigError::UnknownService(id));
        }
        self.growth.backends -= signed(self.backends_of(id, active));
        self.growth.frontends -= signed(self.frontends_of(id, active));
        match active.service(id) {
            Some(_) => self.drafts.insert(id, Draft::Gone),
            None => self.drafts.remove(&id),
        };
        Ok(())
    }

    fn put(&mut self, config: &ServiceConfig, active: &Services) -> Result<(), ConfigError> {
        let id = config.id;
        let settings = Arc::new(Settings::new(config)?);
        self.growth.frontends += signed(settings.frontends.len()) - signed(self.frontends_of(id, active));
        if signed(active.frontends.len()) + self.growth.frontends > signed(MAX_FRONTENDS) {
            return Err(bad_service(id, &config.name, format!("more than {MAX_FRONTENDS} frontends in all")));
        }
        let is_active = active.service(id).is_some();
        let new = || if is_active { None } else { Some(Vec::new()) };
        let draft = self.drafts.entry(id).or_insert_with(|| Draft::Put { settings: None, rows: new() });
        match draft {
            // Another one under an old number: none of the old one's backends stay.
            Draft::Gone => *draft = Draft::Put { settings: Some(settings), rows: Some(Vec::new()) },
            Draft::Put { settings: old, .. } => *old = Some(settings),
        }
        Ok(())
    }

    fn change_backends(&mut self, change: &BackendChanges, active: &Services) -> Result<(), ConfigError> {
        let id = change.service;
        if !self.exists(id, active) {
            return Err(ConfigError::UnknownService(id));
        }
        let bad = |changes: &Self, problem| Err(bad_service(id, changes.name(id, active), problem));
        let old = match self.drafts.get_mut(&id) {
            Some(Draft::Put { rows: Some(rows), .. }) => std::mem::take(rows),
            Some(Draft::Put { rows: None, .. } | Draft::Gone) | None => active.configured(id),
        };
        let before = old.len();
        let rows = match changed(old, change) {
            Ok(rows) => rows,
            Err(problem) => return bad(self, problem),
        };
        if rows.len() > MAX_BACKENDS_OF_SERVICE {
            return bad(self, settings::too_many_backends());
        }
        self.growth.backends += signed(rows.len()) - signed(before);
        if signed(active.backends.len()) + self.growth.backends > i64::from(MAX_BACKENDS) {
            return bad(self, format!("more than {MAX_BACKENDS} backends in all"));
        }
        match self.drafts.entry(id).or_insert(Draft::Put { settings: None, rows: None }) {
            Draft::Put { rows: place, .. } => *place = Some(rows),
            // Does not exist, and was refused.
            Draft::Gone => {}
        }
        Ok(())
    }

    /// No frontend belongs to two; the addresses of those that change, and whose they are.
    fn check_frontends(&self, active: &Services) -> Result<BTreeMap<Ipv4Addr, ServiceId>, ConfigError> {
        let mut taken = BTreeMap::new();
        let mut claimed = BTreeMap::new();
        for (id, settings) in self.new_settings() {
            for frontend in &settings.frontends {
                let (address, port) = (frontend.address, frontend.port);
                let key = frontends::key(settings.protocol, address, port);
                let kept = active.frontends.owner(key).filter(|owner| !self.replaces(*owner));
                if let Some(other) = taken.insert(key, id).or(kept) {
                    let other = self.name(other, active);
                    let problem = format!("frontend {address}:{port} already belongs to {other}");
                    return Err(bad_service(id, &settings.name, problem));
                }
                if frontend.kind.owns_address() {
                    claimed.insert(address, id);
                }
            }
        }
        Ok(claimed)
    }

    fn new_settings(&self) -> impl Iterator<Item = (ServiceId, &Settings)> {
        self.drafts.iter().filter_map(|(id, draft)| match draft {
            Draft::Put { settings: Some(settings), .. } => Some((*id, &**settings)),
            Draft::Put { settings: None, .. } | Draft::Gone => None,
        })
    }

    /// The active frontends of the service go.
    fn replaces(&self, id: ServiceId) -> bool {
        match self.drafts.get(&id) {
            Some(Draft::Gone | Draft::Put { settings: Some(_), .. }) => true,
            Some(Draft::Put { settings: None, .. }) | None => false,
        }
    }

    /// A service that will have this address.
    fn claimant(
        &self,
        address: Ipv4Addr,
        claimed: &BTreeMap<Ipv4Addr, ServiceId>,
        active: &Services,
    ) -> Option<ServiceId> {
        let kept = || {
            if !active.frontends.has_address(address) {
                return None;
            }
            // Found, it is refused in most cases; so all services may be looked at.
            let has = |service: &Service| service.settings.frontends.iter().any(|f| f.address == address);
            active.all().find(|(id, service)| !self.replaces(*id) && has(service)).map(|(id, _)| id)
        };
        claimed.get(&address).copied().or_else(kept)
    }

    fn claims(&self, id: ServiceId, address: Ipv4Addr, owner: &str, active: &Services) -> ConfigError {
        bad_service(id, self.name(id, active), format!("frontend address {address} belongs to {owner}"))
    }

    fn exists(&self, id: ServiceId, active: &Services) -> bool {
        match self.drafts.get(&id) {
            Some(Draft::Gone) => false,
            Some(Draft::Put { .. }) => true,
            None => active.service(id).is_some(),
        }
    }

    fn name<'a>(&'a self, id: ServiceId, active: &'a Services) -> &'a str {
        match self.drafts.get(&id) {
            Some(Draft::Put { settings: Some(settings), .. }) => &settings.name,
            Some(Draft::Put { settings: None, .. } | Draft::Gone) | None => {
                active.service(id).map_or("", |service| &service.settings.name)
            }
        }
    }

    fn backends_of(&self, id: ServiceId, active: &Services) -> usize {
        match self.drafts.get(&id) {
            Some(Draft::Gone) => 0,
            Some(Draft::Put { rows: Some(rows), .. }) => rows.len(),
            Some(Draft::Put { rows: None, .. }) | None => {
                active.service(id).map_or(0, |service| service.slots.len())
            }
        }
    }

    fn frontends_of(&self, id: ServiceId, active: &Services) -> usize {
        match self.drafts.get(&id) {
            Some(Draft::Gone) => 0,
            Some(Draft::Put { settings: Some(settings), .. }) => settings.frontends.len(),
            Some(Draft::Put { settings: None, .. }) | None => {
                active.service(id).map_or(0, |service| service.settings.frontends.len())
            }
        }
    }
}

impl Services {
    fn service(&self, id: ServiceId) -> Option<&Service> {
        self.rows.get(id.index())?.as_deref()
    }

    fn all(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        (0..).map(ServiceId).zip(&self.rows).filter_map(|(id, row)| Some((id, row.as_deref()?)))
    }

    /// Backends as configured, by [`Row::key`].
    fn configured(&self, id: ServiceId) -> Vec<Row> {
        let slots = self.service(id).map(|service| &*service.slots).unwrap_or_default();
        slots.iter().filter_map(|slot| self.backends.get(*slot)).map(super::backends::Backend::row).collect()
    }
}

/// `rows` without what is removed and with what is put. All sorted, so that it is one walk through each.
fn changed(rows: Vec<Row>, change: &BackendChanges) -> Result<Vec<Row>, String> {
    let mut gone: Vec<(Ipv4Addr, u16)> = Vec::with_capacity(change.remove.len());
    for &(address, port) in &change.remove {
        match address {
            IpAddr::V4(v4) if rows.binary_search_by_key(&(v4, port), Row::key).is_ok() => {
                gone.push((v4, port))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return Err(format!("{address}:{port} is no backend of it")),
        }
    }
    gone.sort_unstable();
    let mut put: Vec<Row> = Vec::with_capacity(change.put.len());
    for config in &change.put {
        let wrong = |problem| format!("backend {}:{}: {problem}", config.address, config.port);
        put.push(settings::backend(config).map_err(wrong)?);
    }
    put.sort_by_key(Row::key);
    if let Some([twice, _]) = put.array_windows().find(|[a, b]| a.key() == b.key()) {
        return Err(format!("backend {}:{} is there twice", twice.address, twice.port));
    }
    let mut kept = rows.into_iter().filter(|row| gone.binary_search(&row.key()).is_err()).peekable();
    let mut merged = Vec::with_capacity(kept.size_hint().1.unwrap_or(0) + put.len());
    for new in put {
        while let Some(row) = kept.next_if(|row| row.key() < new.key()) {
            merged.push(row);
        }
        let _replaced = kept.next_if(|row| row.key() == new.key());
        merged.push(new);
    }
    merged.extend(kept);
    Ok(merged)
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}
