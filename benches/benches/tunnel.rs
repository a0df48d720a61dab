//! Nanoseconds without a kernel: a superframe into the tunnel, a train out of it, and what the routes
//! of thousands of nodes cost a packet of a known flow.

mod common;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant as Clock};

use common::{A, BATCH, Packets, ip, node, port, router_mac};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datapath::{
    Batch, Datagram, Egress, Instant, Limits, Pool, Switch, SwitchOptions, Train, Transmit, VNET_HDR_LEN,
};
use protocol::link::{ConfigDelta, DeviceKind, NodeConfig, PeerConfig, PortConfig, TunnelConfig};
use protocol::object::PortKind;
use protocol::{Mac, PeerId, PortId};

const TUNNEL: PortId = PortId(PortId::MAX_PORTS - 1);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
/// What a pod with an MTU of 1450 sends with timestamps left out.
const MSS: usize = 1410;
const SUPERFRAME: usize = 44 * MSS;
const HEADERS: usize = 54;

/// Takes everything; keeps the last train where told to.
#[derive(Default)]
struct Void {
    keeps: bool,
    train: Vec<u8>,
    segment_size: usize,
}

impl Egress for Void {
    fn transmit(&mut self, _: PortId, frame: &[u8]) -> Transmit {
        black_box(frame);
        Transmit::Sent
    }

    fn transmit_tunnel(&mut self, _: PortId, train: &Train<'_>) -> Transmit {
        if self.keeps {
            let pieces = train.headers.chunks(train.header_len).zip(train.payload.chunks(train.payload_size));
            self.train = pieces.flat_map(|(header, payload)| [header, payload].concat()).collect();
            self.segment_size = train.header_len + train.payload_size;
        }
        black_box(train);
        Transmit::Sent
    }
}

struct Bed {
    switch: Switch,
    pool: Pool,
    batch: Batch,
    now: Instant,
    void: Void,
}

/// A node, given by the third byte of its pods' addresses.
fn peer(id: u32, address: Ipv4Addr, pod_cidr: &str) -> PeerConfig {
    PeerConfig {
        id: PeerId(id),
        name: format!("node-{id}"),
        address,
        udp_port: 4789,
        pod_cidrs: vec![pod_cidr.parse().expect("a network")],
        node_addresses: vec![],
        router_mac: Mac([14, 88, 0, 0, 1, 1]),
        keep_alive: true,
        has_pods: true,
        shares_policies: true,
    }
}

impl Bed {
    fn new(peers: u32) -> Self {
        let limits = Limits { flows: 65_536, flows_per_port: 65_536, ..Limits::default() };
        let mut switch = Switch::new(SwitchOptions { seed: 1, limits, ..SwitchOptions::default() });
        let tunnel = TunnelConfig {
            vni: 1,
            address: Ipv4Addr::new(192, 0, 2, 2),
            udp_port: 4789,
            underlay_mtu: 1500,
            clamp_mss: false,
        };
        let others = (1..peers).map(|n| {
            let [_, _, high, low] = n.to_be_bytes();
            peer(n, Ipv4Addr::new(198, 18, high, low), &format!("10.{}.{low}.0/24", high + 100))
        });
        let delta = ConfigDelta {
            epoch: 1,
            commit: true,
            node: Some(NodeConfig {
                tunnel: Some(tunnel),
                cluster_cidr: "10.0.0.0/8".parse().expect("a network"),
                service_cidr: None,
                ..node()
            }),
            attach: vec![
                port(A, 2),
                PortConfig {
                    kind: PortKind::Tunnel,
                    device: DeviceKind::UdpTunnel,
                    addresses: vec![],
                    port_security: false,
                    ..port(TUNNEL, 250)
                },
            ],
            peers: std::iter::once(peer(0, PEER, "10.244.1.0/24")).chain(others).collect(),
            ..ConfigDelta::default()
        };
        let now = Instant::from_nanos(1_000_000_000);
        switch.apply(&delta, now).expect("a configuration that is right");
        Self { switch, pool: Pool::new(BATCH), batch: Batch::new(BATCH), now, void: Void::default() }
    }

    /// Time of one batch of frames that pod A sends.
    fn send(&mut self, frames: usize, mut fill: impl FnMut(&mut [u8]) -> usize) -> Duration {
        for _ in 0..frames {
            let mut frame = self.pool.take().expect("a pool of a batch");
            let len = fill(frame.receive_area());
            frame.set_received(len);
            self.batch.push(A, frame).map_err(|_| ()).expect("room for a batch");
        }
        let start = Clock::now();
        self.switch.process(&mut self.batch, self.now, &mut self.void);
        let elapsed = start.elapsed();
        self.batch.recycle(&mut self.pool);
        elapsed
    }

