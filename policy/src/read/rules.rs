//! Items of `ingress` and `egress`.

use protocol::Namespace;
use protocol::problem::Problem;
use serde_json::Value;

use super::PolicyKind;
use super::fields::Object;
use super::peers::peer;
use super::ports::ports;
use crate::model::{Action, Direction, Rule};

/// As Kubernetes bounds those of its cluster-wide policies.
const MAX_RULE_NAME_LEN: usize = 100;

/// Absent, or a list that may be empty.
pub(super) fn rules(
    kind: PolicyKind,
    spec: &Object<'_>,
    direction: Direction,
    own: Option<&Namespace>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Rule>> {
    let items = spec.list(&direction.to_string(), problems)?;
    let read = |(path, item)| rule(kind, item, path, direction, own, problems);
    Some(items.into_iter().filter_map(read).collect())
}

fn rule(
    kind: PolicyKind,
    value: &Value,
    path: String,
    direction: Direction,
    own: Option<&Namespace>,
    problems: &mut Vec<Problem>,
) -> Option<Rule> {
    let object = Object::read(value, path, problems)?;
    let peers_field = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let (name, action) = match kind {
        PolicyKind::NetworkPolicy => {
            object.allow_only(&[peers_field, "ports"], problems);
            (None, Some(Action::Allow))
        }
        PolicyKind::ClusterNetworkPolicy => {
            object.allow_only(&["name", "action", peers_field, "ports"], problems);
            refuse_empty(&object, &[peers_field, "ports"], problems);
            (rule_name(&object, problems), action(&object, problems))
        }
    };
    let peers = object.list(peers_field, problems).unwrap_or_default();
    let peers = peers.into_iter().filter_map(|(path, item)| peer(item, path, own, problems)).collect();
    let items = object.list("ports", problems).unwrap_or_default();
    let ports = items.into_iter().filter_map(|(path, item)| ports(kind, item, path, problems)).collect();
    Some(Rule { name, action: action?, peers, ports })
}

/// In Kubernetes' rules an empty list is as good as none, and means everything. In ours nobody has to know that.
fn refuse_empty(object: &Object<'_>, fields: &[&str], problems: &mut Vec<Problem>) {
    for field in fields {
        if object.get(field).and_then(Value::as_array).is_some_and(Vec::is_empty) {
            let why = "must have an item: leave it out where everything is meant";
            problems.push(Problem::invalid(object.at(field), "[]", why));
        }
    }
}

fn rule_name(object: &Object<'_>, problems: &mut Vec<Problem>) -> Option<String> {
    let name = object.text("name", problems)?;
    if name.is_empty() || name.len() > MAX_RULE_NAME_LEN || name.chars().any(char::is_control) {
        let why = format!("must be 1 to {MAX_RULE_NAME_LEN} bytes without control characters");
        problems.push(Problem::invalid(object.at("name"), name.escape_debug(), why));
    }
    Some(name.to_owned())
}

fn action(object: &Object<'_>, problems: &mut Vec<Problem>) -> Option<Action> {
    object.required("action", problems);
    match object.text("action", problems)? {
        "Allow" => Some(Action::Allow),
        "Deny" => Some(Action::Deny),
        "Pass" => Some(Action::Pass),
        other => {
            problems.push(Problem::unsupported(object.at("action"), other, &["Allow", "Deny", "Pass"]));
            None
        }
    }
}
