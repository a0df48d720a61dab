//! Kubernetes' suite ([`crate::testing::suite`]): the reference, the tables and a replica have to agree with it.

use serde_json::{Value, json};

use super::good;
use super::world::{World, flow, labels, pod_name};
use crate::testing::suite::{Bed, CASES, NAMESPACES, PODS, PORTS, PROTOCOLS, Probe, port_name, probes};
use crate::{PolicyName, Protocol};

fn address(namespace: &str, pod: &str) -> String {
    let number = |names: [&str; 3], name| names.iter().position(|known| *known == name).unwrap() + 1;
    format!("10.{}.0.{}", number(NAMESPACES, namespace), number(PODS, pod))
}

impl Bed for World {
    fn reset(&mut self) {
        *self = Self::default();
        for namespace in NAMESPACES {
            self.label_namespace(namespace, &[("ns", namespace)]);
            PODS.iter().for_each(|pod| self.label_pod(namespace, pod, &[("pod", pod)]));
        }
    }

    fn address(&self, namespace: &str, pod: &str) -> String {
        address(namespace, pod)
    }

    fn set_policy(&mut self, namespace: &str, name: &str, spec: &Value) {
        let mut object = super::network_policy(name, spec);
        object["metadata"]["namespace"] = json!(namespace);
        Self::set_policy(self, &good(&object).policy);
    }

    fn delete_policy(&mut self, namespace: &str, name: &str) {
        self.remove_policy(&PolicyName::Namespaced(pod_name(&format!("{namespace}/{name}"))));
    }

    fn label_namespace(&mut self, namespace: &str, pairs: &[(&str, &str)]) {
        self.set_namespace(&namespace.parse().unwrap(), labels(pairs));
    }

    fn label_pod(&mut self, namespace: &str, pod: &str, pairs: &[(&str, &str)]) {
        let names = PORTS
            .iter()
            .flat_map(|port| PROTOCOLS.map(|protocol| (port_name(*port, protocol), protocol, *port)));
        let names: Vec<(String, Protocol, u16)> = names.collect();
        let names: Vec<_> =
            names.iter().map(|(name, protocol, port)| (name.as_str(), *protocol, *port)).collect();
        self.pod(&format!("{namespace}/{pod}"), &address(namespace, pod), pairs, &names);
    }

    fn check(&mut self, expected: &dyn Fn(&Probe) -> bool) {
        self.commit();
        for probe in probes() {
            let Probe { from, to, port, protocol } = probe;
            let flow = flow(&address(from.0, from.1), &address(to.0, to.1), protocol, port);
            assert_eq!(self.explain(&flow).allowed(), expected(&probe), "{probe:?}");
        }
        self.equals_from_scratch();
    }
}

#[test]
fn every_case_of_kubernetes_suite_holds() {
    for (name, case) in CASES {
        println!("{name}");
        case(&mut World::default());
    }
}

#[test]
fn deleted_policies_leave_no_table() {
    let mut world = World::default();
    let (_, case) = CASES.iter().find(|(name, _)| name.contains("stop_enforcing")).unwrap();
    case(&mut world);
    assert_eq!(world.compiler.tables().counts()[0], 2, "one empty table per direction is left");
}
