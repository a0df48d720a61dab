//! Policies with their selectors replaced by groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Compiler;
use super::groups::GroupKey;
use super::sweep::{Range, block_ranges};
use crate::cluster::NamedPort;
use crate::model::{
    Action, Direction, Peer, Place, Pods, Policy, PolicyName, PortRange, Ports, Protocol, Rule, Scope,
    Selector,
};
use protocol::link::policy::port_key;

/// What a table depends on: pods for which this is equal share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TableKey {
    pub(super) direction: Direction,
    /// In the order in which they are asked.
    pub(super) policies: Vec<u32>,
    /// The pod's own, where a policy names ports that are its own.
    pub(super) ports: BTreeSet<NamedPort>,
}

#[derive(Debug)]
pub(super) struct CompiledPolicy {
    pub(super) policy: Arc<Policy>,
    pub(super) subject: u32,
    /// For ingress and egress, as in the policy.
    pub(super) rules: [Option<Vec<Arc<CompiledRule>>>; 2],
    /// Tables that contain it. Both directions in one: most policies have one.
    pub(super) tables: BTreeSet<u32>,
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    pub(super) index: u32,
    pub(super) action: Action,
    /// Whoever the peer is.
    pub(super) anyone: bool,
    pub(super) groups: Vec<u32>,
    pub(super) blocks: Vec<Range>,
    /// Of [`port_key`].
    pub(super) ports: Vec<Range>,
    pub(super) named: Vec<(Protocol, String)>,
}

impl CompiledPolicy {
    pub(super) fn rules(&self, direction: Direction) -> Option<&[Arc<CompiledRule>]> {
        let [ingress, egress] = &self.rules;
        match direction {
            Direction::Ingress => ingress.as_deref(),
            Direction::Egress => egress.as_deref(),
        }
    }

    pub(super) fn order(&self) -> (Place, &PolicyName) {
        (self.policy.place, &self.policy.name)
    }

    fn groups(&self) -> impl Iterator<Item = u32> {
        self.rules.iter().flatten().flatten().flat_map(|rule| rule.groups.iter().copied())
    }
}

impl CompiledRule {
    /// Its ports where those of a pod have names.
    pub(super) fn ports_with(&self, names: Option<&BTreeSet<NamedPort>>) -> Vec<Range> {
        let mut ranges = self.ports.clone();
        let named = self.named.iter().flat_map(|(protocol, name)| {
            let same = move |port: &&NamedPort| port.protocol == *protocol && port.name == *name;
            names.into_iter().flatten().filter(same)
        });
        ranges.extend(named.map(|port| {
            let key = u128::from(port_key(port.protocol.0, port.port));
            (key, key)
        }));
        ranges
    }
}

impl Compiler {
    /// A policy is there, or is another than it was.
    pub fn set_policy(&mut self, policy: Policy) {
        let known = self.policies.id(&policy.name).and_then(|id| self.policies.get(id));
        if known.is_some_and(|known| *known.policy == policy && known.subject != NO_GROUP) {
            return;
        }
        let name = policy.name.clone();
        let policy = Arc::new(policy);
        let empty = || CompiledPolicy {
            policy: Arc::clone(&policy),
            subject: NO_GROUP,
            rules: [None, None],
            tables: BTreeSet::new(),
        };
        // Numbers of groups that stay are kept: the new ones before the old ones are released.
        let (id, _) = self.policies.acquire(name.clone(), empty);
        let subject = self.group(policy.subject.clone(), None);
        let rules = [Direction::Ingress, Direction::Egress].map(|direction| self.rules(&policy, direction));
        self.remove_policy(&name);
        let tables = self.policies.get_mut(id).map(|known| std::mem::take(&mut known.tables));
        let compiled = CompiledPolicy { policy, subject, rules, tables: tables.unwrap_or_default() };
        for group in compiled.groups() {
            self.groups.get_mut(group).map(|group| group.peer_of.insert(id));
        }
        if let Some(known) = self.policies.get_mut(id) {
            *known = compiled;
        }
        self.dirty.policies.insert(id);
        self.set_subject(id, subject, true);
    }

