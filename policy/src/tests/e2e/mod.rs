//! Kubernetes' own suite by its names (`test/e2e/network/netpol`, 1.34): three namespaces with three pods each, ports 80 and 81, TCP, UDP and
//! SCTP; a test says for every pair what may be, and the reference, the tables and a replica have to agree with it.
//! Every table has all protocols, so that what the suite repeats for UDP and SCTP is here once.

mod egress;
mod ingress;
mod ports;
mod updates;

use serde_json::{Value, json};

use super::good;
use super::world::{World, flow, labels};
use crate::{PolicyName, Protocol};

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 3] = ["a", "b", "c"];
const PORTS: [u16; 2] = [80, 81];
const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// One try.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// Namespace and pod.
    from: (&'static str, &'static str),
    to: (&'static str, &'static str),
    port: u16,
    protocol: Protocol,
}

/// The pods, each with the labels `pod: a`, in namespaces with `ns: x`, and with ports named as the suite names them.
fn suite() -> World {
    let mut world = World::default();
    for namespace in NAMESPACES {
        world.set_namespace(&namespace.parse().unwrap(), labels(&[("ns", namespace)]));
        PODS.iter().for_each(|pod| set_pod(&mut world, namespace, pod, &[("pod", pod)]));
    }
    world
}

fn set_pod(world: &mut World, namespace: &str, pod: &str, pairs: &[(&str, &str)]) {
    let names = PORTS.iter().flat_map(|port| {
        let name = |protocol: Protocol| format!("serve-{port}-{}", protocol.to_string().to_lowercase());
        PROTOCOLS.map(|protocol| (name(protocol), protocol, *port))
    });
    let names: Vec<_> = names.collect();
    let names: Vec<_> =
        names.iter().map(|(name, protocol, port)| (name.as_str(), *protocol, *port)).collect();
    world.pod(&format!("{namespace}/{pod}"), &address(namespace, pod), pairs, &names);
}

fn address(namespace: &str, pod: &str) -> String {
    let number = |names: [&str; 3], name| names.iter().position(|known| *known == name).unwrap() + 1;
    format!("10.{}.0.{}", number(NAMESPACES, namespace), number(PODS, pod))
}

/// The whole truth table. A pod always reaches itself.
#[track_caller]
fn check(world: &mut World, expected: impl Fn(&Probe) -> bool) {
    world.commit();
    let pods = || NAMESPACES.iter().flat_map(|namespace| PODS.iter().map(|pod| (*namespace, *pod)));
    for (from, to) in pods().flat_map(|from| pods().map(move |to| (from, to))) {
        for (port, protocol) in PORTS.iter().flat_map(|port| PROTOCOLS.map(|protocol| (*port, protocol))) {
            let probe = Probe { from, to, port, protocol };
            let flow = flow(&address(from.0, from.1), &address(to.0, to.1), protocol, port);
            let allowed = world.explain(&flow).allowed();
            assert_eq!(allowed, from == to || expected(&probe), "{probe:?}");
        }
    }
}

/// The same, with these policies in the namespace `x`.
#[track_caller]
fn holds(specs: &[Value], expected: impl Fn(&Probe) -> bool) {
    let mut world = suite();
    for (number, spec) in specs.iter().enumerate() {
        set_policy(&mut world, "x", &format!("p{number}"), spec);
    }
    check(&mut world, expected);
    world.equals_from_scratch();
}

fn set_policy(world: &mut World, namespace: &str, name: &str, spec: &Value) -> PolicyName {
    let mut object = super::network_policy(name, spec);
    object["metadata"]["namespace"] = json!(namespace);
    let policy = good(&object).policy;
    world.set_policy(&policy);
    policy.name
}

fn pod(name: &str) -> Value {
    json!({ "matchLabels": { "pod": name } })
}

fn ns(name: &str) -> Value {
    json!({ "matchLabels": { "ns": name } })
}

/// Lets in to `a` from these.
fn to_a(from: &Value) -> Value {
    json!({ "podSelector": pod("a"), "ingress": [{ "from": from }] })
}

fn is_a(end: (&str, &str)) -> bool {
    end == ("x", "a")
}
