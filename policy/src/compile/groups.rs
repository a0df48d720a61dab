//! Groups: selectors, and the identities they match.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use protocol::Namespace;

use super::bits::Bits;
use super::identities::IdentityKey;
use super::interner::Interner;
use crate::model::{Labels, Pods, Protocol, Scope, Selector};

/// Pods that a policy means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) pods: Pods,
    /// Only those that have a port with this name: whom a rule means that says nothing but the name.
    pub(super) port: Option<(Protocol, String)>,
}

impl GroupKey {
    /// Of an identity in a namespace that is in scope.
    pub(super) fn matches(&self, identity: &IdentityKey) -> bool {
        let has_port = self.port.as_ref().is_none_or(|(protocol, name)| {
            identity.ports.iter().any(|port| port.protocol == *protocol && port.name == *name)
        });
        has_port && self.pods.selector.matches(&identity.labels)
    }
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: Bits,
    /// Policies with a rule about it.
    pub(super) peer_of: BTreeSet<u32>,
    /// Policies for it.
    pub(super) subject_of: BTreeSet<u32>,
}

/// All groups, found by where they look: a selector of namespaces is compared once, not once per group.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Interner<GroupKey, Group>,
    own: HashMap<Namespace, BTreeSet<u32>>,
    matching: BTreeMap<Selector, BTreeSet<u32>>,
}

impl Groups {
    /// As [`Interner::acquire`].
    pub(super) fn acquire(&mut self, key: GroupKey) -> (u32, bool) {
        let scope = key.pods.namespaces.clone();
        let (id, is_new) = self.groups.acquire(key, Group::default);
        if is_new {
            match scope {
                Scope::Own(namespace) => self.own.entry(namespace).or_default().insert(id),
                Scope::Matching(selector) => self.matching.entry(selector).or_default().insert(id),
            };
        }
        (id, is_new)
    }

    pub(super) fn release(&mut self, id: u32) {
        self.groups.release(id);
    }

    pub(super) fn reclaim(&mut self) {
        for (id, key, _) in self.groups.reclaim() {
            match &key.pods.namespaces {
                Scope::Own(namespace) => {
                    if let Some(ids) = self.own.get_mut(namespace) {
                        ids.remove(&id);
                        if ids.is_empty() {
                            self.own.remove(namespace);
                        }
                    }
                }
                Scope::Matching(selector) => {
                    if let Some(ids) = self.matching.get_mut(selector) {
                        ids.remove(&id);
                        if ids.is_empty() {
                            self.matching.remove(selector);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn key(&self, id: u32) -> Option<Arc<GroupKey>> {
        self.groups.key(id).cloned()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Group> {
        self.groups.get(id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Group> {
        self.groups.get_mut(id)
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Those that look at a namespace.
    pub(super) fn in_reach(&self, namespace: &Namespace, labels: &Labels) -> Vec<u32> {
        let own = self.own.get(namespace).into_iter().flatten();
        let matching = self.matching.iter().filter(|(selector, _)| selector.matches(labels));
        own.chain(matching.flat_map(|(_, ids)| ids)).copied().collect()
    }

    /// Those that look at namespaces' labels, and whether these satisfy them.
    pub(super) fn by_labels(&self, labels: &Labels) -> Vec<(u32, bool)> {
        let groups = self.matching.iter().flat_map(|(selector, ids)| {
            let in_scope = selector.matches(labels);
            ids.iter().map(move |id| (*id, in_scope))
        });
        groups.collect()
    }
}
