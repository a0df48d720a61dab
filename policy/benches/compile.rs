//! Compiling the policies of a large cluster, changing one thing in it, and deciding about a flow.
//!
//! The cluster: 5,000 policies, 1,000 pods, 50 namespaces, generated without chance. A pod has three labels of its own, so that no two
//! are one identity; a policy selects a fifth or a third of its namespace, lets in from pods, namespaces and blocks, and every fourth has egress rules.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use policy::{Compiler, Direction, Flow, Labels, Pod, Policy, PolicyKind, Protocol, read};
use protocol::ObjectRef;
use serde_json::json;

const NAMESPACES: usize = 50;
const PODS: usize = 1_000;
const POLICIES: usize = 5_000;

fn labels(pairs: &[(&str, String)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

fn pod(number: usize) -> (ObjectRef, Pod) {
    let name = format!("ns-{}/pod-{number}", number % NAMESPACES);
    let local = number / NAMESPACES;
    let labels = labels(&[
        ("app", format!("app-{}", local % 5)),
        ("track", format!("track-{}", local % 3)),
        ("pod", format!("pod-{number}")),
    ]);
    let addresses = [format!("10.244.{}.{}", number / 250, number % 250 + 2).parse().unwrap()].into();
    (ObjectRef::parse(&name).unwrap(), Pod { labels, addresses, ..Pod::default() })
}

fn policy(number: usize, port: usize) -> Policy {
    let namespace = number % NAMESPACES;
    let round = number / NAMESPACES;
    let subject = if round.is_multiple_of(2) {
        json!({ "app": format!("app-{}", round % 5) })
    } else {
        json!({ "track": format!("track-{}", round % 3) })
    };
    let mut spec = json!({
        "podSelector": { "matchLabels": subject },
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [
                    { "podSelector": { "matchLabels": { "track": format!("track-{}", round % 3) } } },
                    {
                        "namespaceSelector": { "matchLabels": { "team": format!("team-{}", round % 10) } },
                        "podSelector": { "matchLabels": { "app": format!("app-{}", round % 4) } },
                    },
                ],
                "ports": [{ "port": port }, { "port": 9000 + round, "endPort": 9100 + round }],
            },
            {
                "from": [{ "ipBlock": { "cidr": format!("172.{}.0.0/16", round % 32), "except": [format!("172.{}.7.0/24", round % 32)] } }],
                "ports": [{ "port": 443 }],
            },
        ],
    });
    if round.is_multiple_of(4) {
        spec["policyTypes"] = json!(["Ingress", "Egress"]);
        spec["egress"] = json!([
            { "to": [{ "namespaceSelector": {} }], "ports": [{ "port": 53, "protocol": "UDP" }] },
            { "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"] } }] },
        ]);
    }
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": format!("policy-{number}"), "namespace": format!("ns-{namespace}") },
        "spec": spec,
    });
    read(PolicyKind::NetworkPolicy, &object).unwrap().policy
}

struct Objects {
    pods: Vec<(ObjectRef, Pod)>,
    policies: Vec<Policy>,
}

fn objects(policies: usize) -> Objects {
    Objects {
        pods: (0..PODS).map(pod).collect(),
        policies: (0..policies).map(|number| policy(number, 80 + number % 7)).collect(),
    }
}

fn compiled(objects: Objects) -> Compiler {
    let mut compiler = Compiler::new();
    for namespace in 0..NAMESPACES {
        let labels = labels(&[("team", format!("team-{}", namespace % 10))]);
        compiler.set_namespace(&format!("ns-{namespace}").parse().unwrap(), labels);
    }
    objects.pods.into_iter().for_each(|(name, pod)| compiler.set_pod(&name, pod));
    objects.policies.into_iter().for_each(|policy| compiler.set_policy(policy));
    compiler.commit();
    compiler
}

fn from_scratch(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    group.bench_function("5000_policies_1000_pods", |b| {
        b.iter_batched(|| objects(POLICIES), compiled, BatchSize::PerIteration);
    });
    group.finish();
}

/// There and back, so that each round begins with the same cluster; the time is that of both.
fn one_change(c: &mut Criterion) {
    let mut compiler = compiled(objects(POLICIES));
    println!("identities, groups, tables, policies, pods: {:?}", compiler.counts());
    let mut group = c.benchmark_group("change_and_back");
    group.sample_size(20);
    group.bench_function("pod_label", |b| {
        let (name, before) = pod(7);
        let mut after = before.clone();
        after.labels.insert("app".to_owned(), "app-4".to_owned());
        b.iter(|| {
            for pod in [&after, &before] {
                compiler.set_pod(&name, pod.clone());
                black_box(compiler.commit());
            }
        });
    });
    group.bench_function("pod_address", |b| {
        let (name, before) = pod(7);
        let after = Pod { addresses: ["10.250.0.1".parse().unwrap()].into(), ..before.clone() };
        b.iter(|| {
            for pod in [&after, &before] {
                compiler.set_pod(&name, pod.clone());
                black_box(compiler.commit());
            }
        });
    });
    group.bench_function("pod_comes_and_goes", |b| {
        let (name, pod) = pod(PODS);
        b.iter(|| {
            compiler.set_pod(&name, pod.clone());
            black_box(compiler.commit());
            compiler.remove_pod(&name);
            black_box(compiler.commit());
        });
    });
    group.bench_function("namespace_label", |b| {
        let name = "ns-7".parse().unwrap();
        b.iter(|| {
            for team in ["team-8", "team-7"] {
                compiler.set_namespace(&name, labels(&[("team", team.to_owned())]));
                black_box(compiler.commit());
            }
        });
    });
    group.bench_function("policy", |b| {
        b.iter(|| {
            for port in [4_000, 80] {
                compiler.set_policy(policy(7, port));
                black_box(compiler.commit());
            }
        });
    });
    group.bench_function("cluster_policy_for_all_pods", |b| {
        let object = json!({
            "apiVersion": "policy.vpod.io/v1alpha1",
            "kind": "ClusterNetworkPolicy",
            "metadata": { "name": "no-metadata" },
            "spec": { "tier": 0, "order": 0, "egress": [
                { "action": "Deny", "to": [{ "ipBlock": { "cidr": "169.254.169.254/32" } }] },
            ] },
        });
        let policy = read(PolicyKind::ClusterNetworkPolicy, &object).unwrap().policy;
        b.iter(|| {
            compiler.set_policy(policy.clone());
            black_box(compiler.commit());
            compiler.remove_policy(&policy.name);
            black_box(compiler.commit());
        });
    });
    group.finish();
}

fn decision(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    for policies in [50, 500, 5_000] {
        let compiler = compiled(objects(policies));
        let end = |number| *pod(number).1.addresses.first().unwrap();
        let flow = Flow { source: end(57), destination: end(107), protocol: Protocol::TCP, port: 9050 };
        group.bench_function(format!("both_ends_{policies}_policies"), |b| {
            b.iter(|| {
                let flow = black_box(&flow);
                let tables = compiler.tables();
                (tables.decide(flow, Direction::Egress), tables.decide(flow, Direction::Ingress))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, from_scratch, one_change, decision);
criterion_main!(benches);
