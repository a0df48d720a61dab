//! Nanoseconds of the connection table, in the memory file it lies in: creating, looking up alone and in a batch, with a thousand and with a
//! million connections; and the longest call of the sweep.

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use datapath::bench::ConnectionTable;
use datapath::{Instant, Limits};
use netdev::SharedMemory;

/// The switch's window.
const BATCH: usize = 32;
const START: Instant = Instant::from_nanos(1_000_000_000_000);

fn limits(connections: u32) -> Limits {
    Limits { connections, connections_per_port: connections, connection_reserve: 0, ..Limits::default() }
}

/// Mapped and never unmapped: a benchmark makes few.
fn table(capacity: u32) -> ConnectionTable {
    let limits = limits(capacity);
    let memory = SharedMemory::create("bench", ConnectionTable::words(&limits)).expect("a memory file");
    ConnectionTable::new(memory.words(), &limits)
}

fn full(count: u32) -> ConnectionTable {
    let mut table = table(count);
    for number in 0..count {
        assert!(table.create(number, START));
    }
    table.remember(count);
    table
}

/// Numbers below `count` in no order a cache could learn.
fn shuffled(count: u32) -> Vec<u32> {
    let numbers = (0..count.next_multiple_of(64)).map(|n| n.wrapping_mul(0x9e37_79b1) >> 7);
    numbers.map(|n| n % count).collect()
}

fn create(c: &mut Criterion) {
    let mut group = c.benchmark_group("conntrack/create");
    for capacity in [1u32 << 10, 1 << 20] {
        // Not at every connection the same table: full, it evicts the oldest, as a flood makes it.
        let table = full(capacity);
        let mut number = capacity;
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("evicting", capacity), |b| {
            b.iter(|| {
                number = number.wrapping_add(1);
                table.create(black_box(number), START)
            });
        });
    }
    group.sample_size(10);
    group.throughput(Throughput::Elements(1 << 20));
    let empty = table(1 << 20);
    let late = START + Duration::from_secs(1000);
    group.bench_function("from empty to 1048576", |b| {
        let make = || while !empty.expire(late, 1 << 20) {};
        b.iter_batched(make, |()| (0..1 << 20).all(|n| empty.create(n, START)), BatchSize::PerIteration);
    });
    group.finish();
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("conntrack/lookup");
    for count in [1000u32, 1_000_000] {
        let table = full(count);
        table.establish(count, START);
        let numbers = shuffled(count);
        let mut batches = numbers.chunks_exact(BATCH).cycle();
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(BenchmarkId::new("alone", count), |b| {
            b.iter(|| table.lookup(black_box(batches.next().expect("endless"))));
        });
        group.bench_function(BenchmarkId::new("together", count), |b| {
            b.iter(|| table.lookup_together(black_box(batches.next().expect("endless"))));
        });
        group.bench_function(BenchmarkId::new("hit", count), |b| {
            b.iter(|| {
                let batch = batches.next().expect("endless");
                batch.iter().filter(|number| table.hit(**number, START)).count()
            });
        });
        group.bench_function(BenchmarkId::new("hit together", count), |b| {
            b.iter(|| table.hit_together(black_box(batches.next().expect("endless")), START));
        });
    }
    group.finish();
}

/// Not a mean: what matters is how long forwarding waits at worst.
fn longest_sweep(_: &mut Criterion) {
    let table = full(1 << 20);
    let limits = Limits::default();
    let late = START + Duration::from_secs(1000);
    for (what, now) in [("nothing due", START), ("all due", late)] {
        let (mut longest, mut calls, begin) = (Duration::ZERO, 0, Clock::now());
        loop {
            let call = Clock::now();
            let is_finished = table.expire(now, limits.sweep_entries);
            longest = longest.max(call.elapsed());
            calls += 1;
            if is_finished {
                break;
            }
        }
        let whole = begin.elapsed();
        println!("conntrack/sweep of 1048576, {what}: {calls} calls, longest {longest:?}, all {whole:?}");
    }
    assert_eq!(table.count(), 0);
}

/// Two workers create at once; one lock.
fn two_workers(_: &mut Criterion) {
    const EACH: u32 = 1 << 19;
    let table = table(2 * EACH);
    let begin = Clock::now();
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let table = &table;
            scope.spawn(move || (0..EACH).all(|n| table.create(worker * EACH + n, START)));
        }
    });
    let each = begin.elapsed() / (2 * EACH);
    println!("conntrack/create by two workers at once: {each:?} a connection");
}

criterion_group!(benches, create, lookup, longest_sweep, two_workers);
criterion_main!(benches);
