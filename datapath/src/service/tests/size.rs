//! What a service costs.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU32;

use protocol::ServiceId;
use protocol::link::{BackendConfig, ConfigDelta, FrontendKind, Scheduler, ServiceConfig};

use super::bed::*;

/// `n` services of ten backends each.
fn loaded(n: u32, scheduler: Scheduler) -> Bed {
    let mut bed = Bed::new();
    for id in 0..n {
        let service = ServiceConfig {
            id: ServiceId(id),
            name: format!("namespace-{}/service-{id}:http", id % 100),
            frontends: vec![frontend(FrontendKind::ClusterIp, Ipv4Addr::from_bits(0x0a60_0000 + id), 80)],
            scheduler,
            ..web()
        };
        let backends = (0..10u8).map(|host| {
            let [_, _, high, low] = id.to_be_bytes();
            BackendConfig { address: ip([10, 128 + high, low, host]), ..backend(host) }
        });
        bed.collect(ConfigDelta { services: vec![service], ..put(ServiceId(id), backends.collect()) })
            .unwrap();
    }
    bed.apply(ConfigDelta::default());
    bed
}

/// Services are each worker's own, as are counts by slot; connections that are open are counted by all together.
#[test]
fn an_endpoint_takes_no_more_than_200_bytes_with_two_workers() {
    for (n, scheduler) in
        [(1_000, Scheduler::Random), (10_000, Scheduler::Random), (1_000, Scheduler::WeightedRoundRobin)]
    {
        let bed = loaded(n, scheduler);
        let endpoints = 10 * n as usize;
        let worker = bed.services().heap_size()
            + bed.services().tallies_heap_size()
            + bed.switch.flows.traffic().heap_size();
        let shared = endpoints * size_of::<AtomicU32>();
        let each = (2 * worker + shared).div_ceil(endpoints);
        assert!(each <= 200, "{n} services, {scheduler:?}: {each} bytes an endpoint");
    }
}

#[test]
fn slots_are_used_again() {
    let mut bed = loaded(100, Scheduler::Random);
    let size = bed.services().heap_size();
    for round in 0..10 {
        for id in (0..100).map(ServiceId) {
            let gone = (0..10u8).map(|host| (ip([10, 128, u8::try_from(id.0).unwrap(), host]), 8080));
            let gone = gone.map(|(ip, port)| (ip, port + round));
            let changes = protocol::link::BackendChanges {
                service: id,
                remove: gone.clone().collect(),
                put: gone
                    .map(|(address, port)| BackendConfig { address, port: port + 1, ..backend(0) })
                    .collect(),
            };
            bed.apply(ConfigDelta { backends: vec![changes], ..ConfigDelta::default() });
        }
    }
    // Tables of hashes may have had to grow once to make room for the marks of what went.
    assert!(bed.services().heap_size() < size * 3 / 2, "{} instead of {size}", bed.services().heap_size());
}
