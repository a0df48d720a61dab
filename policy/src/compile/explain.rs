//! Decisions with names: from the same tables that packets are decided by.

use std::net::IpAddr;

use protocol::ObjectRef;

use super::Compiler;
use crate::cluster::Flow;
use crate::model::{Direction, Place, PolicyName};
use crate::tables::Outcome;
use crate::verdict::{Decision, Explanation, Reason, RuleName};
use protocol::link::policy::Owner;
use protocol::link::policy::TableRule;

impl Compiler {
    /// What becomes of a flow as of the last commit, and why.
    #[must_use]
    pub fn explain(&self, flow: &Flow) -> Explanation {
        let name = |address| self.pod_at(address).cloned();
        Explanation {
            source: name(flow.source),
            destination: name(flow.destination),
            egress: self.decision(flow, Direction::Egress),
            ingress: self.decision(flow, Direction::Ingress),
        }
    }

    /// Which pod has an address as of the last commit.
    #[must_use]
    pub fn pod_at(&self, address: IpAddr) -> Option<&ObjectRef> {
        match self.tables.owner(address)? {
            Owner::Pod { pod, .. } => self.pod_ids.key(pod).map(AsRef::as_ref),
            Owner::Node(_) => None,
        }
    }

    /// The policies that select a pod for a direction, in the order in which they are asked.
    #[must_use]
    pub fn selecting(&self, pod: &ObjectRef, direction: Direction) -> Vec<PolicyName> {
        let identity = self.pods.get(pod).map(|state| state.identity);
        let table = identity.and_then(|identity| self.tables.table_of(identity, direction));
        self.policies_of(table).cloned().collect()
    }

    fn decision(&self, flow: &Flow, direction: Direction) -> Decision {
        match self.tables.decide(flow, direction) {
            Outcome::NoPod => Decision::allowed(Reason::NoPod),
            Outcome::Itself => Decision::allowed(Reason::Itself),
            Outcome::OwnNode => Decision::allowed(Reason::OwnNode),
            Outcome::Unrestricted => Decision::allowed(Reason::Unrestricted),
            Outcome::NoTable => Decision::denied(Reason::Isolated(Vec::new())),
            Outcome::Rule(rule) => {
                let reason = self.reason(flow, direction, &rule);
                if rule.allows() { Decision::allowed(reason) } else { Decision::denied(reason) }
            }
        }
    }

    fn reason(&self, flow: &Flow, direction: Direction, rule: &TableRule) -> Reason {
        let policy = self.policies.get(rule.policy).map(|compiled| &compiled.policy);
        let found = policy.zip(rule.index).and_then(|(policy, index)| {
            Some((policy.name.clone(), index, policy.rules(direction)?.get(index as usize)?.name.clone()))
        });
        if let Some((policy, index, name)) = found {
            return Reason::Rule(RuleName { policy, direction, index, name });
        }
        let Some(Owner::Pod { identity, .. }) = self.tables.owner(flow.subject(direction)) else {
            return Reason::Isolated(Vec::new());
        };
        let table = self.tables.table_of(identity, direction);
        let isolating = self.policies_of(table).filter(|name| {
            let known = self.policies.id(name).and_then(|id| self.policies.get(id));
            known.is_some_and(|known| known.policy.place == Place::NETWORK_POLICIES)
        });
        Reason::Isolated(isolating.cloned().collect())
    }

    fn policies_of(&self, table: Option<u32>) -> impl Iterator<Item = &PolicyName> {
        let key = table.and_then(|id| self.built.key(id));
        let ids = key.into_iter().flat_map(|key| &key.policies);
        ids.filter_map(|id| self.policies.key(*id).map(AsRef::as_ref))
    }
}
