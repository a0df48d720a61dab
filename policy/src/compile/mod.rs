//! From objects to decision tables, change by change.
//!
//! How it works: pods with the same namespace, labels and named ports are one *identity*. What a policy selects, as subject or as
//! peer, is a *group*: a selector with the set of identities it matches, shared by all policies that have the same one. An identity
//! has a [`Table`] per direction, shared by all identities that the same policies select. Setters keep identities, groups and who
//! is selected by what; [`Compiler::commit`] then makes the tables that are new or of which a policy changed, and in the others the rows of
//! identities that came to a group or left it. So a change costs what it touches:
//!
//! | change | looked at | rewritten |
//! |-|-|-|
//! | a pod's labels | groups of its namespace and of matching namespaces | its identity's rows; its tables, if no other pod has them |
//! | a namespace's labels | groups with a `namespaceSelector` × the namespace's identities | as above, for those that came or left |
//! | a pod's address | nothing | the address |
//! | a policy | the identities in its scope | the tables of those it selects, or did |

mod addresses;
mod bits;
mod build;
mod commit;
#[cfg(test)]
mod dump;
mod explain;
mod groups;
mod identities;
mod interner;
mod policies;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use protocol::{Namespace, ObjectName, ObjectRef};

use crate::cluster::Pod;
use crate::model::{Labels, PolicyName};
use crate::tables::Tables;
use build::BuiltTable;
use groups::Groups;
use identities::{Identity, IdentityKey};
use interner::Interner;
use policies::{CompiledPolicy, TableKey};

#[cfg(doc)]
use protocol::link::policy::Table;

/// Objects in, tables and what changed in them out. See the module's text.
#[derive(Debug, Default)]
pub struct Compiler {
    pods: BTreeMap<ObjectRef, PodState>,
    namespaces: BTreeMap<Namespace, Labels>,
    claims: BTreeMap<IpAddr, Claims>,
    policies: Interner<PolicyName, CompiledPolicy>,
    pod_ids: Interner<ObjectRef, ()>,
    nodes: Interner<ObjectName, BTreeSet<IpAddr>>,
    identities: Interner<IdentityKey, Identity>,
    by_namespace: BTreeMap<Namespace, BTreeSet<u32>>,
    groups: Groups,
    built: Interner<TableKey, Option<BuiltTable>>,
    tables: Tables,
    dirty: Dirty,
}

/// A pod, and the numbers it has.
#[derive(Debug)]
struct PodState {
    pod: Pod,
    id: u32,
    identity: u32,
    node: Option<u32>,
}

/// Who says an address is his. The first by name has it, pods before nodes.
#[derive(Debug, Default)]
struct Claims {
    pods: BTreeSet<ObjectRef>,
    nodes: BTreeSet<ObjectName>,
}

/// What the next commit has to look at.
#[derive(Debug, Default)]
struct Dirty {
    addresses: BTreeSet<IpAddr>,
    /// Others select them.
    identities: BTreeSet<u32>,
    /// Their rules are others.
    policies: BTreeSet<u32>,
    /// Identities that came to a group or left it.
    members: BTreeSet<(u32, u32)>,
}

impl Compiler {
    /// Without any object.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As of the last commit: the same as what a datapath has that was told every change.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// A pod is there, or is another than it was.
    pub fn set_pod(&mut self, name: &ObjectRef, pod: Pod) {
        if self.pods.get(name).is_some_and(|known| known.pod == pod) {
            return;
        }
        // The new numbers before the old ones are released: most changes keep some.
        let id = self.pod_ids.acquire(name.clone(), || ()).0;
        let key = IdentityKey {
            namespace: name.namespace.clone(),
            labels: pod.labels.clone(),
            ports: pod.ports.clone(),
        };
        let identity = self.acquire_identity(key);
        let node = pod.node.clone().map(|node| self.nodes.acquire(node, BTreeSet::new).0);
        self.remove_pod(name);
        for address in &pod.addresses {
            self.claims.entry(*address).or_default().pods.insert(name.clone());
            self.dirty.addresses.insert(*address);
        }
        self.pods.insert(name.clone(), PodState { pod, id, identity, node });
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, name: &ObjectRef) {
        let Some(state) = self.pods.remove(name) else { return };
        for address in &state.pod.addresses {
            self.unclaim(*address, |claims| claims.pods.remove(name));
        }
        self.pod_ids.release(state.id);
        self.identities.release(state.identity);
        if let Some(node) = state.node {
            self.nodes.release(node);
        }
    }

    /// A namespace has these labels.
    pub fn set_namespace(&mut self, name: &Namespace, labels: Labels) {
        if self.namespaces.get(name) != Some(&labels) {
            self.namespaces.insert(name.clone(), labels);
            self.regroup_namespace(name);
        }
    }

    /// A namespace is gone; what is left of it has the label of its name.
    pub fn remove_namespace(&mut self, name: &Namespace) {
        if self.namespaces.remove(name).is_some() {
            self.regroup_namespace(name);
        }
    }

    /// A node has these addresses.
    pub fn set_node(&mut self, name: &ObjectName, addresses: BTreeSet<IpAddr>) {
        let (id, _) = self.nodes.acquire(name.clone(), BTreeSet::new);
        self.remove_node(name);
        for address in &addresses {
            self.claims.entry(*address).or_default().nodes.insert(name.clone());
            self.dirty.addresses.insert(*address);
        }
        if addresses.is_empty() {
            self.nodes.release(id);
        } else if let Some(known) = self.nodes.get_mut(id) {
            *known = addresses;
        }
    }

    /// A node is gone.
    pub fn remove_node(&mut self, name: &ObjectName) {
        let Some(id) = self.nodes.id(name) else { return };
        let Some(addresses) = self.nodes.get_mut(id).map(std::mem::take).filter(|known| !known.is_empty())
        else {
            return;
        };
        self.nodes.release(id);
        for address in addresses {
            self.unclaim(address, |claims| claims.nodes.remove(name));
        }
    }

    fn namespace_labels(&self, namespace: &Namespace) -> Labels {
        crate::cluster::with_name(self.namespaces.get(namespace), namespace)
    }

    fn identity_key(&self, id: u32) -> Option<Arc<IdentityKey>> {
        self.identities.key(id).cloned()
    }
}
