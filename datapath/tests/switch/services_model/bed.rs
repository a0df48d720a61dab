//! Who there is, how each sends, and what is seen to become of a packet.

use std::net::Ipv4Addr;

use datapath::Limits;
use etherparse::TransportHeader;
use protocol::link::{ConfigDelta, Frontend, FrontendKind, ServiceConfig, Transport};
use protocol::{PortId, ServiceId};

use crate::common::*;
use crate::nat_bed::{End, later};
use crate::services::{OTHER_VIP, VIP, ends, frontend, segment, service};

pub(super) const KINDS: [FrontendKind; 4] =
    [FrontendKind::ClusterIp, FrontendKind::NodePort, FrontendKind::LoadBalancer, FrontendKind::ExternalIp];
/// Services that come and go.
pub(super) const SERVICES: usize = 3;
pub(super) const EXTERNAL_IP: [u8; 4] = [198, 18, 0, 8];
pub(super) const SERVER_PORT: u16 = 8080;
const FAR: [u8; 4] = [203, 0, 113, 99];
const D_IP: [u8; 4] = [10, 244, 1, 3];
/// Pods of this node, of another one, this node itself, and a host outside the cluster.
pub(super) const SERVERS: [[u8; 4]; 7] = [A_IP, B_IP, VM_IP, C_IP, D_IP, NODE_IP, FAR];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Pod(PortId),
    Node,
    Outside,
}

/// Where a packet goes, or comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Pod(PortId),
    OtherNode,
    Node,
    Outside,
}

pub(super) const CLIENTS: [(Client, [u8; 4]); 6] = [
    (Client::Pod(A), A_IP),
    (Client::Pod(B), B_IP),
    (Client::Pod(VM), VM_IP),
    (Client::Node, GATEWAY_IP),
    (Client::Outside, CLIENT_IP),
    (Client::Outside, [203, 0, 113, 8]),
];

/// What was seen to become of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Delivered {
        to: Place,
        ends: (End, End),
    },
    /// And whether its sender was told.
    Dropped {
        reason: String,
        is_told: bool,
    },
}

impl Client {
    pub(super) const fn place(self) -> Place {
        match self {
            Self::Pod(port) => Place::Pod(port),
            Self::Node => Place::Node,
            Self::Outside => Place::Outside,
        }
    }
}

/// A service with these frontends: TCP and UDP share numbers, at one address and as node ports.
pub(super) fn config_of(number: usize, port: u16, kinds: &[FrontendKind]) -> ServiceConfig {
    let (transport, address, ports, node_port) = match number {
        0 => (Transport::Tcp, VIP, 8000, 30_080),
        1 => (Transport::Udp, VIP, 8000, 30_080),
        _ => (Transport::Udp, OTHER_VIP, 8002, 30_082),
    };
    let at = |kind: &FrontendKind| match kind {
        FrontendKind::ClusterIp => frontend(*kind, address, ports + port),
        FrontendKind::NodePort => frontend(*kind, [0; 4], node_port + port),
        FrontendKind::HostPort | FrontendKind::HostLocal => unreachable!("not of services"),
        FrontendKind::LoadBalancer => frontend(*kind, LB_IP, ports + port),
        FrontendKind::ExternalIp => frontend(*kind, EXTERNAL_IP, ports + port),
    };
    ServiceConfig { frontends: kinds.iter().map(at).collect(), ..service(id_of(number), transport, 0) }
}

pub(super) fn id_of(number: usize) -> ServiceId {
    ServiceId(u32::try_from(number).unwrap())
}

/// Where a client may look for the service.
pub(super) fn target(number: usize, which: usize, port: u16) -> End {
    let all = config_of(number, port, &KINDS);
    let of = |frontend: &Frontend, node: [u8; 4]| match frontend.address {
        std::net::IpAddr::V4(address) if !address.is_unspecified() => (address, frontend.port),
        _ => (node.into(), frontend.port),
    };
    match which {
        4 => of(&all.frontends[1], GATEWAY_IP),
        5 => of(&all.frontends[1], NODE_B_IP),
        _ => of(&all.frontends[which], NODE_IP),
    }
}

/// An address of this node or another, where node ports are.
pub(super) fn is_nodes(address: Ipv4Addr) -> bool {
    [NODE_IP, GATEWAY_IP, NODE_B_IP].contains(&address.octets())
}

pub(super) fn place_of(address: Ipv4Addr) -> Place {
    match address.octets() {
        A_IP => Place::Pod(A),
        B_IP => Place::Pod(B),
        VM_IP => Place::Pod(VM),
        [10, 244, 1, _] | NODE_B_IP => Place::OtherNode,
        NODE_IP | GATEWAY_IP => Place::Node,
        _ => Place::Outside,
    }
}

pub(super) struct Bed {
    pub(super) h: Harness,
}

impl Bed {
    pub(super) fn new() -> Self {
        let limits =
            Limits { icmp_errors_per_second: 1 << 20, icmp_error_burst: 1 << 20, ..Limits::default() };
        let mut h = harness_uplink_cold(limits);
        // So that these two always are addresses of services.
        let frontends = [LB_IP, EXTERNAL_IP].map(|address| frontend(FrontendKind::ExternalIp, address, 9));
        let anchor =
            ServiceConfig { frontends: frontends.into(), ..service(ServiceId(9), Transport::Tcp, 9) };
        h.apply(ConfigDelta { services: vec![anchor], ..ConfigDelta::default() });
        let mut bed = Self { h };
        bed.wait(0);
        bed
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        later(&mut self.h, seconds);
    }

