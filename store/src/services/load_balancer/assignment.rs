//! Which address a service gets, and what of the store changes with that.
//!
//! An address that a service has stays its own, whatever becomes of the pools, until it asks for another one or is no load
//! balancer any more. What it asks for by name and cannot have is an error; where there is just nothing left, the service
//! is kept without an address, and says why ([`CONDITION`]).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::super::names::ObjectRef;
use super::super::spec::{Reach, Spec};
use super::pool::{AddressPool, AddressPools};
use super::request::Requested;
use super::tenants::{Tenant, Tenants};
use crate::cluster::{ClusterError, ClusterStore, Entry, Expect, Txn};
use protocol::problem::Problem;

/// Where the services of each address are ([`Tenants`]).
pub const LOAD_BALANCER_IPS: &str = "/vpod/v1/allocations/loadbalancer/";
/// The condition of a service that has no address and should: its message says why.
pub const CONDITION: &str = "vpod.io/LoadBalancerAddress";

/// A service that may get an address.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Applicant<'a> {
    pub(in super::super) spec: &'a Spec,
    /// `metadata.labels`.
    pub(in super::super) labels: Option<&'a BTreeMap<String, String>>,
}

/// Why no address is given.
pub(in super::super) enum Refusal {
    /// What it asks for cannot be.
    Invalid(Problem),
    /// The store.
    Store(ClusterError),
}

impl From<ClusterError> for Refusal {
    fn from(error: ClusterError) -> Self {
        Self::Store(error)
    }
}

/// Why a service waits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    reason: &'static str,
    message: String,
}

/// What becomes of the address of one service.
#[derive(Debug, Default)]
pub(in super::super) struct Assignment {
    address: Option<Ipv4Addr>,
    pending: Option<Pending>,
    changes: Vec<Change>,
}

/// Of one entry.
#[derive(Debug)]
struct Change {
    key: String,
    expect: Expect,
    tenants: Tenants,
}

fn key(ip: Ipv4Addr) -> String {
    format!("{LOAD_BALANCER_IPS}{ip}")
}

fn tenants(entry: Option<&Entry>) -> Result<Tenants, ClusterError> {
    let Some(entry) = entry else { return Ok(Tenants::default()) };
    serde_json::from_slice(&entry.value)
        .map_err(|source| ClusterError::Object { key: entry.key.clone(), source })
}

/// Addresses in a service's status.
pub(in super::super) fn addresses_of(service: &Service) -> Vec<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let all = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    all.iter().filter_map(|ingress| ingress.ip.as_deref()?.parse().ok()).collect()
}

/// Why a service that was read waits for its address; `None` if it does not wait.
#[must_use]
pub fn pending_reason(service: &Service) -> Option<&str> {
    let conditions = service.status.as_ref()?.conditions.as_deref()?;
    let condition = conditions.iter().find(|condition| condition.type_ == CONDITION)?;
    Some(&condition.message)
}

/// What decides.
struct Chooser<'a> {
    store: &'a dyn ClusterStore,
    pools: &'a AddressPools,
    service: Applicant<'a>,
    /// Who has an address besides services.
    owner: &'a dyn Fn(Ipv4Addr) -> Option<String>,
    made: Assignment,
}

impl Assignment {
    /// Decides what a service gets that had `old` addresses. `owner` names who has an address besides services.
    pub(in super::super) fn decide(
        store: &dyn ClusterStore,
        pools: &AddressPools,
        service: Applicant<'_>,
        old: &[Ipv4Addr],
        owner: &dyn Fn(Ipv4Addr) -> Option<String>,
    ) -> Result<Self, Refusal> {
        let mut chooser = Chooser { store, pools, service, owner, made: Self::default() };
        chooser.decide(old)?;
        Ok(chooser.made)
    }

    /// The addresses of a service that is deleted are free.
    pub(in super::super) fn release(
        store: &dyn ClusterStore,
        service: &ObjectRef,
        old: &[Ipv4Addr],
    ) -> Result<Self, ClusterError> {
        let mut made = Self::default();
        for ip in old {
            if let Some((entry, tenants)) = held(store, service, *ip)? {
                made.change(*ip, Some(&entry), tenants.without(service));
            }
        }
        Ok(made)
    }

    fn change(&mut self, ip: Ipv4Addr, entry: Option<&Entry>, tenants: Tenants) {
        self.changes.push(Change { key: key(ip), expect: Expect::unchanged(entry), tenants });
    }