    /// Time of one train that the peer sends.
    fn receive(&mut self, train: &mut [u8], segment_size: usize) -> Duration {
        let datagram = Datagram { source: PEER, tos: 0, segment_size, bytes: train };
        let start = Clock::now();
        let datagrams = std::iter::once(datagram);
        self.switch.process_tunnel(
            TUNNEL,
            datagrams,
            &mut self.pool,
            &mut self.batch,
            self.now,
            &mut self.void,
        );
        start.elapsed()
    }
}

/// A TCP superframe of pod A for pod C, checksum left to the device, behind its virtio header.
fn superframe(packets: &Packets, area: &mut [u8]) -> usize {
    let len = packets.write(0, area);
    // NEEDS_CSUM, TCPv4; the switch stores the pseudo-header's sum itself.
    let words = [HEADERS, MSS, 34, 16, 0].map(|word| u16::try_from(word).unwrap_or_default());
    area[..2].copy_from_slice(&[1, 1]);
    for (place, word) in area[2..VNET_HDR_LEN].chunks_mut(2).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    area[len..len + SUPERFRAME].fill(7);
    let total_len = u16::try_from(HEADERS - 14 + SUPERFRAME).unwrap_or_default();
    area[VNET_HDR_LEN + 16..VNET_HDR_LEN + 18].copy_from_slice(&total_len.to_be_bytes());
    redirect(&mut area[VNET_HDR_LEN..], POD_C);
    len + SUPERFRAME
}

const POD_A: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);
const POD_C: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 2);

fn superframes(c: &mut Criterion) {
    let mut group = c.benchmark_group("tunnel");
    group.throughput(Throughput::Bytes(SUPERFRAME as u64));
    let packets = Packets::new(Mac::for_pod(ip(2)), router_mac(), 2, 3);
    let mut bed = Bed::new(1);
    group.bench_function("encapsulate/62040", |b| {
        b.iter_custom(|times| (0..times).map(|_| bed.send(1, |area| superframe(&packets, area))).sum());
    });
    bed.void.keeps = true;
    bed.send(1, |area| superframe(&packets, area));
    // The way back: addresses swapped change no checksum, MACs are the routers'.
    let (mut train, size) = (std::mem::take(&mut bed.void.train), bed.void.segment_size);
    assert_eq!(train.len().div_ceil(size), 44);
    for datagram in train.chunks_mut(size) {
        let inner = &mut datagram[8..];
        inner[..6].copy_from_slice(&router_mac().0);
        inner[6..12].copy_from_slice(&[14, 88, 0, 0, 1, 1]);
        inner[26..30].copy_from_slice(&POD_C.octets());
        inner[30..34].copy_from_slice(&POD_A.octets());
    }
    group.bench_function("decapsulate/44x1410", |b| {
        b.iter_custom(|times| {
            (0..times)
                .map(|_| {
                    let mut copy = train.clone();
                    bed.receive(&mut copy, size)
                })
                .sum()
        });
    });
    let counters = bed.switch.port_counters(TUNNEL).expect("configured");
    assert_eq!(counters.rx_frames, counters.forwarded);
    group.finish();
}

/// A packet of a known flow to another node, among the routes of so many.
fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("tunnel_flow_hit");
    group.throughput(Throughput::Elements(1));
    let packets = Packets::new(Mac::for_pod(ip(2)), router_mac(), 2, 3);
    for peers in [1, 5_000] {
        let mut bed = Bed::new(peers);
        let mut flow = 0;
        let mut fill = |area: &mut [u8]| {
            flow = (flow + 1) % 256;
            let len = packets.write(flow, area);
            redirect(&mut area[VNET_HDR_LEN..], POD_C);
            len
        };
        for _ in 0..8 {
            bed.send(BATCH, &mut fill);
        }
        group.bench_function(format!("peers/{peers}"), |b| {
            b.iter_custom(|frames| {
                let batches = frames.div_ceil(BATCH as u64);
                let mut times: Vec<_> = (0..batches).map(|_| bed.send(BATCH, &mut fill)).collect();
                let middle = times.len() / 2;
                let (_, median, _) = times.select_nth_unstable(middle);
                median.mul_f64(frames as f64 / BATCH as f64)
            });
        });
        let counters = bed.switch.port_counters(A).expect("configured");
        assert_eq!(counters.rx_frames, counters.forwarded);
    }
    group.finish();
}

/// Another destination, with the IP checksum made right.
fn redirect(frame: &mut [u8], to: Ipv4Addr) {
    frame[30..34].copy_from_slice(&to.octets());
    frame[24..26].fill(0);
    let sum = frame[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or_default();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

criterion_group!(benches, superframes, routes);
criterion_main!(benches);
