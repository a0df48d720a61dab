//! Forwarding allocates nothing, on any path, even while tables fill up and evict.

mod allocations;
#[path = "switch/common/mod.rs"]
mod common;

use std::time::Duration;

use common::*;
use datapath::{Batch, Datagram, Egress, Limits, Pool, Train, Transmit};
use etherparse::PacketBuilder;
use protocol::link::{
    BackendChanges, BackendConfig, BackendState, ConfigDelta, Frontend, FrontendKind, NodeConfig, PortConfig,
    Scheduler, ServiceConfig, TrafficPolicy, Transport,
};
use protocol::{Mac, Offloads, PortId, ServiceId};

struct Count(usize);

impl Egress for Count {
    fn transmit(&mut self, _: PortId, _: &[u8]) -> Transmit {
        self.0 += 1;
        Transmit::Sent
    }

    fn transmit_tunnel(&mut self, _: PortId, train: &Train<'_>) -> Transmit {
        self.0 += train.segments();
        Transmit::Sent
    }
}

#[test]
fn processing_allocates_nothing() {
    let mut ports = standard_ports();
    ports[2] = PortConfig { offloads: Offloads::NONE, ..port(B, "default/b", B_IP) };
    let limits = Limits {
        fdb_entries: 32,
        fdb_entries_per_port: 32,
        neighbors: 32,
        neighbors_per_port: 32,
        flows: 64,
        flows_per_port: 48,
        ..Limits::default()
    };
    let mut other_worker = Harness::with(ports.clone(), limits);
    let mut h = Harness::with(ports, limits);
    let mut superframe = tcp(routed(A_IP, B_IP), 1, 2, &[7; 20_000]);
    make_partial(&mut superframe, 16);
    let gso = Vnet { gso_type: GSO_TCPV4, gso_size: 1400, hdr_len: 54, ..Vnet::partial(16) };
    let fixed: Vec<(PortId, Vnet, Vec<u8>)> = vec![
        (A, gso, superframe),
        // To a port with offloads, so that the last two are merged.
        (VM, Vnet::default(), udp(direct(VM_IP, A_IP), 5, 6, b"burst 1")),
        (VM, Vnet::default(), udp(direct(VM_IP, A_IP), 5, 6, b"burst 2")),
        (VM, Vnet::default(), udp(direct(VM_IP, A_IP), 5, 6, b"burst 3")),
        (A, Vnet::default(), udp(routed(A_IP, [8, 8, 8, 8]), 1, 2, b"no route")),
        (A, Vnet::default(), echo_request(routed(A_IP, GATEWAY_IP), 1, b"ping")),
        (A, Vnet::default(), ArpFrame::request(pod_mac(A_IP), A_IP, B_IP).bytes()),
        (A, Vnet::default(), udp(Path { to_mac: Mac::BROADCAST, ..direct(A_IP, [255; 4]) }, 1, 2, b"all")),
        (A, Vnet::default(), udp(direct(B_IP, A_IP), 1, 2, b"spoofed")),
    ];
    // Frames that fill every table over and over: flows, stations, neighbours.
    let varied = |n: u32| -> [(PortId, Vnet, Vec<u8>); 3] {
        let [_, _, high, low] = n.to_be_bytes();
        let mac = Mac([6, 0, 0, 0, high, low]);
        let address = [10, 244, 0, 100 + low % 100];
        let l4_port = u16::from_be_bytes([high, low]);
        [
            (A, Vnet::default(), udp(direct(A_IP, B_IP), l4_port, 2, b"flow")),
            (VM, Vnet::default(), udp(Path { from_mac: mac, ..direct([10, 244, 0, 99], A_IP) }, 1, 2, b"x")),
            (VM, Vnet::default(), ArpFrame::request(mac, address, GATEWAY_IP).bytes()),
        ]
    };
    let mut pool = Pool::new(64);
    let mut batch = Batch::new(64);
    let mut egress = Count(0);
    let mut allocations = 0;
    for n in 0..3000 {
        for (port, vnet, bytes) in fixed.iter().cloned().chain(varied(n)) {
            let mut frame = pool.take().unwrap();
            let bytes = [&vnet.bytes()[..], &bytes].concat();
            frame.receive_area()[..bytes.len()].copy_from_slice(&bytes);
            frame.set_received(bytes.len());
            batch.push(port, frame).unwrap();
        }
        h.wait(Duration::from_millis(20));
        let before = allocations::so_far();
        h.switch.process(&mut batch, h.now, &mut egress);
        h.switch.on_deadline(h.now, &mut egress);
        while let Some(learned) = h.switch.take_learned(h.now) {
            other_worker.switch.learn_remote(&learned, h.now);
        }
        batch.recycle(&mut pool);
        allocations += allocations::so_far() - before;
    }
    assert_eq!(allocations, 0);
    assert!(egress.0 > 3000 * 5, "the frames went somewhere: {}", egress.0);
    assert!(allocations::so_far() > 3000, "the allocator counts");
}

