//! All decision tables, and whose they are: what a datapath holds, and the changes that it is told.
//!
//! A pod without its identity's tables is not there for a datapath, and its port is closed; that nobody passes while tables
//! are missing is for who opens ports. Here an address that is nobody's is outside, and no policy of its own is asked.

use std::collections::HashMap;
use std::net::IpAddr;

use protocol::link::PolicyChange;
use protocol::link::policy::{Assigned, Owner, Table, TableChange, TableRule};

use serde::{Deserialize, Serialize};

use crate::cluster::Flow;
use crate::model::{Direction, PolicyName};

/// What has changed; takes effect as a whole. None: it is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// By number.
    pub tables: Vec<(u32, TableChange)>,
    /// By number.
    pub identities: Vec<(u32, Option<Assigned>)>,
    /// By address.
    pub addresses: Vec<(IpAddr, Option<Owner>)>,
    /// By number; for counters and logs.
    pub policies: Vec<(u32, Option<PolicyName>)>,
}

impl Change {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.identities.is_empty()
            && self.addresses.is_empty()
            && self.policies.is_empty()
    }

    /// The same as a datapath is told it, in pieces of which each fits a message: to be committed with the last one.
    #[must_use]
    pub fn pieces(self) -> Vec<PolicyChange> {
        let gone = self.policies.into_iter().filter(|(_, name)| name.is_none()).map(|(id, _)| id);
        let (tables, identities, addresses) = (self.tables, self.identities, self.addresses);
        PolicyChange { tables, identities, addresses, gone: gone.collect() }.pieces()
    }
}

/// See the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    tables: HashMap<u32, Table>,
    identities: HashMap<u32, Assigned>,
    addresses: HashMap<IpAddr, Owner>,
    policies: HashMap<u32, PolicyName>,
}

/// What decided at one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No pod is there.
    NoPod,
    /// Both ends are the same pod.
    Itself,
    /// The other end is the pod's own node.
    OwnNode,
    /// A rule of the pod's table.
    Rule(TableRule),
    /// No rule of it.
    Unrestricted,
    /// The pod has no table. Never so between two changes; whoever forwards drops.
    NoTable,
}

impl Tables {
    /// Takes a change over.
    pub fn apply(&mut self, change: &Change) {
        for (id, change) in &change.tables {
            if let Some(table) = change.applied(self.tables.remove(id)) {
                self.tables.insert(*id, table);
            }
        }
        assign(&mut self.identities, &change.identities);
        assign(&mut self.addresses, &change.addresses);
        assign(&mut self.policies, &change.policies);
    }

    /// What leads from no tables to these, for who has none.
    #[must_use]
    pub fn whole(&self) -> Change {
        Change {
            tables: self.tables.iter().map(|(id, table)| (*id, TableChange::Whole(table.clone()))).collect(),
            identities: self.identities.iter().map(|(id, assigned)| (*id, Some(*assigned))).collect(),
            addresses: self.addresses.iter().map(|(address, owner)| (*address, Some(*owner))).collect(),
            policies: self.policies.iter().map(|(id, name)| (*id, Some(name.clone()))).collect(),
        }
    }

    /// What the datapath does with a flow at one end.
    #[must_use]
    pub fn decide(&self, flow: &Flow, direction: Direction) -> Outcome {
        let subject = self.addresses.get(&flow.subject(direction));
        let Some(Owner::Pod { pod, identity, node }) = subject else { return Outcome::NoPod };
        let address = flow.peer(direction);
        let peer = match self.addresses.get(&address) {
            Some(Owner::Pod { pod: peer, .. }) if peer == pod => return Outcome::Itself,
            Some(Owner::Pod { identity, .. }) => Some(*identity),
            Some(Owner::Node(peer)) if Some(*peer) == *node => return Outcome::OwnNode,
            Some(Owner::Node(_)) | None => None,
        };
        let Some(table) = self.table_of(*identity, direction).and_then(|id| self.tables.get(&id)) else {
            return Outcome::NoTable;
        };
        table
            .lookup(address, peer, flow.protocol.0, flow.port)
            .map_or(Outcome::Unrestricted, |rule| Outcome::Rule(*rule))
    }

    /// Who has an address.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<Owner> {
        self.addresses.get(&address).copied()
    }

    /// The name of a policy.
    #[must_use]
    pub fn policy(&self, id: u32) -> Option<&PolicyName> {
        self.policies.get(&id)
    }

    /// How many there are: tables, identities, addresses, policies.
    #[must_use]
    pub fn counts(&self) -> [usize; 4] {
        [self.tables.len(), self.identities.len(), self.addresses.len(), self.policies.len()]
    }

    pub(crate) fn table_of(&self, identity: u32, direction: Direction) -> Option<u32> {
        let assigned = self.identities.get(&identity)?;
        Some(match direction {
            Direction::Ingress => assigned.ingress,
            Direction::Egress => assigned.egress,
        })
    }

    pub(crate) fn table(&self, id: u32) -> Option<&Table> {
        self.tables.get(&id)
    }
}

fn assign<K: Copy + Eq + std::hash::Hash, V: Clone>(map: &mut HashMap<K, V>, changes: &[(K, Option<V>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(*key, value.clone()),
            None => map.remove(key),
        };
    }
}
