//! Decision tables, and whose they are. Never changed once they are active: workers share them, and a change makes others that
//! have in common with them what it does not touch.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use protocol::link::PolicyChange;
use protocol::link::policy::{Assigned, Owner, Table, TableChange};

use crate::limits::Limits;

/// Keys are numbers and addresses that control gives, so nobody can choose them.
type Map<K, V> = HashMap<K, V, FixedState>;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    tables: Arc<Map<u32, Arc<Table>>>,
    identities: Arc<Map<u32, Assigned>>,
    addresses: Arc<Map<Ipv4Addr, Owner>>,
}

/// Both tables of a pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Both<'a> {
    pub(crate) ingress: &'a Arc<Table>,
    pub(crate) egress: &'a Arc<Table>,
}

impl Tables {
    /// Who has an address.
    pub(crate) fn owner(&self, address: Ipv4Addr) -> Option<Owner> {
        self.addresses.get(&address).copied()
    }

    /// What holds for an identity.
    pub(crate) fn of(&self, identity: u32) -> Option<Both<'_>> {
        let Assigned { ingress, egress } = self.identities.get(&identity)?;
        Some(Both { ingress: self.tables.get(ingress)?, egress: self.tables.get(egress)? })
    }

    /// Carries out a change, or a piece of one; `touched`: tables that have to be checked in the end.
    pub(super) fn apply(
        &mut self,
        change: &PolicyChange,
        touched: &mut BTreeSet<u32>,
        limits: &Limits,
    ) -> Result<(), String> {
        for (id, change) in &change.tables {
            let tables = Arc::make_mut(&mut self.tables);
            let old = tables.remove(id);
            check_places(*id, change, old.is_some(), limits)?;
            let old = old.map(Arc::unwrap_or_clone);
            touched.insert(*id);
            if let Some(table) = change.applied(old) {
                tables.insert(*id, Arc::new(table));
            }
        }
        for (id, assigned) in &change.identities {
            let identities = Arc::make_mut(&mut self.identities);
            match assigned {
                Some(assigned) => drop(identities.insert(*id, *assigned)),
                None => drop(identities.remove(id)),
            }
        }
        for (address, owner) in &change.addresses {
            // Nothing of the other family is forwarded.
            let IpAddr::V4(address) = address else { continue };
            let addresses = Arc::make_mut(&mut self.addresses);
            match owner {
                Some(owner) => drop(addresses.insert(*address, *owner)),
                None => drop(addresses.remove(address)),
            }
        }
        Ok(())
    }

    /// What must hold of all of it, once the last piece has come.
    pub(super) fn check(&self, touched: &BTreeSet<u32>, limits: &Limits) -> Result<(), String> {
        within("tables of policies", self.tables.len(), limits.policy_tables)?;
        within("identities", self.identities.len(), limits.policy_identities)?;
        within("addresses", self.addresses.len(), limits.policy_addresses)?;
        let cells = self.tables.values().map(|table| table.cells()).sum();
        within("elements of tables of policies", cells, limits.policy_cells)?;
        for (id, table) in touched.iter().filter_map(|id| Some((id, self.tables.get(id)?))) {
            table.check().map_err(|problem| format!("table {id}: {problem}"))?;
            if let Some(rule) = table.rules.iter().find(|rule| rule.policy >= limits.policies) {
                let last = limits.policies.saturating_sub(1);
                return Err(format!("table {id}: policy {} is beyond the last, {last}", rule.policy));
            }
        }
        for (id, Assigned { ingress, egress }) in self.identities.iter() {
            if let Some(table) = [ingress, egress].into_iter().find(|table| !self.tables.contains_key(*table))
            {
                return Err(format!("identity {id}: there is no table {table}"));
            }
        }
        for (address, owner) in self.addresses.iter() {
            if let Owner::Pod { identity, .. } = owner
                && !self.identities.contains_key(identity)
            {
                return Err(format!("address {address}: there is no identity {identity}"));
            }
        }
        Ok(())
    }
}

/// What would take memory or do nothing, before it does.
fn check_places(id: u32, change: &TableChange, is_known: bool, limits: &Limits) -> Result<(), String> {
    match change {
        TableChange::Whole(_) => Ok(()),
        TableChange::More(_) | TableChange::Rows(_) | TableChange::Gone if !is_known => {
            Err(format!("there is no table {id}"))
        }
        TableChange::Rows(rows) => {
            let mut places = rows.maps.iter().chain(&rows.more).map(|(at, _)| *at);
            match places.find(|at| *at >= limits.policy_cells) {
                Some(at) => {
                    Err(format!("table {id}: map {at} is beyond the last, {}", limits.policy_cells - 1))
                }
                None => Ok(()),
            }
        }
        TableChange::More(_) | TableChange::Gone => Ok(()),
    }
}

fn within(what: &str, count: usize, max: u32) -> Result<(), String> {
    if count > max as usize { Err(format!("more than {max} {what}")) } else { Ok(()) }
}