    /// What a client sends. `flags` if it is TCP.
    pub(super) fn ask(
        &mut self,
        client: Client,
        transport: Transport,
        ends: (End, End),
        flags: &str,
    ) -> Seen {
        let (from, to) = (ends.0.0.octets(), ends.1.0.octets());
        let path = match client {
            Client::Pod(_) => routed(from, to),
            Client::Node => Path { to_mac: router_mac(), ..Path { from, ..from_node(to) } },
            Client::Outside => outside(from, to),
        };
        self.send(client.place(), path, transport, (ends.0.1, ends.1.1), flags)
    }

    /// What a server answers.
    pub(super) fn answer(&mut self, transport: Transport, (server, seen): (End, End), flags: &str) -> Seen {
        let (from, to) = (server.0.octets(), seen.0.octets());
        let is_neighbor = matches!(place_of(seen.0), Place::Pod(_));
        let place = place_of(server.0);
        let path = match place {
            // To pods of its own node it sends by itself.
            Place::Pod(_) if is_neighbor => direct(from, to),
            Place::Pod(_) => routed(from, to),
            Place::Node if is_neighbor => Path { from, ..from_node(to) },
            Place::Node => Path { to_mac: router_mac(), ..Path { from, ..from_node(to) } },
            Place::OtherNode => from_peer(from, to),
            Place::Outside => outside(from, to),
        };
        self.send(place, path, transport, (server.1, seen.1), flags)
    }

    fn send(
        &mut self,
        from: Place,
        path: Path,
        transport: Transport,
        ports: (u16, u16),
        flags: &str,
    ) -> Seen {
        let frame = match transport {
            Transport::Tcp => segment(path, ports, flags, b"data"),
            Transport::Udp | Transport::Sctp => udp(path, ports.0, ports.1, b"data"),
        };
        self.h.deltas();
        self.h.wire.trains.clear();
        let (port, sent) = match from {
            Place::Pod(port) => (port, self.h.send(port, &frame)),
            Place::Node => (GATEWAY, self.h.send(GATEWAY, &frame)),
            Place::Outside => (UPLINK, self.h.send(UPLINK, &frame)),
            Place::OtherNode => (TUNNEL, self.h.receive(TUNNEL, NODE_B_IP, 0, &[vxlan(VNI, &frame)])),
        };
        self.seen(port, sent)
    }

    /// Exactly one verdict: one packet out, or one drop with a name and at most a word to the sender.
    fn seen(&mut self, ingress: PortId, sent: Vec<(PortId, Vec<u8>)>) -> Seen {
        let mut deltas = self.h.deltas();
        let mut all: Vec<_> =
            sent.into_iter().map(|(port, frame)| (port, ethernet(&frame).to_vec())).collect();
        for train in self.h.wire.trains.drain(..) {
            assert_eq!(train.to.ip().octets(), NODE_B_IP);
            all.extend(train.datagrams.iter().map(|datagram| (train.port, inner(datagram).to_vec())));
        }
        assert!(all.len() <= 1, "{} packets of one", all.len());
        let out = all.pop();
        let written: u64 = deltas.values().map(|delta| delta.tx).sum();
        assert_eq!(written, u64::from(out.is_some()));
        let delta = deltas.remove(&ingress).unwrap();
        assert_eq!(delta.rx, 1);
        if delta.forwarded == 1 {
            let (port, frame) = out.expect("what was forwarded is seen");
            assert!(delta.drops.is_empty() && delta.originated == 0);
            return Seen::Delivered { to: place_behind(port, &frame), ends: ends(&frame) };
        }
        let (reason, count) = delta.drops.into_iter().next().expect("a name");
        assert_eq!(count, 1);
        if let Some((port, frame)) = &out {
            assert_eq!(*port, ingress, "who is told is who sent");
            assert_told(frame);
        }
        Seen::Dropped { reason, is_told: out.is_some() }
    }
}

/// Whom the frame reaches by its port and MAC address.
#[track_caller]
fn place_behind(port: PortId, frame: &[u8]) -> Place {
    let (place, mac) = match port {
        GATEWAY => (Place::Node, gateway_mac()),
        TUNNEL => (Place::OtherNode, router_b()),
        UPLINK => (Place::Outside, ROUTER),
        pod => {
            let address = [A_IP, B_IP, VM_IP][usize::try_from(pod.0).unwrap() - 1];
            (Place::Pod(pod), pod_mac(address))
        }
    };
    assert_eq!(frame[..6], mac.0, "the station behind port {port}");
    place
}

/// A reset, or port or host unreachable.
#[track_caller]
fn assert_told(frame: &[u8]) {
    let packet = decode(frame);
    match &packet.transport {
        Some(TransportHeader::Tcp(tcp)) => assert!(tcp.rst),
        Some(TransportHeader::Icmpv4(_)) => assert!([[3, 1], [3, 3]].contains(&[frame[34], frame[35]])),
        other => panic!("told by {other:?}"),
    }
}
