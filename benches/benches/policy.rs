//! Nanoseconds per frame where network policies are asked: of flows that are known, and of new ones, with few policies and with many.
//! Beside them the same without a policy, so that the price shows.

#[path = "common/bench.rs"]
#[allow(dead_code, unused_imports, reason = "not all of it is needed here")]
mod bench;
mod common;

use std::time::Instant as Clock;

use bench::Bench;
use common::{A, BATCH, Packets, ip, node, router_mac};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use policy::{Compiler, Pod, PolicyKind, read};
use protocol::link::{ConfigDelta, NodeConfig, PolicyChange};
use protocol::{Mac, ObjectRef};
use serde_json::json;

const POLICIES: [u32; 3] = [0, 10, 5_000];
/// What is tried, and as many ports as make more connections than a pod may have.
const PORT: u16 = 80;
const SERVERS: u16 = 8;
/// Of the cluster whose commits are measured.
const PODS: u32 = 10_000;

fn object(name: &str) -> ObjectRef {
    ObjectRef::parse(&format!("bench/{name}")).expect("a name")
}

/// Pods at 10.244.0.2 to 4, and policies that select all of them: each lets the others in by other ports, the last of them by those
/// that are tried.
fn cluster(policies: u32) -> Compiler {
    let mut compiler = Compiler::new();
    for host in 2..5 {
        let labels = [("app".to_owned(), format!("pod-{host}"))].into_iter().collect();
        let pod = Pod { labels, addresses: [ip(host)].into(), ..Pod::default() };
        compiler.set_pod(&object(&format!("pod-{host}")), pod);
    }
    for number in 0..policies {
        let ports = if number + 1 == policies {
            json!([{ "port": PORT, "endPort": PORT + SERVERS - 1 }])
        } else {
            json!([{ "port": 10_000 + number }])
        };
        set_policy(&mut compiler, number, &ports);
    }
    compiler
}

fn set_policy(compiler: &mut Compiler, number: u32, ports: &serde_json::Value) {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": format!("policy-{number}"), "namespace": "bench" },
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{ "from": [{ "podSelector": {} }], "ports": ports }],
            "egress": [{ "to": [{ "podSelector": {} }], "ports": ports }],
        },
    });
    let kind = PolicyKind::of("networking.k8s.io/v1", "NetworkPolicy").expect("a kind");
    compiler.set_policy(read(kind, &object).expect("a policy").policy);
}

/// A switch that asks so many policies.
fn asking(flows: u32, policies: u32) -> Bench {
    let mut bench = Bench::new(flows);
    let mut compiler = cluster(policies);
    compiler.commit();
    let pieces = compiler.tables().whole().pieces();
    tell(&mut bench, Some(NodeConfig { policies: true, ..node() }), pieces);
    bench
}

/// In one epoch.
fn tell(bench: &mut Bench, node: Option<NodeConfig>, pieces: Vec<PolicyChange>) {
    let epoch = bench.switch.epoch() + 1;
    let mut apply = |delta| bench.switch.apply(&delta, bench.now).expect("a configuration that is right");
    apply(ConfigDelta { epoch, node, ..ConfigDelta::default() });
    for policies in pieces {
        apply(ConfigDelta { epoch, policies, ..ConfigDelta::default() });
    }
    apply(ConfigDelta { epoch, commit: true, ..ConfigDelta::default() });
}

fn routed() -> Packets {
    Packets::new(Mac::for_pod(ip(2)), router_mac(), 2, 3)
}

/// To one port, so that every flow is the same to its policies.
fn flow(number: u32) -> u32 {
    (0x8000 + number % 0x7000) << 16 | u32::from(PORT)
}

/// Packets of flows that are known.
fn hit(c: &mut Criterion) {
    let mut group = c.benchmark_group("policed_hit");
    group.throughput(Throughput::Elements(1));
    let packets = routed();
    for policies in POLICIES {
        for flows in [1, 1_000] {
            let mut bench = asking(flows, policies);
            let mut next = (0..flows).cycle();
            for _ in 0..(flows as usize).div_ceil(BATCH) + 1 {
                bench.batch(A, |area| packets.write(flow(next.next().unwrap_or_default()), area));
            }
            let name = format!("{policies}_policies/{flows}");
            group.bench_function(&name, |b| {
                b.iter_custom(|frames| {
                    bench.time(frames, A, |area| packets.write(flow(next.next().unwrap_or_default()), area))
                });
            });
            assert_eq!((bench.dropped(A), bench.switch.summary().flows), (0, flows));
            bench.report(&format!("policed_hit/{name}"));
        }
    }
    group.finish();
}

/// Every frame is the first of its flow, or by then of one that was forgotten: decided, and remembered as a connection. The table is full
/// with such as nothing came of, the oldest of which goes.
fn miss(c: &mut Criterion) {
    const SYN: u8 = 0x02;
    let mut group = c.benchmark_group("policed_miss");
    group.throughput(Throughput::Elements(1));
    let packets = routed();
    for policies in POLICIES {
        let mut bench = asking(0, policies);
        let mut number = 0_u32;
        let name = format!("{policies}_policies");
        group.bench_function(&name, |b| {
            b.iter_custom(|frames| {
                bench.time(frames, A, |area| {
                    number = number.wrapping_add(1);
                    let [source, server] = [number & 0xffff, number >> 16];
                    let source = u16::try_from(source).unwrap_or_default();
                    let server = u16::try_from(server).unwrap_or_default() % SERVERS;
                    packets.write_segment([source, PORT + server], SYN, area)
                })
            });
        });
        assert_eq!(bench.dropped(A), 0);
        bench.report(&format!("policed_miss/{name}"));
    }
    group.finish();
}

/// What the switch does at a commit in a cluster of many pods, all other than each other, after one of them got another address.
fn commit(c: &mut Criterion) {
    let mut compiler = cluster(10);
    for number in 0..PODS {
        let labels = [("app".to_owned(), format!("other-{number}"))].into_iter().collect();
        let address = std::net::Ipv4Addr::from_bits(0x0af5_0000 + number).into();
        compiler.set_pod(
            &object(&format!("other-{number}")),
            Pod { labels, addresses: [address].into(), ..Pod::default() },
        );
    }
    compiler.commit();
    let mut bench = Bench::new(0);
    tell(&mut bench, Some(NodeConfig { policies: true, ..node() }), compiler.tables().whole().pieces());
    let mut number = 0;
    c.bench_function(&format!("policy_commit/address_of_{PODS}_pods"), |b| {
        b.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    number = (number + 1) % 1_000;
                    let address = std::net::Ipv4Addr::from_bits(0x0af6_0000 + number).into();
                    let labels = [("app".to_owned(), "other-0".to_owned())].into_iter().collect();
                    let pod = Pod { labels, addresses: [address].into(), ..Pod::default() };
                    compiler.set_pod(&object("other-0"), pod);
                    let pieces = compiler.commit().pieces();
                    let start = Clock::now();
                    tell(&mut bench, None, pieces);
                    start.elapsed()
                })
                .sum()
        });
    });
}

criterion_group!(benches, hit, miss, commit);
criterion_main!(benches);
