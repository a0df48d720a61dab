//! `policy audit`: what manifests would change for the traffic that there is.
//!
//! Looked at are the connections and the flows that the switch carries now, and those that policies have refused lately. The flow table does not
//! know who asked whom. There the end with a port that a pod has named, or else the lower port number, is taken for the
//! one that was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ::policy::{Cluster, Compiler, Flow, PolicyKind, Protocol, read};
use protocol::link::Transport;
use protocol::message::{ApiError, ErrorCode};
use protocol::object::{self, PolicyAudit, PolicyVerdict};
use serde_json::Value;

use super::super::error::chain;
use super::super::node::Control;
use super::super::tables;
use super::denials::denials;
use super::state::compiled;
use super::verdict::verdict;

/// What would become of this node's traffic.
pub(crate) fn audit(control: &Control, manifests: &[String]) -> Result<PolicyAudit, ApiError> {
    let now = control.switch.policies().cluster().clone();
    let mut then = now.clone();
    for text in manifests {
        let policy = read_manifest(text)?;
        then.policies.insert(policy.name.clone(), policy);
    }
    let unavailable = |error| ApiError::new(ErrorCode::Unavailable, chain(&error));
    let carried = carried(control, &now).map_err(unavailable)?;
    let refused = denials(control).map_err(unavailable)?;
    let refused: BTreeSet<Key> = refused.iter().map(|denial| of_denial(&denial.flow)).collect();
    let (now, then) = (compiled(&now), compiled(&then));
    let mut audit = PolicyAudit { flows: carried.len() as u64, ..PolicyAudit::default() };
    let cut = changed(&carried, &now, &then, |before, after| before && !after);
    let opened = changed(&refused, &now, &then, |before, after| !before && after);
    audit.left_out = keep(&mut audit.cut, cut) + keep(&mut audit.opened, opened);
    Ok(audit)
}

fn read_manifest(text: &str) -> Result<::policy::Policy, ApiError> {
    let invalid = |text: String| ApiError::new(ErrorCode::Invalid, text);
    let value: Value = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    let word = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (word("/apiVersion"), word("/kind"));
    let kind = PolicyKind::of(version, kind)
        .ok_or_else(|| invalid(format!("{kind} in {version} is no policy; only policies can be audited")))?;
    read(kind, &value).map(|checked| checked.policy).map_err(|error| invalid(error.to_string()))
}

/// A flow, in an order.
type Key = (IpAddr, IpAddr, u8, u16);

fn flow((source, destination, protocol, port): Key) -> Flow {
    Flow { source, destination, protocol: Protocol(protocol), port }
}

fn of_denial(denied: &object::PolicyFlow) -> Key {
    (denied.source, denied.destination, denied.protocol, denied.port)
}

fn changed<'a>(
    flows: &'a BTreeSet<Key>,
    now: &'a Compiler,
    then: &'a Compiler,
    is_wanted: impl Fn(bool, bool) -> bool + 'a,
) -> impl Iterator<Item = PolicyVerdict> + 'a {
    flows.iter().map(|key| flow(*key)).filter_map(move |flow| {
        let after = then.explain(&flow);
        is_wanted(now.explain(&flow).allowed(), after.allowed()).then(|| verdict(&flow, &after))
    })
}

/// How many are left out.
fn keep(rows: &mut Vec<PolicyVerdict>, mut found: impl Iterator<Item = PolicyVerdict>) -> u64 {
    rows.extend(found.by_ref().take(PolicyAudit::MAX_ROWS));
    found.count() as u64
}

/// What the switch carries, as the policies see it.
fn carried(control: &Control, cluster: &Cluster) -> Result<BTreeSet<Key>, super::super::switch::SwitchError> {
    let connections = tables::connections(control)?;
    let mut all: BTreeSet<Key> = connections.iter().map(of_connection).collect();
    // Those of connections have been looked at.
    let flows = tables::flows(control)?;
    let pods = cluster.pods.values().flat_map(|pod| pod.addresses.iter().map(move |address| (*address, pod)));
    let pods: PodsByAddress<'_> = pods.collect();
    all.extend(flows.iter().filter(|flow| flow.becomes.is_none()).map(|flow| of_flow(flow, &pods)));
    Ok(all)
}

/// The client as it is, and the server that the service led to.
fn of_connection(connection: &object::Connection) -> Key {
    let (original, reply) = (&connection.original, &connection.reply);
    let port = if has_ports(connection.protocol) { reply.source_port } else { 0 };
    (original.source, reply.source, connection.protocol, port)
}

type PodsByAddress<'a> = BTreeMap<IpAddr, &'a ::policy::Pod>;

fn of_flow(flow: &object::Flow, pods: &PodsByAddress<'_>) -> Key {
    if !has_ports(flow.protocol) {
        return (flow.source, flow.destination, flow.protocol, 0);
    }
    let there = (flow.destination, flow.destination_port);
    let here = (flow.source, flow.source_port);
    let is_named = |(address, port): (IpAddr, u16)| {
        pods.get(&address).is_some_and(|pod| {
            pod.ports.iter().any(|known| known.port == port && known.protocol.0 == flow.protocol)
        })
    };
    let is_asked = match (is_named(there), is_named(here)) {
        (true, false) => true,
        (false, true) => false,
        _ => there.1 <= here.1,
    };
    let (client, server) = if is_asked { (here, there) } else { (there, here) };
    (client.0, server.0, flow.protocol, server.1)
}

fn has_ports(protocol: u8) -> bool {
    [Transport::Tcp, Transport::Udp, Transport::Sctp].iter().any(|known| known.number() == protocol)
}
