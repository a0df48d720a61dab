//! Identities: all that policies can see of a pod but its address.

use std::collections::BTreeSet;

use protocol::Namespace;

use super::Compiler;
use crate::cluster::NamedPort;
use crate::model::Labels;

/// What pods of one identity have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct IdentityKey {
    pub(super) namespace: Namespace,
    pub(super) labels: Labels,
    pub(super) ports: BTreeSet<NamedPort>,
}

#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The policies whose subject it is.
    pub(super) selected: BTreeSet<u32>,
    /// For ingress and egress, once they are made.
    pub(super) tables: Option<[u32; 2]>,
}

impl Compiler {
    /// The number of an identity; a new one is put into the groups that match it.
    pub(super) fn acquire_identity(&mut self, key: IdentityKey) -> u32 {
        let (id, is_new) = self.identities.acquire(key, Identity::default);
        if let Some(key) = self.identity_key(id).filter(|_| is_new) {
            self.by_namespace.entry(key.namespace.clone()).or_default().insert(id);
            self.dirty.identities.insert(id);
            let labels = self.namespace_labels(&key.namespace);
            for group in self.groups.in_reach(&key.namespace, &labels) {
                let is_member = self.groups.key(group).is_some_and(|group| group.matches(&key));
                if is_member {
                    self.set_member(group, id, true);
                }
            }
        }
        id
    }

    /// Its number is free after this; it is in no group and has no tables.
    pub(super) fn forget_identity(&mut self, id: u32, key: &IdentityKey, identity: &Identity) {
        if let Some(ids) = self.by_namespace.get_mut(&key.namespace) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_namespace.remove(&key.namespace);
            }
        }
        let labels = self.namespace_labels(&key.namespace);
        for group in self.groups.in_reach(&key.namespace, &labels) {
            self.set_member(group, id, false);
        }
        self.dirty.identities.remove(&id);
        for table in identity.tables.into_iter().flatten() {
            self.built.release(table);
        }
    }

    /// Membership of a namespace's identities in all groups that look at namespaces' labels.
    pub(super) fn regroup_namespace(&mut self, namespace: &Namespace) {
        let labels = self.namespace_labels(namespace);
        let ids: Vec<u32> = self.by_namespace.get(namespace).into_iter().flatten().copied().collect();
        for (group, in_scope) in self.groups.by_labels(&labels) {
            let Some(group_key) = self.groups.key(group) else { continue };
            for id in &ids {
                let key = self.identities.key(*id);
                let is_member = in_scope && key.is_some_and(|key| group_key.matches(key));
                self.set_member(group, *id, is_member);
            }
        }
    }

    /// An identity comes to a group or leaves it.
    pub(super) fn set_member(&mut self, group: u32, identity: u32, is_member: bool) {
        let Some(state) = self.groups.get_mut(group) else { return };
        if !state.members.set(identity, is_member) {
            return;
        }
        if !state.peer_of.is_empty() {
            self.dirty.members.insert((group, identity));
        }
        let Some(known) = self.identities.get_mut(identity) else { return };
        for policy in &state.subject_of {
            if is_member {
                known.selected.insert(*policy)
            } else {
                known.selected.remove(policy)
            };
            self.dirty.identities.insert(identity);
        }
    }
}