    /// The changes, if nothing has changed since.
    pub(in super::super) fn add_to(&self, txn: Txn) -> Result<Txn, ClusterError> {
        self.changes.iter().try_fold(txn, |txn, Change { key, expect, tenants }| {
            let txn = txn.when(key, *expect);
            if tenants.is_empty() {
                return Ok(txn.delete(key));
            }
            let value = serde_json::to_vec(tenants)
                .map_err(|source| ClusterError::Object { key: key.clone(), source })?;
            Ok(txn.put(key, &value))
        })
    }

    /// Writes into the service's status what it has, or why it has nothing.
    pub(in super::super) fn show(&self, service: &mut Service, now: Option<Time>) {
        let old = service.status.take().unwrap_or_default();
        let mut conditions = old.conditions.unwrap_or_default();
        let before = conditions.iter().position(|condition| condition.type_ == CONDITION);
        let before = before.map(|index| conditions.remove(index));
        if let (Some(pending), Some(now)) = (&self.pending, now) {
            let new = condition(pending, now);
            let same = before.filter(|old| old.message == new.message && old.reason == new.reason);
            conditions.push(same.unwrap_or(new));
        }
        let ingress = |ip: Ipv4Addr| LoadBalancerIngress {
            ip: Some(ip.to_string()),
            ip_mode: Some("VIP".to_owned()),
            ..LoadBalancerIngress::default()
        };
        let status = ServiceStatus {
            conditions: (!conditions.is_empty()).then_some(conditions),
            load_balancer: self.address.map(|ip| LoadBalancerStatus { ingress: Some(vec![ingress(ip)]) }),
        };
        service.status = (status != ServiceStatus::default()).then_some(status);
    }
}

fn condition(pending: &Pending, now: Time) -> Condition {
    Condition {
        type_: CONDITION.to_owned(),
        status: "False".to_owned(),
        reason: pending.reason.to_owned(),
        message: pending.message.clone(),
        last_transition_time: now,
        observed_generation: None,
    }
}

/// The entry of an address that a service has.
fn held(
    store: &dyn ClusterStore,
    service: &ObjectRef,
    ip: Ipv4Addr,
) -> Result<Option<(Entry, Tenants)>, ClusterError> {
    let Some(entry) = store.get(&key(ip))? else { return Ok(None) };
    let tenants = tenants(Some(&entry))?;
    Ok(tenants.has(service).then_some((entry, tenants)))
}

impl<'a> Chooser<'a> {
    fn decide(&mut self, old: &[Ipv4Addr]) -> Result<(), Refusal> {
        let spec = self.service.spec;
        let wants = self.wants();
        let mut kept = false;
        for ip in old {
            let Some((entry, tenants)) = held(self.store, &spec.object, *ip)? else { continue };
            if wants && !kept && self.may_keep(*ip) {
                kept = true;
                self.keep(*ip, &entry, &tenants)?;
            } else {
                self.made.change(*ip, Some(&entry), tenants.without(&spec.object));
            }
        }
        if !wants || kept {
            return Ok(());
        }
        if self.pools.is_empty() {
            let why = "no address pool is configured (load_balancer.pool of vswitchd's configuration)";
            self.wait("NoPools", why.to_owned());
            return Ok(());
        }
        match &spec.balancer.address {
            Some(requested) => self.take(requested),
            None => self.choose(),
        }
    }

    /// Whether the service is to have an address of ours; says so if it is somebody else's.
    fn wants(&mut self) -> bool {
        let spec = self.service.spec;
        if spec.reach != Reach::LoadBalancer {
            return false;
        }
        if spec.has_foreign_class {
            self.wait("OtherClass", "spec.loadBalancerClass names another load balancer".to_owned());
        } else if spec.is_foreign {
            self.wait("OtherProxy", "a label leaves the service to another proxy".to_owned());
        }
        self.made.pending.is_none()
    }

    fn wait(&mut self, reason: &'static str, message: String) {
        self.made.pending = Some(Pending { reason, message });
    }

    /// It asks for no other one.
    fn may_keep(&self, ip: Ipv4Addr) -> bool {
        let request = &self.service.spec.balancer;
        let pool = request.pool.as_ref().and_then(|name| self.pools.named(name));
        request.address.as_ref().is_none_or(|requested| requested.ip == ip)
            && pool.is_none_or(|pool| pool.has(ip))
    }

