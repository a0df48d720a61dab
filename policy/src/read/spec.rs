//! `spec` of both kinds.

use protocol::problem::Problem;

use super::PolicyKind;
use super::fields::{Object, text};
use super::peers::pods;
use super::rules::rules;
use crate::model::{Direction, Place, Policy, PolicyName};

pub(super) fn policy(
    kind: PolicyKind,
    name: PolicyName,
    spec: &Object<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Policy> {
    match kind {
        PolicyKind::NetworkPolicy => network_policy(name, spec, problems),
        PolicyKind::ClusterNetworkPolicy => cluster_policy(name, spec, problems),
    }
}

fn network_policy(name: PolicyName, spec: &Object<'_>, problems: &mut Vec<Problem>) -> Option<Policy> {
    spec.allow_only(&["podSelector", "ingress", "egress", "policyTypes"], problems);
    let own = match &name {
        PolicyName::Namespaced(object) => Some(object.namespace.clone()),
        PolicyName::Cluster(_) => None,
    };
    let kind = PolicyKind::NetworkPolicy;
    let subject = pods(spec, own.as_ref(), problems);
    // Rules of a direction that is not among the types are read, so that what is wrong with them is said, and count for nothing.
    let mut rules = |direction| rules(kind, spec, direction, own.as_ref(), problems).unwrap_or_default();
    let (ingress, egress) = (rules(Direction::Ingress), rules(Direction::Egress));
    let types = policy_types(spec, problems);
    let is = |direction| types.contains(&direction);
    Some(Policy {
        name,
        place: Place::NETWORK_POLICIES,
        subject: subject?,
        ingress: is(Direction::Ingress).then_some(ingress),
        egress: is(Direction::Egress).then_some(egress),
    })
}

/// INVARIANT: there are some, the normal form has them.
fn policy_types(spec: &Object<'_>, problems: &mut Vec<Problem>) -> Vec<Direction> {
    let items = spec.list("policyTypes", problems).unwrap_or_default();
    if items.len() > 2 {
        let why = "may not specify more than two policyTypes";
        problems.push(Problem::invalid(spec.at("policyTypes"), items.len(), why));
    }
    let mut types = Vec::new();
    for (path, item) in items {
        match text(item, path.clone(), problems) {
            Some("Ingress") => types.push(Direction::Ingress),
            Some("Egress") => types.push(Direction::Egress),
            Some(other) => problems.push(Problem::unsupported(path, other, &["Egress", "Ingress"])),
            None => {}
        }
    }
    types
}

fn cluster_policy(name: PolicyName, spec: &Object<'_>, problems: &mut Vec<Problem>) -> Option<Policy> {
    let known = ["tier", "order", "namespaceSelector", "podSelector", "ingress", "egress"];
    spec.allow_only(&known, problems);
    spec.required("tier", problems);
    let tier = spec.number("tier", 0, u32::from(Place::AUTHORS_TIERS) - 1, problems);
    spec.required("order", problems);
    let order = spec.number("order", 0, u32::MAX, problems);
    let subject = pods(spec, None, problems);
    let kind = PolicyKind::ClusterNetworkPolicy;
    let ingress = rules(kind, spec, Direction::Ingress, None, problems);
    let egress = rules(kind, spec, Direction::Egress, None, problems);
    if ["ingress", "egress"].iter().all(|field| spec.get(field).is_none()) {
        problems.push(Problem::required(spec.path(), "must have `ingress` or `egress`"));
    }
    let place = Place::of_author(u16::try_from(tier?).ok()?, order?);
    Some(Policy { name, place, subject: subject?, ingress, egress })
}
