//! Who has an address, as the store keeps it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::link::{TrafficPolicy, Transport};
use serde::{Deserialize, Serialize};

use super::super::names::{ObjectRef, transport_word};
use super::super::spec::Spec;
use super::request::SHARING;

/// The services that have one address, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenants(Vec<Tenant>);

/// What others must know of a service that has an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its name.
    pub service: ObjectRef,
    /// Services that name the same one may have the same address.
    #[serde(default)]
    pub sharing_key: Option<String>,
    /// What it serves there.
    pub ports: BTreeSet<(Transport, u16)>,
    /// What it selects, if it sends to the pods of the announcing node only: that node must have pods of all.
    #[serde(default)]
    pub local_pods: Option<BTreeMap<String, String>>,
}

impl Tenant {
    /// What a service is as a tenant.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        Self {
            service: spec.object.clone(),
            sharing_key: spec.balancer.sharing_key.clone(),
            ports: spec.ports.iter().map(|port| (port.transport, port.number)).collect(),
            local_pods: (spec.external_policy == TrafficPolicy::Local).then(|| spec.selector.clone()),
        }
    }

    /// Why these two cannot have one address.
    fn conflict(&self, other: &Self) -> Option<String> {
        let owner = &other.service;
        if self.sharing_key.is_none() || self.sharing_key != other.sharing_key {
            return Some(format!("it is that of service {owner}; to share it, both name the same {SHARING}"));
        }
        if let Some((transport, port)) = self.ports.intersection(&other.ports).next() {
            let transport = transport_word(*transport);
            return Some(format!(
                "it is shared with service {owner}, which has port {port}/{transport} there"
            ));
        }
        let same_pods = match (&self.local_pods, &other.local_pods) {
            (None, None) => true,
            (Some(mine), Some(theirs)) => {
                mine == theirs && !mine.is_empty() && self.service.namespace == owner.namespace
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        (!same_pods).then(|| {
            format!(
                "it is shared with service {owner}: either both have externalTrafficPolicy Cluster, or both Local and the same selector"
            )
        })
    }
}

impl Tenants {
    /// Why `new` cannot join them.
    #[must_use]
    pub fn refuse(&self, new: &Tenant) -> Option<String> {
        let others = self.0.iter().filter(|tenant| tenant.service != new.service);
        others.filter_map(|tenant| new.conflict(tenant)).next()
    }

    /// Whether the service is one of them.
    #[must_use]
    pub fn has(&self, service: &ObjectRef) -> bool {
        self.0.iter().any(|tenant| tenant.service == *service)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Tenant> {
        self.0.iter()
    }

    /// With `new`, in place of what it was before.
    #[must_use]
    pub fn with(&self, new: Tenant) -> Self {
        let mut all = self.without(&new.service);
        all.0.push(new);
        all.0.sort_by(|a, b| a.service.cmp(&b.service));
        all
    }

    /// Without a service.
    #[must_use]
    pub fn without(&self, service: &ObjectRef) -> Self {
        Self(self.0.iter().filter(|tenant| tenant.service != *service).cloned().collect())
    }

    /// Nobody is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
