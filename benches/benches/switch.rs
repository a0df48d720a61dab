//! Nanoseconds per frame through the whole switch: batches in, a device that takes everything out.
//!
//! Flows are visited in random order, so that beyond the caches every frame is a new cache line to
//! load, as with many concurrent connections. Allocations per frame are printed at the end of each
//! benchmark.

#[path = "common/bench.rs"]
mod bench;
mod common;

use bench::{Bench, VM};
use common::{A, BATCH, Packets, ip, router_mac};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datapath::VNET_HDR_LEN;
use protocol::Mac;

/// Where the source MAC is, behind the virtio header.
const SOURCE_MAC: std::ops::Range<usize> = VNET_HDR_LEN + 6..VNET_HDR_LEN + 12;

/// Steps through `0..below` in an order no prefetcher follows; every value once (full-period LCG, its
/// values beyond skipped).
struct Shuffle {
    at: u32,
    mask: u32,
}

impl Shuffle {
    fn new(len: u32) -> Self {
        Self { at: 0, mask: len.next_power_of_two() - 1 }
    }

    fn next(&mut self, below: u32) -> u32 {
        loop {
            self.at = self.at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & self.mask;
            if self.at < below {
                return self.at;
            }
        }
    }
}

fn routed() -> Packets {
    Packets::new(Mac::for_pod(ip(2)), router_mac(), 2, 3)
}

fn switched() -> Packets {
    Packets::new(Mac::for_pod(ip(2)), Mac::for_pod(ip(3)), 2, 3)
}

fn hit(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_hit");
    group.throughput(Throughput::Elements(1));
    for (kind, packets) in [("routed", routed()), ("switched", switched())] {
        for flows in [1, 1_000, 100_000, 1_000_000] {
            let name = format!("{kind}/{flows}");
            let mut bench = None;
            group.bench_function(&name, |b| {
                let bench = bench.get_or_insert_with(|| warmed(&packets, flows));
                let mut order = Shuffle::new(flows);
                b.iter_custom(|frames| bench.time(frames, A, |area| packets.write(order.next(flows), area)));
            });
            if let Some(bench) = bench {
                assert_eq!((bench.dropped(A), bench.switch.summary().flows), (0, flows));
                bench.report(&name);
            }
        }
    }
    group.finish();
}

/// A switch that knows all the flows.
fn warmed(packets: &Packets, flows: u32) -> Bench {
    let mut bench = Bench::new(flows);
    let mut next = (0..flows).cycle();
    for _ in 0..(flows as usize).div_ceil(BATCH) {
        bench.batch(A, |area| packets.write(next.next().unwrap_or_default(), area));
    }
    bench
}

/// Every frame is the first of its flow: lookup, full decision, insertion, and from 65,536 flows on
/// the eviction of another.
fn miss(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow_miss");
    group.throughput(Throughput::Elements(1));
    let packets = routed();
    let mut bench = Bench::new(0);
    group.bench_function("routed", |b| {
        let mut flow = 0u32;
        b.iter_custom(|frames| {
            bench.time(frames, A, |area| {
                flow = flow.wrapping_add(1);
                packets.write(flow, area)
            })
        });
    });
    assert_eq!(bench.dropped(A), 0);
    bench.report("flow_miss/routed");
    group.finish();
}

/// Every frame is of another station behind a port that learns: 512 known ones refreshed, or new ones
/// that push out the oldest.
fn learn(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdb_learn");
    group.throughput(Throughput::Elements(1));
    let packets = Packets::new(Mac::for_pod(ip(4)), Mac::for_pod(ip(3)), 4, 3);
    for (name, stations) in [("refresh", 512u16), ("new", u16::MAX)] {
        let mut bench = Bench::new(0);
        let mut station = 0u16;
        group.bench_function(name, |b| {
            b.iter_custom(|frames| {
                bench.time(frames, VM, |area| {
                    station = (station + 1) % stations;
                    let len = packets.write(0, area);
                    let [high, low] = station.to_be_bytes();
                    area[SOURCE_MAC].copy_from_slice(&[2, 0, 0, 0, high, low]);
                    len
                })
            });
        });
        assert_eq!(bench.dropped(VM), 0);
        bench.report(&format!("fdb_learn/{name}"));
    }
    group.finish();
}

/// One frame to a batch, as when traffic is sparse: what the passes over a batch cost when there is
/// nothing to overlap.
fn alone(c: &mut Criterion) {
    let packets = routed();
    let mut bench = warmed(&packets, 1);
    c.bench_function("flow_hit/alone", |b| {
        b.iter_custom(|frames| bench.time_of(1, frames, A, |area| packets.write(0, area)));
    });
}

criterion_group!(benches, hit, miss, learn, alone);
criterion_main!(benches);