#[test]
fn tunnel_allocates_nothing_either_way() {
    let mut h = harness_a();
    let mut superframe = tcp(routed(A_IP, C_IP), 1, 2, &[7; 20_000]);
    make_partial(&mut superframe, 16);
    let gso = Vnet { gso_type: GSO_TCPV4, gso_size: 1398, hdr_len: 54, ..Vnet::partial(16) };
    let out = [
        (gso, superframe),
        (Vnet::default(), udp(routed(A_IP, C_IP), 5, 6, b"out")),
        (Vnet::default(), udp(Path { to_mac: Mac::BROADCAST, ..direct(A_IP, [255; 4]) }, 1, 2, b"all")),
    ];
    let segment = |n: u8| vxlan(VNI, &udp(from_peer(C_IP, A_IP), 1, 2, &[n; 200]));
    let train: Vec<u8> = (0..40).flat_map(segment).collect();
    let unknown = vxlan(VNI + 1, &udp(from_peer(C_IP, A_IP), 1, 2, b"x"));
    let mut pool = Pool::new(8);
    let mut batch = Batch::new(8);
    let mut egress = Count(0);
    let mut allocations = 0;
    for n in 0..500_u32 {
        let expired = vxlan(VNI, &udp(Path { ttl: 1, ..from_peer(C_IP, A_IP) }, 9, 9, b"x"));
        let other = vxlan(VNI, &udp(from_peer(C_IP, A_IP), u16::try_from(n).unwrap(), 2, b"new"));
        for (vnet, bytes) in &out {
            let mut frame = pool.take().unwrap();
            let bytes = [&vnet.bytes()[..], bytes].concat();
            frame.receive_area()[..bytes.len()].copy_from_slice(&bytes);
            frame.set_received(bytes.len());
            batch.push(A, frame).unwrap();
        }
        let mut datagrams = [(train.clone(), 250), (unknown.clone(), 99), (expired, 99), (other, 99)];
        h.wait(Duration::from_millis(100));
        let before = allocations::so_far();
        h.switch.process(&mut batch, h.now, &mut egress);
        batch.recycle(&mut pool);
        let datagrams = datagrams.iter_mut().map(|(bytes, segment_size)| Datagram {
            source: NODE_B_IP.into(),
            tos: 0,
            segment_size: *segment_size,
            bytes,
        });
        h.switch.process_tunnel(TUNNEL, datagrams, &mut pool, &mut batch, h.now, &mut egress);
        h.switch.on_deadline(h.now, &mut egress);
        allocations += allocations::so_far() - before;
    }
    assert_eq!(allocations, 0);
    assert!(egress.0 > 500 * 15, "the frames went somewhere: {}", egress.0);
}

