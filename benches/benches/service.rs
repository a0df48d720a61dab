//! Services: loading them, changing one of many, and choosing a backend.

#[allow(dead_code, unused_imports, reason = "the node and its ports are needed, packets are not")]
mod common;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant as Clock};

use common::{node, port};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use datapath::bench::{Chooser, services_size};
use datapath::{Instant, Switch, SwitchOptions};
use protocol::link::{
    BackendChanges, BackendConfig, BackendState, ConfigDelta, Frontend, FrontendKind, PortConfig, Scheduler,
    ServiceConfig, TrafficPolicy, Transport,
};
use protocol::{PortId, ServiceId};

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const TCP: u8 = 6;
const BACKENDS: u8 = 10;
/// As many as fit a message of the link.
const SERVICES_PER_DELTA: usize = 64;

fn vip(id: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a60_0000 + id)
}

fn service(id: u32, scheduler: Scheduler) -> ServiceConfig {
    ServiceConfig {
        id: ServiceId(id),
        name: format!("namespace-{}/service-{id}:http", id % 100),
        transport: Transport::Tcp,
        frontends: vec![Frontend { kind: FrontendKind::ClusterIp, address: IpAddr::V4(vip(id)), port: 80 }],
        scheduler,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    }
}

fn backend(id: u32, number: u8) -> BackendConfig {
    BackendConfig {
        address: IpAddr::V4(Ipv4Addr::from_bits(0x0af4_0000 + id * 16 + u32::from(number))),
        port: 8080,
        weight: 1 + u16::from(number % 3),
        state: BackendState::Ready,
        is_local: number == 0,
        is_preferred: true,
    }
}

/// As many as a node has with Kubernetes' default limit, and more.
fn pods() -> Vec<PortConfig> {
    (2..202u8).map(|host| port(PortId(host.into()), host)).collect()
}

/// What makes `n` services from nothing.
fn deltas(n: u32, scheduler: Scheduler) -> Vec<ConfigDelta> {
    let ids: Vec<_> = (0..n).collect();
    let delta = |ids: &[u32]| ConfigDelta {
        epoch: 1,
        node: ids.contains(&0).then(node),
        attach: if ids.contains(&0) { pods() } else { Vec::new() },
        services: ids.iter().map(|id| service(*id, scheduler)).collect(),
        backends: ids
            .iter()
            .map(|id| BackendChanges {
                service: ServiceId(*id),
                remove: Vec::new(),
                put: (0..BACKENDS).map(|number| backend(*id, number)).collect(),
            })
            .collect(),
        commit: ids.contains(&(n - 1)),
        ..ConfigDelta::default()
    };
    ids.chunks(SERVICES_PER_DELTA).map(delta).collect()
}

fn loaded(deltas: &[ConfigDelta]) -> Switch {
    let mut switch = Switch::new(SwitchOptions { seed: 1, ..SwitchOptions::default() });
    for delta in deltas {
        switch.apply(delta, NOW).expect("a configuration that is right");
    }
    switch
}

/// From nothing, as at the start of a daemon: deltas as they come off the link, one commit.
fn load(c: &mut Criterion) {
    let mut group = c.benchmark_group("services_load");
    for (name, n, scheduler) in [
        ("1k", 1_000, Scheduler::Random),
        ("10k", 10_000, Scheduler::Random),
        ("10k_maglev", 10_000, Scheduler::Maglev),
    ] {
        let deltas = deltas(n, scheduler);
        group.bench_function(name, |b| {
            b.iter_batched(|| (), |()| loaded(&deltas), BatchSize::PerIteration);
        });
        let size = services_size(&loaded(&deltas));
        println!("services_load/{name}: {} bytes an endpoint in each worker", size / (n as usize * 10));
    }
    group.finish();
}

/// One endpoint comes, then goes: checked, committed, installed.
fn change(c: &mut Criterion) {
    let mut group = c.benchmark_group("services_change");
    for n in [1, 1_000, 10_000] {
        let mut switch = loaded(&deltas(n, Scheduler::Random));
        let new = backend(n - 1, BACKENDS);
        group.bench_function(format!("one_endpoint/{n}"), |b| {
            b.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    let epoch = switch.epoch() + 1;
                    let is_there = epoch % 2 == 1;
                    let (remove, put) = if is_there {
                        (vec![(new.address, new.port)], Vec::new())
                    } else {
                        (Vec::new(), vec![new])
                    };
                    let changes = BackendChanges { service: ServiceId(n - 1), remove, put };
                    let delta = ConfigDelta {
                        epoch,
                        backends: vec![changes],
                        commit: true,
                        ..ConfigDelta::default()
                    };
                    let start = Clock::now();
                    switch.apply(&delta, NOW).expect("a change that is right");
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

/// Frontend and backend of a new connection.
fn choose(c: &mut Criterion) {
    let mut group = c.benchmark_group("services_choose");
    let client = |n: u32| (Ipv4Addr::from_bits(0x0af4_0000 + n % 251), 40_000);
    for scheduler in Scheduler::ALL {
        let mut switch = loaded(&deltas(1, scheduler));
        let (mut chooser, mut n) = (Chooser::new(1), 0u32);
        group.bench_function(format!("{scheduler:?}"), |b| {
            b.iter(|| {
                n = n.wrapping_add(1);
                let chosen = chooser.choose(&mut switch, (TCP, vip(0), 80), client(n), NOW);
                assert!(black_box(chosen).is_some());
            });
        });
    }
    for services in [1, 1_000, 10_000u32] {
        let mut switch = loaded(&deltas(services, Scheduler::Random));
        let (mut chooser, mut n) = (Chooser::new(1), 0u32);
        group.bench_function(format!("random_of/{services}"), |b| {
            b.iter(|| {
                // A step that no prefetcher follows, and that visits all.
                n = n.wrapping_add(7919);
                let chosen = chooser.choose(&mut switch, (TCP, vip(n % services), 80), client(n), NOW);
                assert!(black_box(chosen).is_some());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, load, change, choose);
criterion_main!(benches);
