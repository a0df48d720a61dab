//! Policies as a cluster has them, compiled and told to a switch.

use datapath::Limits;
use policy::{Cluster, Compiler, Labels, Pod, PolicyKind, PolicyName, read};
use protocol::ObjectRef;
use protocol::link::{ConfigDelta, NodeConfig, PolicyChange};
use serde_json::{Value, json};

use crate::common::*;

/// As the reference sees it, and as the compiler does.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) compiler: Compiler,
}

impl World {
    /// Pods a, b and vm of node a, pod c of node b; none has a label but its own name's.
    pub(crate) fn new() -> Self {
        let mut world = Self::default();
        for (name, address, node) in
            [("a", A_IP, "n1"), ("b", B_IP, "n1"), ("vm", VM_IP, "n1"), ("c", C_IP, "n2")]
        {
            world.pod(name, address, node, &[("app", name)]);
        }
        for (name, addresses) in [("n1", [GATEWAY_IP, NODE_IP]), ("n2", [GATEWAY_B_IP, NODE_B_IP])] {
            let addresses = addresses.map(ip).into();
            world.compiler.set_node(&name.parse().unwrap(), addresses);
            world.cluster.nodes.insert(name.parse().unwrap(), addresses_of(name));
        }
        world
    }

    pub(crate) fn pod(&mut self, name: &str, address: [u8; 4], node: &str, labels: &[(&str, &str)]) {
        let name = ObjectRef::parse(&format!("default/{name}")).unwrap();
        let pod = Pod {
            labels: pairs(labels),
            addresses: [ip(address)].into(),
            ports: [].into(),
            node: Some(node.parse().unwrap()),
        };
        self.compiler.set_pod(&name, pod.clone());
        self.cluster.pods.insert(name, pod);
    }

    pub(crate) fn policy(&mut self, name: &str, spec: &Value) -> PolicyName {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": name, "namespace": "default" },
            "spec": spec,
        });
        let kind = PolicyKind::of("networking.k8s.io/v1", "NetworkPolicy").unwrap();
        let policy = read(kind, &object).unwrap_or_else(|error| panic!("{error}: {object}")).policy;
        self.compiler.set_policy(policy.clone());
        let name = policy.name.clone();
        self.cluster.policies.insert(name.clone(), policy);
        name
    }

    pub(crate) fn forget(&mut self, name: &PolicyName) {
        self.compiler.remove_policy(name);
        self.cluster.policies.remove(name);
    }

    /// Nothing comes to `app` but from `peers`.
    pub(crate) fn isolate(&mut self, app: &str, peers: &Value) -> PolicyName {
        let rules = if peers.is_null() { json!([]) } else { json!([{ "from": peers }]) };
        let subject = json!({ "matchLabels": { "app": app } });
        self.policy(
            &format!("in-{app}"),
            &json!({ "podSelector": subject, "policyTypes": ["Ingress"], "ingress": rules }),
        )
    }

    /// Nothing leaves `app` but to `peers`.
    pub(crate) fn confine(&mut self, app: &str, peers: &Value) -> PolicyName {
        let rules = if peers.is_null() { json!([]) } else { json!([{ "to": peers }]) };
        let subject = json!({ "matchLabels": { "app": app } });
        self.policy(
            &format!("out-{app}"),
            &json!({ "podSelector": subject, "policyTypes": ["Egress"], "egress": rules }),
        )
    }

    /// What has changed, in one epoch.
    #[track_caller]
    pub(crate) fn tell(&mut self, h: &mut Harness) {
        let pieces = self.compiler.commit().pieces();
        commit(h, ConfigDelta::default(), pieces);
    }

    /// Everything, to a switch that knows nothing yet and asks from now on.
    #[track_caller]
    pub(crate) fn tell_all(&mut self, h: &mut Harness, node: NodeConfig) {
        self.compiler.commit();
        let node = Some(NodeConfig { policies: true, ..node });
        let first = ConfigDelta { node, reset_policies: true, ..ConfigDelta::default() };
        commit(h, first, self.compiler.tables().whole().pieces());
    }
}

/// Deltas of which the last one commits.
#[track_caller]
pub(crate) fn commit(h: &mut Harness, first: ConfigDelta, pieces: Vec<PolicyChange>) {
    let epoch = h.switch.epoch() + 1;
    h.switch.apply(&ConfigDelta { epoch, ..first }, h.now).unwrap();
    for policies in pieces {
        h.switch.apply(&ConfigDelta { epoch, policies, ..ConfigDelta::default() }, h.now).unwrap();
    }
    h.switch.apply(&ConfigDelta { epoch, commit: true, ..ConfigDelta::default() }, h.now).unwrap();
}

pub(crate) fn peers(apps: &[&str]) -> Value {
    json!(
        apps.iter()
            .map(|app| json!({ "podSelector": { "matchLabels": { "app": app } } }))
            .collect::<Vec<_>>()
    )
}

fn pairs(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn addresses_of(node: &str) -> std::collections::BTreeSet<std::net::IpAddr> {
    if node == "n1" { [GATEWAY_IP, NODE_IP].map(ip).into() } else { [GATEWAY_B_IP, NODE_B_IP].map(ip).into() }
}

/// Node a with a tunnel, whose switch asks the policies of `world`.
#[track_caller]
pub(crate) fn asking(world: &mut World) -> Harness {
    asking_with(world, Limits::default())
}

#[track_caller]
pub(crate) fn asking_with(world: &mut World, limits: Limits) -> Harness {
    let mut h = harness_a_with(tunnel_config(NODE_IP), limits);
    world.tell_all(&mut h, NodeConfig { tunnel: Some(tunnel_config(NODE_IP)), ..node() });
    h.deltas();
    h
}

/// A frame passes to one port.
#[track_caller]
pub(crate) fn passes(h: &mut Harness, from: protocol::PortId, frame: &[u8], to: protocol::PortId) {
    let sent = h.send(from, frame);
    let got: Vec<_> = sent.iter().map(|(port, _)| *port).collect();
    assert_eq!((got, h.deltas().get(&from).map(|delta| delta.drops.clone())), (vec![to], Some([].into())));
}

/// A frame leaves by the tunnel.
#[track_caller]
pub(crate) fn leaves(h: &mut Harness, from: protocol::PortId, frame: &[u8]) {
    assert_eq!(h.send(from, frame), []);
    assert_eq!(std::mem::take(&mut h.wire.trains).len(), 1);
    h.deltas();
}

/// A frame from node b is let in, to this port.
#[track_caller]
pub(crate) fn comes(h: &mut Harness, frame: &[u8], to: protocol::PortId) {
    let sent = h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, frame)]);
    assert_eq!(sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [to], "{:?}", h.deltas());
    h.deltas();
}

/// A frame from node b is dropped.
#[track_caller]
pub(crate) fn is_kept_out(h: &mut Harness, frame: &[u8], reason: &str) {
    h.deltas();
    assert_eq!(h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, frame)]), []);
    assert_eq!(h.deltas()[&TUNNEL].drops, [(reason.to_owned(), 1)].into());
}
