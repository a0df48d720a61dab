//! Nanoseconds per frame of a flow that is translated: from a client to a service, and the answers. Beside
//! it the same flows untranslated, so that the price of translating shows.
//!
//! Connections are established first, both ways, since a handshake costs more than what follows it. They
//! are visited in an order no prefetcher follows: beyond the caches every frame loads its flow and its
//! connection.

#[path = "common/bench.rs"]
#[allow(dead_code, unused_imports, reason = "not all of it is needed here")]
mod bench;
mod common;

use std::net::{IpAddr, Ipv4Addr};

use bench::{B, Bench};
use common::{A, BATCH, Packets, ip, router_mac};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::link::{
    BackendChanges, BackendConfig, BackendState, ConfigDelta, Frontend, FrontendKind, Scheduler,
    ServiceConfig, TrafficPolicy, Transport,
};
use protocol::{Mac, PortId, ServiceId};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Of the service's first frontend; more connections than a client has ports take more frontends.
const FIRST_PORT: u16 = 80;
const BACKEND_PORT: u16 = 8080;
/// Of the client's.
const PORTS_USED: u32 = 50_000;
const LEAST_PORT: u16 = 10_000;
const FLOWS: [u32; 3] = [1, 1_000, 50_000];

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// Steps coprime to the numbers of flows: every flow once, and no neighbour after its neighbour.
const STEP: u32 = 7919;

fn frontends() -> u16 {
    u16::try_from(FLOWS[2].div_ceil(PORTS_USED)).expect("a few")
}

/// One service for each port, all with the one backend: whoever has the backend's port apart has another
/// connection apart.
fn services() -> ConfigDelta {
    let service = |number: u16| ServiceConfig {
        id: ServiceId(number.into()),
        name: format!("bench/service:{number}"),
        transport: Transport::Tcp,
        frontends: vec![Frontend {
            kind: FrontendKind::ClusterIp,
            address: IpAddr::V4(SERVICE),
            port: FIRST_PORT + number,
        }],
        scheduler: Scheduler::Random,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    };
    let backend = |number: u16| BackendChanges {
        service: ServiceId(number.into()),
        remove: Vec::new(),
        put: vec![BackendConfig {
            address: ip(3),
            port: BACKEND_PORT + number,
            weight: 1,
            state: BackendState::Ready,
            is_local: true,
            is_preferred: true,
        }],
    };
    ConfigDelta {
        services: (0..frontends()).map(service).collect(),
        backends: (0..frontends()).map(backend).collect(),
        ..ConfigDelta::default()
    }
}

/// What the flows of a benchmark are.
struct Way {
    name: &'static str,
    ingress: PortId,
    packets: Packets,
    /// Source and destination of connection number so.
    ports: fn(u32) -> [u16; 2],
}

fn client_port(connection: u32) -> u16 {
    LEAST_PORT + u16::try_from(connection % PORTS_USED).expect("below a port's range")
}

fn frontend(connection: u32) -> u16 {
    u16::try_from(connection / PORTS_USED).expect("a few")
}

fn ways() -> [Way; 4] {
    let (client, server) = (Mac::for_pod(ip(2)), Mac::for_pod(ip(3)));
    let to_pod = Packets::new(client, router_mac(), 2, 3);
    // An answer goes straight to the client's MAC, as on one link.
    let answers = Packets::new(server, client, 3, 2);
    let to_service = to_pod.clone().to(SERVICE);
    let back: fn(u32) -> [u16; 2] = |n| [BACKEND_PORT + frontend(n), client_port(n)];
    let there: fn(u32) -> [u16; 2] = |n| [client_port(n), FIRST_PORT + frontend(n)];
    [
        Way { name: "untranslated", ingress: A, packets: to_pod, ports: there },
        Way { name: "translated", ingress: A, packets: to_service.clone(), ports: there },
        Way { name: "untranslated_answer", ingress: B, packets: answers.clone(), ports: back },
        Way { name: "translated_answer", ingress: B, packets: answers, ports: back },
    ]
}

/// A switch in which so many connections are established, through the service or past it.
fn established(way: &Way, connections: u32) -> Bench {
    let mut bench = Bench::new(2 * connections);
    let [_, to_service, _, answer] = ways();
    if !way.name.starts_with("untranslated") {
        bench.apply(services());
    }
    let step = u32::try_from(BATCH).expect("a few");
    for first in (0..connections).step_by(BATCH) {
        let mut send = |way: &Way, flags: u8| {
            let mut numbers = (first..first + step).map(|number| number % connections);
            bench.batch(way.ingress, |area| {
                let ports = (way.ports)(numbers.next().unwrap_or_default());
                way.packets.write_segment(ports, flags, area)
            });
        };
        if !way.name.starts_with("untranslated") {
            send(&to_service, SYN);
            send(&answer, SYN_ACK);
            send(&to_service, ACK);
        }
        send(way, ACK);
    }
    bench
}

fn hit(c: &mut Criterion) {
    let mut group = c.benchmark_group("connection_hit");
    group.throughput(Throughput::Elements(1));
    for way in ways() {
        for connections in FLOWS {
            let name = format!("{}/{connections}", way.name);
            let mut bench = None;
            group.bench_function(&name, |b| {
                let bench = bench.get_or_insert_with(|| established(&way, connections));
                let mut number = 0u32;
                b.iter_custom(|frames| {
                    bench.time(frames, way.ingress, |area| {
                        number = (number + STEP) % connections;
                        way.packets.write_segment((way.ports)(number), ACK, area)
                    })
                });
            });
            if let Some(bench) = bench {
                assert_eq!(bench.dropped(way.ingress), 0, "{name}");
                bench.report(&name);
            }
        }
    }
    group.finish();
}

criterion_group!(benches, hit);
criterion_main!(benches);
