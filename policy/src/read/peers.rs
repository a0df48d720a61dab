//! Items of `from` and `to`.

use ipnet::IpNet;
use protocol::Namespace;
use protocol::problem::Problem;
use serde_json::Value;

use super::fields::{Object, text};
use super::selector::selector;
use crate::model::{Block, Peer, Pods, Scope, Selector};

/// `own`: the policy's namespace, where `podSelector` alone looks; a cluster-wide policy's looks in all.
pub(super) fn peer(
    value: &Value,
    path: String,
    own: Option<&Namespace>,
    problems: &mut Vec<Problem>,
) -> Option<Peer> {
    let object = Object::read(value, path, problems)?;
    object.allow_only(&["podSelector", "namespaceSelector", "ipBlock"], problems);
    let selects = ["podSelector", "namespaceSelector"].iter().any(|field| object.get(field).is_some());
    match object.get("ipBlock") {
        Some(_) if selects => {
            let why = "may not be specified when both podSelector and namespaceSelector, or one of them, are";
            problems.push(Problem::forbidden(object.at("ipBlock"), why));
            None
        }
        Some(value) => block(value, object.at("ipBlock"), problems).map(Peer::Block),
        None if selects => pods(&object, own, problems).map(Peer::Pods),
        None => {
            problems.push(Problem::required(object.path(), "must specify a peer"));
            None
        }
    }
}

/// `podSelector` and `namespaceSelector`, which must both match. An absent one of pods matches all.
pub(super) fn pods(
    object: &Object<'_>,
    own: Option<&Namespace>,
    problems: &mut Vec<Problem>,
) -> Option<Pods> {
    let mut read = |field| match object.get(field) {
        Some(value) => selector(value, object.at(field), problems).map(Some),
        None => Some(None),
    };
    let namespaces = read("namespaceSelector");
    let selector = read("podSelector")?.unwrap_or_default();
    let namespaces = match (namespaces?, own) {
        (Some(selector), _) => Scope::Matching(selector),
        (None, Some(own)) => Scope::Own(own.clone()),
        (None, None) => Scope::Matching(Selector::default()),
    };
    Some(Pods { namespaces, selector })
}

fn block(value: &Value, path: String, problems: &mut Vec<Problem>) -> Option<Block> {
    let object = Object::read(value, path, problems)?;
    object.allow_only(&["cidr", "except"], problems);
    object.required("cidr", problems);
    let whole = object.text("cidr", problems).and_then(|text| cidr(text, object.at("cidr"), problems));
    let mut except = Vec::new();
    for (path, item) in object.list("except", problems).unwrap_or_default() {
        let Some(text) = text(item, path.clone(), problems) else { continue };
        let Some(part) = cidr(text, path.clone(), problems) else { continue };
        if whole.is_some_and(|whole| part == whole || !whole.contains(&part)) {
            problems.push(Problem::invalid(path, text, "must be a strict subset of `cidr`"));
        }
        except.push(part);
    }
    Some(Block { cidr: whole?, except })
}

/// A prefix without host bits; one with them is more often a typing error than meant.
fn cidr(text: &str, path: String, problems: &mut Vec<Problem>) -> Option<IpNet> {
    let mut refuse = |why: &str| {
        problems.push(Problem::invalid(path.clone(), text, why));
        None
    };
    // `IpNet` would read 010.0.0.0 as 10.0.0.0, others read it as octal.
    let parsed = text.split_once('/').and_then(|(address, prefix_len)| {
        let is_plain = prefix_len == "0" || !prefix_len.starts_with(['0', '+']);
        IpNet::new(address.parse().ok()?, prefix_len.parse().ok().filter(|_| is_plain)?).ok()
    });
    let Some(net) = parsed else {
        return refuse("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    };
    if net != net.trunc() {
        return refuse(&format!(
            "must not have bits set beyond the prefix length (should be \"{}\")",
            net.trunc()
        ));
    }
    if let IpNet::V6(v6) = net
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return refuse("must not be an IPv4-mapped IPv6 address: write it as IPv4");
    }
    Some(net)
}