#[test]
fn failing_over_allocates_nothing() {
    const VIP: [u8; 4] = [10, 96, 0, 20];
    let mut h = Harness::new();
    let backend = |address| BackendConfig {
        address: ip(address),
        port: 80,
        weight: 1,
        state: BackendState::Ready,
        is_local: true,
        is_preferred: true,
    };
    let service = ServiceConfig {
        id: ServiceId(3),
        name: "default/web".to_owned(),
        transport: Transport::Tcp,
        frontends: vec![Frontend { kind: FrontendKind::ClusterIp, address: ip(VIP), port: 80 }],
        scheduler: Scheduler::RoundRobin,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    };
    let put = [B_IP, VM_IP, [10, 244, 0, 99]].map(backend).to_vec();
    h.apply(ConfigDelta {
        node: Some(NodeConfig { service_cidr: Some("10.96.0.0/16".parse().unwrap()), ..node() }),
        services: vec![service],
        backends: vec![BackendChanges { service: ServiceId(3), remove: Vec::new(), put }],
        ..ConfigDelta::default()
    });
    let frame = |path: Path, ports: (u16, u16), is_reset: bool| {
        let builder = PacketBuilder::ethernet2(path.from_mac.0, path.to_mac.0)
            .ipv4(path.from, path.to, path.ttl)
            .tcp(ports.0, ports.1, 5, 1000);
        let builder = if is_reset { builder.rst().ack(6) } else { builder.syn() };
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).unwrap();
        frame
    };
    let mut pool = Pool::new(8);
    let mut batch = Batch::new(8);
    let mut egress = Count(0);
    let mut allocations = 0;
    for n in 0..3000u16 {
        let number = 10_000 + n / 2;
        let frames = [
            (A, frame(routed(A_IP, VIP), (number, 80), false)),
            (B, frame(direct(B_IP, A_IP), (80, number), true)),
            (VM, frame(direct(VM_IP, A_IP), (80, number), true)),
        ];
        for (port, bytes) in frames {
            let mut frame = pool.take().unwrap();
            let bytes = [&Vnet::default().bytes()[..], &bytes].concat();
            frame.receive_area()[..bytes.len()].copy_from_slice(&bytes);
            frame.set_received(bytes.len());
            batch.push(port, frame).unwrap();
        }
        h.wait(Duration::from_millis(600));
        let before = allocations::so_far();
        h.switch.process(&mut batch, h.now, &mut egress);
        h.switch.on_deadline(h.now, &mut egress);
        batch.recycle(&mut pool);
        allocations += allocations::so_far() - before;
    }
    assert_eq!(allocations, 0);
    let summary = h.switch.summary();
    assert!(summary.fail_overs.refused > 1000, "{summary:?}");
}

#[test]
fn asking_policies_allocates_nothing() {
    use protocol::link::PolicyChange;
    use protocol::link::policy::{
        Action, Assigned, Owner, PortMap, Span, Table, TableChange, TableRule, port_key,
    };
    let rule = |action| TableRule { tier: 49, action, policy: 3, index: Some(0) };
    let ranks = |from, rank| Span { from, ranks: vec![rank] };
    let table = Table {
        rules: vec![rule(Action::Allow), rule(Action::Deny)],
        anyone: 1,
        maps: vec![
            PortMap::default(),
            PortMap(vec![ranks(0, 1), ranks(port_key(17, 80), 0), ranks(port_key(17, 81), 1)]),
        ],
        ..Table::default()
    };
    let pod = |address, pod| (ip(address), Some(Owner::Pod { pod, identity: 1, node: Some(1) }));
    let policies = PolicyChange {
        tables: vec![(1, TableChange::Whole(table))],
        identities: vec![(1, Some(Assigned { ingress: 1, egress: 1 }))],
        addresses: vec![pod(A_IP, 1), pod(B_IP, 2), pod(VM_IP, 3)],
        gone: Vec::new(),
    };
    let mut h = Harness::new();
    let node = Some(NodeConfig { policies: true, ..node() });
    h.apply(ConfigDelta { node, policies, ..ConfigDelta::default() });
    let mut pool = Pool::new(8);
    let mut batch = Batch::new(8);
    let mut egress = Count(0);
    let mut allocations = 0;
    for n in 0..3000u16 {
        let group = Path { to_mac: Mac([1, 0, 0x5e, 0, 0, 1]), ..direct(A_IP, [224, 0, 0, 1]) };
        let frames = [
            (A, udp(direct(A_IP, B_IP), 1000, 80, b"established")),
            (B, udp(direct(B_IP, A_IP), 80, 1000, b"answer")),
            (A, udp(routed(A_IP, B_IP), 2000 + n, 80, b"new")),
            (A, udp(direct(A_IP, B_IP), 2000 + n, 81, b"denied")),
            (A, udp(group, 5, 80, b"to all")),
            (A, echo_request(direct(A_IP, B_IP), n, b"denied")),
        ];
        for (port, bytes) in frames {
            let mut frame = pool.take().unwrap();
            let bytes = [&Vnet::default().bytes()[..], &bytes].concat();
            frame.receive_area()[..bytes.len()].copy_from_slice(&bytes);
            frame.set_received(bytes.len());
            batch.push(port, frame).unwrap();
        }
        h.wait(Duration::from_millis(20));
        let before = allocations::so_far();
        h.switch.process(&mut batch, h.now, &mut egress);
        h.switch.on_deadline(h.now, &mut egress);
        batch.recycle(&mut pool);
        allocations += allocations::so_far() - before;
    }
    assert_eq!(allocations, 0);
    assert!(egress.0 > 3000 * 4, "the frames went somewhere: {}", egress.0);
    assert!(h.switch.policies_page(0, 1).0[0].denied >= 3000 * 2);
}
