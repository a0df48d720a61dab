//! Nanoseconds of single steps of a frame's way: reading its headers, checksums, translation.

#[path = "common/packets.rs"]
mod packets;

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datapath::bench::{Ends, Translator, checksum, read};
use datapath::{Frame, Pool};
use packets::Packets;
use protocol::Mac;

fn frame() -> Frame {
    let mut frame = Pool::new(1).take().expect("a pool of one");
    let packets = Packets::new(Mac([2, 0, 0, 0, 0, 3]), Mac([2, 0, 0, 0, 0, 4]), 2, 3);
    let len = packets.write(1 << 16 | 2, frame.receive_area());
    frame.set_received(len);
    frame
}

/// Headers, virtio header, canonical form.
fn parse(c: &mut Criterion) {
    let mut frame = frame();
    assert!(read(&mut frame));
    c.bench_function("parse/tcp", |b| b.iter(|| read(black_box(&mut frame))));
}

fn sum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20, 1460, 65_536] {
        let bytes = vec![0xa5; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(len.to_string(), |b| b.iter(|| checksum(black_box(&bytes))));
    }
    group.finish();
}

/// MACs, TTL, addresses, ports, both checksums. The same frame over and over, so that it is never the
/// flow's own: the work is the same.
fn translate(c: &mut Criterion) {
    let pod = Ipv4Addr::new(10, 244, 0, 2);
    let from: Ends = ((pod, 1), (Ipv4Addr::new(10, 244, 0, 3), 2));
    let to: Ends = ((Ipv4Addr::new(192, 0, 2, 1), 40_000), (Ipv4Addr::new(10, 244, 1, 9), 8080));
    let mut frame = frame();
    let translator = Translator::new(&mut frame, from, to).expect("IPv4");
    c.bench_function("nat/rewrite", |b| {
        b.iter(|| black_box(&translator).apply(black_box(&mut frame)));
    });
}

criterion_group!(benches, parse, sum, translate);
criterion_main!(benches);
