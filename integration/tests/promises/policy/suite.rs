//! Kubernetes' own suite of NetworkPolicy ([`policy::testing::suite`]), every case of it, by packets: nine pods on two nodes, each tries each
//! other at two ports by TCP, UDP and SCTP.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use integration::node::pod_request;
use integration::prober::{Prober, Try};
use integration::{Cluster, ClusterOptions, TestNode, TestPod};
use policy::Protocol;
use policy::testing::suite::{Bed, CASES, NAMESPACES, PODS, PORTS, PROTOCOLS, Probe, port_name, probes};
use protocol::link::Transport;
use protocol::object::ContainerPort;
use serde_json::{Value, json};

type Name = (&'static str, &'static str);

/// Dropped in this order: the programs before their pods.
struct Suite {
    probers: BTreeMap<Name, Prober>,
    pods: BTreeMap<Name, (TestPod, usize)>,
    policies: BTreeSet<(String, String)>,
    cluster: Cluster,
}

impl Suite {
    fn start() -> Self {
        let cluster = ClusterOptions::new(2).on_etcd().start();
        let mut pods = BTreeMap::new();
        for (number, (namespace, pod)) in names().enumerate() {
            // Every namespace on both.
            let on = number % 2;
            pods.insert((namespace, pod), (create(cluster.node(on), namespace, pod), on));
        }
        let probers = pods.iter().map(|(name, (pod, _))| (*name, Prober::start(pod, &PORTS))).collect();
        Self { probers, pods, policies: BTreeSet::new(), cluster }
    }

    fn node_of(&self, namespace: &str, pod: &str) -> &TestNode {
        let (_, (_, on)) = self.pods.iter().find(|(name, _)| **name == (namespace, pod)).unwrap();
        self.cluster.node(*on)
    }

    /// Applied at one node, in force at both.
    fn apply(&self, objects: &[Value]) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let file = self.cluster.node(0).dir().join("policy.json");
        std::fs::write(&file, list.to_string()).unwrap();
        self.cluster.node(0).vpodctl(&format!("apply --wait -f {}", file.display())).ok();
    }

    /// What was deleted, and what pods' labels are now, is in force at both.
    fn settle(&self) {
        // The last change of the store is waited for, whoever made it.
        self.apply(&[json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "settle", "labels": { "turn": format!("{}", next_turn()) } } })]);
    }
}

fn next_turn() -> u32 {
    static TURN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    TURN.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn names() -> impl Iterator<Item = Name> {
    NAMESPACES.into_iter().flat_map(|namespace| PODS.map(|pod| (namespace, pod)))
}

fn create(node: &TestNode, namespace: &str, pod: &str) -> TestPod {
    let mut request = pod_request(pod, &[]);
    request.pod.namespace = namespace.parse().unwrap();
    request.labels.insert("pod".to_owned(), pod.to_owned());
    for (port, protocol) in PORTS.iter().flat_map(|port| PROTOCOLS.map(|protocol| (*port, protocol))) {
        let transport = match protocol {
            Protocol::TCP => Transport::Tcp,
            Protocol::UDP => Transport::Udp,
            _ => Transport::Sctp,
        };
        let name = port_name(port, protocol);
        let port = ContainerPort { name, transport, number: port, host_port: None, host_ip: None };
        request.serving.ports.push(port);
    }
    node.create(&request)
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::TCP => "tcp",
        Protocol::UDP => "udp",
        _ => "sctp",
    }
}

impl Bed for Suite {
    fn reset(&mut self) {
        for (namespace, name) in std::mem::take(&mut self.policies) {
            self.delete_policy(&namespace, &name);
        }
        for (namespace, pod) in names() {
            self.label_pod(namespace, pod, &[("pod", pod)]);
        }
        NAMESPACES.iter().for_each(|namespace| self.label_namespace(namespace, &[("ns", namespace)]));
    }

    fn address(&self, namespace: &str, pod: &str) -> String {
        let (_, (pod, _)) = self.pods.iter().find(|(name, _)| **name == (namespace, pod)).unwrap();
        pod.ip.to_string()
    }

    fn set_policy(&mut self, namespace: &str, name: &str, spec: &Value) {
        self.policies.insert((namespace.to_owned(), name.to_owned()));
        self.apply(&[json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": name, "namespace": namespace },
            "spec": spec,
        })]);
    }

    fn delete_policy(&mut self, namespace: &str, name: &str) {
        self.policies.remove(&(namespace.to_owned(), name.to_owned()));
        self.cluster.node(0).vpodctl(&format!("delete networkpolicy {name} -n {namespace}")).ok();
    }

    fn label_namespace(&mut self, namespace: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        self.apply(&[json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace, "labels": labels } })]);
    }

    fn label_pod(&mut self, namespace: &str, pod: &str, labels: &[(&str, &str)]) {
        let mut words = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        let others = ["pod", "pod2", "target"].into_iter();
        let others = others.filter(|key| !labels.iter().any(|(known, _)| known == key));
        words.extend(others.map(|key| format!("{key}-")));
        let command = format!("label pod {pod} -n {namespace} --overwrite {}", words.join(" "));
        self.node_of(namespace, pod).vpodctl(&command).ok();
    }

    fn check(&mut self, expected: &dyn Fn(&Probe) -> bool) {
        self.settle();
        for prober in self.probers.values_mut() {
            prober.seen();
        }
        let mut tries: BTreeMap<Name, Vec<(Probe, Try)>> = BTreeMap::new();
        for probe in probes() {
            let one = Try {
                address: self.pods[&probe.to].0.ip,
                protocol: word(probe.protocol),
                port: probe.port,
                expected: expected(&probe),
            };
            tries.entry(probe.from).or_default().push((probe, one));
        }
        for (name, prober) in &mut self.probers {
            prober.begin(&tries[name].iter().map(|(_, one)| *one).collect::<Vec<_>>());
        }
        let mut wrong = String::new();
        for (name, prober) in &mut self.probers {
            for ((probe, one), succeeded) in tries[name].iter().zip(prober.results()) {
                if succeeded != one.expected {
                    let _ = writeln!(wrong, "{probe:?} {}", if succeeded { "succeeded" } else { "failed" });
                }
            }
        }
        // What came through, even if its answer did not.
        for (name, prober) in &mut self.probers {
            for seen in prober.seen() {
                let is_expected = |(probe, one): &(Probe, Try)| {
                    let from = self.pods[&probe.from].0.ip;
                    one.expected
                        && probe.to == *name
                        && seen == format!("{from}/{}/{}", one.protocol, one.port)
                };
                if !tries.values().flatten().any(is_expected) {
                    let _ = writeln!(wrong, "{seen} came to {name:?}");
                }
            }
        }
        assert!(wrong.is_empty(), "not as the policies say:\n{wrong}");
    }
}

/// Cases whose name contains the word.
#[track_caller]
fn hold(cases: impl Fn(&str) -> bool) {
    let mut suite = Suite::start();
    for (name, case) in CASES.iter().filter(|(name, _)| cases(name)) {
        // Shown if it fails.
        println!("{name}");
        case(&mut suite);
    }
}

#[test]
fn kubernetes_cases_of_ingress_hold_on_two_nodes() {
    hold(is_of_ingress);
}

#[test]
fn kubernetes_cases_of_egress_ports_and_updates_hold_on_two_nodes() {
    hold(|name| !is_of_ingress(name));
}

/// Half of them, so that two beds run side by side.
fn is_of_ingress(name: &str) -> bool {
    CASES.iter().position(|(known, _)| *known == name).is_some_and(|at| at < CASES.len() / 2)
}