    /// A policy is gone.
    pub fn remove_policy(&mut self, name: &PolicyName) {
        let Some(id) = self.policies.id(name) else { return };
        let Some(known) = self.policies.get_mut(id).filter(|known| known.subject != NO_GROUP) else { return };
        let groups: Vec<u32> = known.groups().collect();
        let subject = std::mem::replace(&mut known.subject, NO_GROUP);
        known.rules = [None, None];
        for group in groups {
            self.groups.get_mut(group).map(|group| group.peer_of.remove(&id));
            self.groups.release(group);
        }
        self.set_subject(id, subject, false);
        self.groups.release(subject);
        self.policies.release(id);
    }

    fn set_subject(&mut self, policy: u32, group: u32, is_subject: bool) {
        let Some(state) = self.groups.get_mut(group) else { return };
        if is_subject {
            state.subject_of.insert(policy)
        } else {
            state.subject_of.remove(&policy)
        };
        for identity in state.members.iter() {
            let Some(known) = self.identities.get_mut(identity) else { continue };
            if is_subject {
                known.selected.insert(policy)
            } else {
                known.selected.remove(&policy)
            };
            self.dirty.identities.insert(identity);
        }
    }

    fn rules(&mut self, policy: &Policy, direction: Direction) -> Option<Vec<Arc<CompiledRule>>> {
        let rules = policy.rules(direction)?;
        Some((0..).zip(rules).map(|(index, rule)| Arc::new(self.rule(direction, index, rule))).collect())
    }

    fn rule(&mut self, direction: Direction, index: u32, rule: &Rule) -> CompiledRule {
        let named: Vec<(Protocol, String)> = rule.ports.iter().filter_map(name).collect();
        let mut groups = Vec::new();
        let mut blocks = Vec::new();
        for peer in &rule.peers {
            match peer {
                Peer::Pods(pods) => groups.push(self.group(pods.clone(), None)),
                Peer::Block(block) => blocks.extend(block_ranges(block)),
            }
        }
        if rule.peers.is_empty() && direction == Direction::Egress {
            let everyone =
                Pods { namespaces: Scope::Matching(Selector::default()), selector: Selector::default() };
            groups.extend(named.iter().map(|port| self.group(everyone.clone(), Some(port.clone()))));
        }
        let ports = if rule.ports.is_empty() {
            vec![ALL_PORTS]
        } else {
            rule.ports.iter().filter_map(numbers).collect()
        };
        CompiledRule {
            index,
            action: rule.action,
            anyone: rule.peers.is_empty(),
            groups,
            blocks,
            ports,
            named,
        }
    }

    /// A group, for one more user.
    fn group(&mut self, pods: Pods, port: Option<(Protocol, String)>) -> u32 {
        let key = GroupKey { pods, port };
        let (id, is_new) = self.groups.acquire(key.clone());
        if is_new {
            for identity in self.identities_in(&key.pods.namespaces) {
                let is_member = self.identities.key(identity).is_some_and(|identity| key.matches(identity));
                self.groups.get_mut(id).map(|group| group.members.set(identity, is_member));
            }
        }
        id
    }

    fn identities_in(&self, scope: &Scope) -> Vec<u32> {
        match scope {
            Scope::Own(namespace) => {
                self.by_namespace.get(namespace).into_iter().flatten().copied().collect()
            }
            Scope::Matching(selector) => {
                let all = self.by_namespace.iter();
                let matching = all.filter(|(name, _)| {
                    selector.is_empty() || selector.matches(&self.namespace_labels(name))
                });
                matching.flat_map(|(_, ids)| ids).copied().collect()
            }
        }
    }
}

/// Of a policy that is going.
const NO_GROUP: u32 = u32::MAX;
/// Every protocol with every port.
pub(super) const ALL_PORTS: Range = (0, 0x00ff_ffff);

fn name(item: &Ports) -> Option<(Protocol, String)> {
    match &item.range {
        PortRange::Named(name) => Some((item.protocol, name.clone())),
        PortRange::Any | PortRange::Numbers(..) => None,
    }
}

fn numbers(item: &Ports) -> Option<Range> {
    let (first, last) = match item.range {
        PortRange::Any => (0, u16::MAX),
        PortRange::Numbers(first, last) => (first, last),
        PortRange::Named(_) => return None,
    };
    Some((port_key(item.protocol.0, first).into(), port_key(item.protocol.0, last).into()))
}