    fn keep(&mut self, ip: Ipv4Addr, entry: &Entry, tenants: &Tenants) -> Result<(), Refusal> {
        let me = Tenant::of(self.service.spec);
        if let Some(why) = tenants.refuse(&me) {
            return Err(invalid("status.loadBalancer.ingress[0].ip", ip, &why));
        }
        self.made.address = Some(ip);
        let changed = tenants.with(me);
        if changed != *tenants {
            self.made.change(ip, Some(entry), changed);
        }
        Ok(())
    }

    /// What is asked for by name.
    fn take(&mut self, requested: &Requested) -> Result<(), Refusal> {
        let Requested { ip, path } = requested;
        let Some(pool) = self.pools.pool_of(*ip) else {
            return Err(invalid(
                path,
                *ip,
                "it is in no pool of vswitchd's configuration (load_balancer.pool)",
            ));
        };
        if let Some(name) = self.service.spec.balancer.pool.as_ref().filter(|name| **name != pool.name) {
            return Err(invalid(path, *ip, &format!("it is in pool {}, and {name} is asked for", pool.name)));
        }
        self.check_suits(pool, path, ip)?;
        if let Some(owner) = (self.owner)(*ip) {
            return Err(invalid(path, *ip, &format!("it is {owner}")));
        }
        let entry = self.store.get(&key(*ip))?;
        let tenants = tenants(entry.as_ref())?;
        let me = Tenant::of(self.service.spec);
        if let Some(why) = tenants.refuse(&me) {
            return Err(invalid(path, *ip, &format!("provided IP is already allocated: {why}")));
        }
        self.give(*ip, entry.as_ref(), &tenants, me);
        Ok(())
    }

    fn check_suits(
        &self,
        pool: &AddressPool,
        path: &str,
        value: impl std::fmt::Display,
    ) -> Result<(), Refusal> {
        if pool.suits(&self.service) {
            return Ok(());
        }
        Err(invalid(
            path,
            value,
            &format!("pool {} is for other services, by its namespaces or service_selectors", pool.name),
        ))
    }

    fn give(&mut self, ip: Ipv4Addr, entry: Option<&Entry>, tenants: &Tenants, me: Tenant) {
        self.made.address = Some(ip);
        self.made.change(ip, entry, tenants.with(me));
    }

    /// One that others with the same sharing key have, or else the first that nobody has.
    fn choose(&mut self) -> Result<(), Refusal> {
        let pools = self.eligible()?;
        if pools.is_empty() {
            let why = "no address pool is for this service (auto_assign, namespaces, service_selectors)";
            self.wait("NoPool", why.to_owned());
            return Ok(());
        }
        let taken = self.store.list(LOAD_BALANCER_IPS)?.entries;
        let taken: BTreeMap<Ipv4Addr, Entry> = taken
            .into_iter()
            .filter_map(|entry| Some((entry.key.strip_prefix(LOAD_BALANCER_IPS)?.parse().ok()?, entry)))
            .collect();
        let me = Tenant::of(self.service.spec);
        if me.sharing_key.is_some() {
            for (ip, entry) in taken.iter().filter(|(ip, _)| pools.iter().any(|pool| pool.has(**ip))) {
                let tenants = tenants(Some(entry))?;
                if tenants.refuse(&me).is_none() && (self.owner)(*ip).is_none() {
                    self.give(*ip, Some(entry), &tenants, me);
                    return Ok(());
                }
            }
        }
        let mut all = pools.iter().flat_map(|pool| pool.candidates());
        match all.find(|ip| !taken.contains_key(ip) && (self.owner)(*ip).is_none()) {
            Some(ip) => self.give(ip, None, &Tenants::default(), me),
            None => {
                let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
                self.wait("PoolExhausted", format!("no address is left in pool {}", names.join(", ")));
            }
        }
        Ok(())
    }

    /// Pools to choose from, in order.
    fn eligible(&self) -> Result<Vec<&'a AddressPool>, Refusal> {
        let (pools, service) = (self.pools, self.service);
        let Some(name) = &service.spec.balancer.pool else { return Ok(pools.for_service(&service)) };
        let path = "metadata.annotations[metallb.io/address-pool]";
        let Some(pool) = pools.named(name) else {
            return Err(invalid(
                path,
                name,
                "there is no such pool in vswitchd's configuration (load_balancer.pool)",
            ));
        };
        self.check_suits(pool, path, name)?;
        Ok(vec![pool])
    }
}

fn invalid(path: &str, value: impl std::fmt::Display, why: &str) -> Refusal {
    Refusal::Invalid(Problem::invalid(path, value, why))
}
