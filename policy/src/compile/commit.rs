//! What the setters have left to do, done at once.

use std::collections::{BTreeMap, BTreeSet};

use super::bits::Bits;
use super::build::{BuiltTable, Sources};
use super::policies::TableKey;
use super::{Compiler, Dirty};
use crate::model::Direction;
use crate::tables::Change;
use protocol::link::policy::{Assigned, TableChange};

impl Compiler {
    /// Makes tables of what was set since the last time, and says what that changed.
    pub fn commit(&mut self) -> Change {
        let mut change = Change { addresses: self.changed_addresses(), ..Change::default() };
        for (id, key, identity) in self.identities.reclaim() {
            self.forget_identity(id, &key, &identity);
            if identity.tables.is_some() {
                change.identities.push((id, None));
            }
        }
        self.pod_ids.reclaim();
        self.nodes.reclaim();
        self.groups.reclaim();
        let dirty = std::mem::take(&mut self.dirty);
        let mut stale = self.assign_tables(&dirty.identities, &mut change);
        for policy in dirty.policies.iter().filter_map(|id| self.policies.get(*id)) {
            stale.extend(&policy.tables);
        }
        self.drop_unused(&mut stale, &mut change);
        self.build(&stale, &mut change);
        self.change_rows(&dirty, &stale, &mut change);
        self.name_policies(&dirty, &mut change);
        self.tables.apply(&change);
        change
    }

    /// The tables that are to be made.
    fn assign_tables(&mut self, identities: &BTreeSet<u32>, change: &mut Change) -> BTreeSet<u32> {
        let mut to_make = BTreeSet::new();
        for id in identities {
            let keys =
                [Direction::Ingress, Direction::Egress].map(|direction| self.table_key(*id, direction));
            let tables = keys.map(|key| {
                let policies = key.policies.clone();
                let (table, is_new) = self.built.acquire(key, || None);
                if is_new {
                    to_make.insert(table);
                    for policy in policies {
                        self.policies.get_mut(policy).map(|known| known.tables.insert(table));
                    }
                }
                table
            });
            let Some(identity) = self.identities.get_mut(*id) else { continue };
            let old = identity.tables.replace(tables);
            for table in old.into_iter().flatten() {
                self.built.release(table);
            }
            if old != Some(tables) {
                let [ingress, egress] = tables;
                change.identities.push((*id, Some(Assigned { ingress, egress })));
            }
        }
        to_make
    }

    fn table_key(&self, identity: u32, direction: Direction) -> TableKey {
        let selected = self.identities.get(identity).into_iter().flat_map(|identity| &identity.selected);
        let compiled = selected.filter_map(|id| self.policies.get(*id).map(|policy| (*id, policy)));
        let mut asked: Vec<_> = compiled.filter(|(_, policy)| policy.rules(direction).is_some()).collect();
        asked.sort_by_key(|(_, policy)| policy.order());
        let names_ports = direction == Direction::Ingress
            && asked.iter().any(|(_, policy)| {
                policy.rules(direction).into_iter().flatten().any(|rule| !rule.named.is_empty())
            });
        let ports = self.identities.key(identity).filter(|_| names_ports).map(|key| key.ports.clone());
        TableKey {
            direction,
            policies: asked.into_iter().map(|(id, _)| id).collect(),
            ports: ports.unwrap_or_default(),
        }
    }

    fn drop_unused(&mut self, stale: &mut BTreeSet<u32>, change: &mut Change) {
        for (id, key, _) in self.built.reclaim() {
            stale.remove(&id);
            for policy in &key.policies {
                self.policies.get_mut(*policy).map(|known| known.tables.remove(&id));
            }
            if self.tables.table(id).is_some() {
                change.tables.push((id, TableChange::Gone));
            }
        }
    }

    fn build(&mut self, stale: &BTreeSet<u32>, change: &mut Change) {
        for id in stale {
            let Some(key) = self.built.key(*id).cloned() else { continue };
            let (built, table) = BuiltTable::new(&key, self.sources());
            if let Some(slot) = self.built.get_mut(*id) {
                *slot = Some(built);
            }
            if self.tables.table(*id) != Some(&table) {
                change.tables.push((*id, TableChange::Whole(table)));
            }
        }
    }

    /// In tables that were there before and are not made anew.
    fn change_rows(&mut self, dirty: &Dirty, made: &BTreeSet<u32>, change: &mut Change) {
        let mut touched: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut members: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (group, identity) in &dirty.members {
            members.entry(*group).or_default().insert(*identity);
        }
        // Group by group, because hundreds of policies that have a group may have the same few tables.
        for (group, identities) in members {
            let policies = self.groups.get(group).into_iter().flat_map(|group| &group.peer_of);
            let tables = policies.filter_map(|id| self.policies.get(*id)).flat_map(|policy| &policy.tables);
            let mut once = Bits::default();
            for table in tables {
                once.set(*table, true);
            }
            for table in once.iter().filter(|table| !made.contains(table)) {
                touched.entry(table).or_default().extend(&identities);
            }
        }
        let sources =
            Sources { policies: &self.policies, groups: &self.groups, identities: &self.identities };
        let changed: BTreeSet<u32> = dirty.members.iter().map(|(_, identity)| *identity).collect();
        let memberships = changed.into_iter().map(|identity| (identity, self.groups_of(identity))).collect();
        for (id, identities) in touched {
            let Some(Some(built)) = self.built.get_mut(id) else { continue };
            let Some(table) = self.tables.table(id) else { continue };
            let rows = built.rows(table, &identities, &memberships, sources);
            change.tables.extend(rows.map(|rows| (id, TableChange::Rows(rows))));
        }
    }

    /// Once for all tables: a few words that stay in the cache, where the groups' own sets do not.
    fn groups_of(&self, identity: u32) -> Bits {
        let mut groups = Bits::default();
        let Some(key) = self.identities.key(identity) else { return groups };
        for group in self.groups.in_reach(&key.namespace, &self.namespace_labels(&key.namespace)) {
            let is_member = self.groups.get(group).is_some_and(|group| group.members.contains(identity));
            groups.set(group, is_member);
        }
        groups
    }

    fn name_policies(&mut self, dirty: &Dirty, change: &mut Change) {
        for (id, _, _) in self.policies.reclaim() {
            if self.tables.policy(id).is_some() {
                change.policies.push((id, None));
            }
        }
        for id in &dirty.policies {
            let name = self.policies.key(*id).filter(|name| self.tables.policy(*id) != Some(name));
            change.policies.extend(name.map(|name| (*id, Some(name.as_ref().clone()))));
        }
    }

    fn sources(&self) -> Sources<'_> {
        Sources { policies: &self.policies, groups: &self.groups, identities: &self.identities }
    }

    /// How many there are: identities, groups, tables, policies, pods. What is gone is not among them after a commit.
    #[must_use]
    pub fn counts(&self) -> [usize; 5] {
        let identities = self.identities.len();
        [identities, self.groups.len(), self.built.len(), self.policies.len(), self.pods.len()]
    }
}
