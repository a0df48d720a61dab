//! Pools of addresses, as the configuration has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use protocol::Namespace;
use serde::{Deserialize, Serialize};

use super::assignment::Applicant;
use super::range::AddressRange;

/// Addresses for load balancers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// What services ask for it by.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<AddressRange>,
    /// Given to services that ask for no pool.
    pub auto_assign: bool,
    /// Without addresses that end in .0 or .255, which some devices take for those of a network.
    pub avoid_buggy_ips: bool,
    /// 1 is tried first; 0 comes last.
    pub priority: u32,
    /// Namespaces whose services may have its addresses; all if empty.
    #[serde(default)]
    pub namespaces: BTreeSet<Namespace>,
    /// Labels of services that may have its addresses, all of one of these; any if empty.
    #[serde(default)]
    pub service_selectors: Vec<BTreeMap<String, String>>,
}

impl AddressPool {
    /// Whether it is one of its addresses.
    #[must_use]
    pub fn has(&self, ip: Ipv4Addr) -> bool {
        self.addresses.iter().any(|range| range.contains(ip)) && !self.avoids(ip)
    }

    /// Its addresses in order, the lowest first.
    pub fn candidates(&self) -> impl Iterator<Item = Ipv4Addr> {
        let all = self.addresses.iter().flat_map(AddressRange::addresses);
        all.filter(|ip| !self.avoids(*ip))
    }

    /// Whether a service may have its addresses.
    pub(super) fn suits(&self, service: &Applicant<'_>) -> bool {
        let selects = |selector: &BTreeMap<String, String>| {
            selector.iter().all(|(key, value)| service.labels.is_some_and(|all| all.get(key) == Some(value)))
        };
        (self.namespaces.is_empty() || self.namespaces.contains(&service.spec.object.namespace))
            && (self.service_selectors.is_empty() || self.service_selectors.iter().any(selects))
    }

    const fn avoids(&self, ip: Ipv4Addr) -> bool {
        self.avoid_buggy_ips && matches!(ip.octets()[3], 0 | 255)
    }

    /// Pools that were made for some services come before those for all, as in `MetalLB`.
    fn rank(&self) -> (bool, u32, &str) {
        let is_for_all = self.namespaces.is_empty() && self.service_selectors.is_empty();
        (is_for_all, self.priority.wrapping_sub(1), &self.name)
    }
}

/// All pools.
///
/// INVARIANT: no two have one name, or an address in common.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressPools(Vec<AddressPool>);

/// Why pools cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolsError {
    /// Two of one name.
    #[error("there are two pools \"{0}\"")]
    Name(String),
    /// Two with an address in common.
    #[error("{range} of pool \"{pool}\" overlaps {other_range} of pool \"{other}\"")]
    Overlap {
        /// Of the first.
        range: AddressRange,
        /// The first.
        pool: String,
        /// Of the second.
        other_range: AddressRange,
        /// The second.
        other: String,
    },
}

impl AddressPools {
    /// Checks them against each other.
    ///
    /// # Errors
    /// What they have in common.
    pub fn new(pools: Vec<AddressPool>) -> Result<Self, PoolsError> {
        let mut names = BTreeSet::new();
        let mut ranges: Vec<(AddressRange, &str)> = Vec::new();
        for pool in &pools {
            if !names.insert(&pool.name) {
                return Err(PoolsError::Name(pool.name.clone()));
            }
            for range in &pool.addresses {
                if let Some((other_range, other)) = ranges.iter().find(|(other, _)| other.overlaps(range)) {
                    let (range, pool) = (*range, pool.name.clone());
                    let (other_range, other) = (*other_range, (*other).to_owned());
                    return Err(PoolsError::Overlap { range, pool, other_range, other });
                }
                ranges.push((*range, &pool.name));
            }
        }
        Ok(Self(pools))
    }

    /// No pool, so no load balancers here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, as configured.
    pub fn iter(&self) -> impl Iterator<Item = &AddressPool> {
        self.0.iter()
    }

    /// The pool of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&AddressPool> {
        self.0.iter().find(|pool| pool.name == name)
    }

    /// The pool that an address is of.
    #[must_use]
    pub fn pool_of(&self, ip: Ipv4Addr) -> Option<&AddressPool> {
        self.0.iter().find(|pool| pool.has(ip))
    }

    /// What a service that asks for no pool gets its address from, in order.
    pub(super) fn for_service(&self, service: &Applicant<'_>) -> Vec<&AddressPool> {
        let suits = |pool: &&AddressPool| pool.auto_assign && pool.suits(service);
        let mut pools: Vec<&AddressPool> = self.0.iter().filter(suits).collect();
        pools.sort_by_key(|pool| pool.rank());
        pools
    }
}
