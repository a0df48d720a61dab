//! A switch with a node around it, frames to feed it, and a reader that is not ours.
//!
//! ```text
//! port 0  gateway   0e:58:0a:f4:00:01  10.244.0.1, node address 192.0.2.2
//! port 1  default/a 0a:58:0a:f4:00:02  10.244.0.2
//! port 2  default/b 0a:58:0a:f4:00:03  10.244.0.3
//! port 3  default/vm 0a:58:0a:f4:00:04 10.244.0.4, no port security: stations behind it are learned
//! ```

#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

mod nodes;
mod outside;
mod packets;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use datapath::{
    Batch, Datagram, Egress, Instant, Limits, Pool, Switch, SwitchOptions, Train, Transmit, VNET_HDR_LEN,
};
use proptest::prelude::ProptestConfig;
use protocol::link::{ConfigDelta, DeviceKind, NodeConfig, PortConfig};
use protocol::object::{PortCounters, PortKind, PortState};
use protocol::{Mac, Offloads, PortId};

pub(crate) use nodes::*;
#[allow(unused_imports, reason = "each test binary uses its own part of the harness")]
pub(crate) use outside::*;
pub(crate) use packets::*;

pub(crate) const GATEWAY: PortId = PortId(0);
pub(crate) const A: PortId = PortId(1);
pub(crate) const B: PortId = PortId(2);
pub(crate) const VM: PortId = PortId(3);

pub(crate) const GATEWAY_IP: [u8; 4] = [10, 244, 0, 1];
pub(crate) const A_IP: [u8; 4] = [10, 244, 0, 2];
pub(crate) const B_IP: [u8; 4] = [10, 244, 0, 3];
pub(crate) const VM_IP: [u8; 4] = [10, 244, 0, 4];
pub(crate) const NODE_IP: [u8; 4] = [192, 0, 2, 2];

pub(crate) const ALL_OFFLOADS: Offloads =
    Offloads::CSUM.union(Offloads::TSO4).union(Offloads::TSO6).union(Offloads::USO4).union(Offloads::USO6);

pub(crate) const MTU: u16 = 1450;

pub(crate) fn ip(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(octets))
}

pub(crate) fn pod_mac(octets: [u8; 4]) -> Mac {
    Mac::for_pod(ip(octets))
}

pub(crate) fn router_mac() -> Mac {
    Mac::for_router(ip(GATEWAY_IP))
}

pub(crate) fn gateway_mac() -> Mac {
    Mac::for_gateway_tap(ip(GATEWAY_IP))
}

pub(crate) fn node() -> NodeConfig {
    NodeConfig {
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        service_cidr: None,
        gateway_ip: ip(GATEWAY_IP),
        router_mac: router_mac(),
        node_addresses: vec![ip(NODE_IP)],
        fdb_ageing_seconds: 300,
        tunnel: None,
        uplink: None,
    }
}

pub(crate) fn port(id: PortId, name: &str, address: [u8; 4]) -> PortConfig {
    PortConfig {
        id,
        name: name.to_owned(),
        kind: PortKind::Pod,
        device: DeviceKind::VnetTap,
        offloads: ALL_OFFLOADS,
        mac: pod_mac(address),
        addresses: vec![ip(address)],
        ip_mtu: MTU,
        port_security: true,
        state: PortState::Active,
        bandwidth: protocol::object::Bandwidth::default(),
    }
}

pub(crate) fn gateway() -> PortConfig {
    PortConfig {
        kind: PortKind::Gateway,
        mac: gateway_mac(),
        port_security: false,
        ..port(GATEWAY, "gateway", GATEWAY_IP)
    }
}

pub(crate) fn vm() -> PortConfig {
    PortConfig { port_security: false, ..port(VM, "default/vm", VM_IP) }
}

/// The standard ports on devices that take no superframes, so that each frame is written by itself.
pub(crate) fn ports_without_segmentation() -> Vec<PortConfig> {
    standard_ports().into_iter().map(|port| PortConfig { offloads: Offloads::CSUM, ..port }).collect()
}

pub(crate) fn standard_ports() -> Vec<PortConfig> {
    vec![gateway(), port(A, "default/a", A_IP), port(B, "default/b", B_IP), vm()]
}

/// So many random cases, unless `PROPTEST_CASES` asks for another number.
pub(crate) fn cases(default: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() {
        asked
    } else {
        ProptestConfig { cases: default, ..asked }
    }
}

/// Collects what is written, and refuses where told to.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) sent: Vec<(PortId, Vec<u8>)>,
    pub(crate) full: Vec<PortId>,
    pub(crate) gone: Vec<PortId>,
    /// What tunnels sent.
    pub(crate) trains: Vec<SentTrain>,
    /// What becomes of what is sent by a tunnel, if not "sent".
    pub(crate) tunnel: Option<Transmit>,
}

/// What was sent to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentTrain {
    pub(crate) port: PortId,
    pub(crate) to: SocketAddrV4,
    pub(crate) tos: u8,
    pub(crate) entropy: u32,
    pub(crate) datagrams: Vec<Vec<u8>>,
}

impl Egress for Wire {
    fn transmit(&mut self, port: PortId, frame: &[u8]) -> Transmit {
        assert!(frame.len() >= VNET_HDR_LEN + 14, "a frame shorter than Ethernet on port {port}");
        if self.gone.contains(&port) {
            return Transmit::Gone;
        }
        if self.full.contains(&port) {
            return Transmit::QueueFull;
        }
        self.sent.push((port, frame.to_vec()));
        Transmit::Sent
    }

    fn transmit_tunnel(&mut self, port: PortId, train: &Train<'_>) -> Transmit {
        if let Some(refused) = self.tunnel {
            return refused;
        }
        let headers = train.headers.chunks(train.header_len);
        let payload = train.payload.chunks(train.payload_size);
        assert_eq!(headers.len(), payload.len(), "a header for each payload");
        let datagrams = headers.zip(payload).map(|(header, payload)| [header, payload].concat()).collect();
        let (to, tos, entropy) = (train.to, train.tos, train.entropy);
        self.trains.push(SentTrain { port, to, tos, entropy, datagrams });
        Transmit::Sent
    }
}

/// Change of one port's counters, whole: a test that names it sees every unexpected count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Delta {
    pub(crate) rx: u64,
    pub(crate) forwarded: u64,
    pub(crate) drops: BTreeMap<String, u64>,
    pub(crate) tx: u64,
    pub(crate) refused: u64,
    pub(crate) originated: u64,
}

impl Delta {
    /// One frame came in and was forwarded.
    pub(crate) fn forwarded() -> Self {
        Self { rx: 1, forwarded: 1, ..Self::default() }
    }

    /// One frame went out.
    pub(crate) fn sent() -> Self {
        Self { tx: 1, ..Self::default() }
    }

    /// One frame came in and was answered.
    pub(crate) fn answered() -> Self {
        Self { tx: 1, ..Self::forwarded() }
    }

    /// One frame came in and was dropped.
    pub(crate) fn dropped(reason: &str) -> Self {
        Self { rx: 1, drops: BTreeMap::from([(reason.to_owned(), 1)]), ..Self::default() }
    }

    /// One frame came in, was dropped, and its sender was told.
    pub(crate) fn refused_with_error(reason: &str) -> Self {
        Self { tx: 1, originated: 1, ..Self::dropped(reason) }
    }
}

pub(crate) struct Harness {
    pub(crate) switch: Switch,
    pub(crate) now: Instant,
    pub(crate) wire: Wire,
    pool: Pool,
    batch: Batch,
    seen: BTreeMap<PortId, PortCounters>,
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(standard_ports(), Limits::default())
    }

    pub(crate) fn with(ports: Vec<PortConfig>, limits: Limits) -> Self {
        let mut harness = Self::bare(limits);
        harness.apply(ConfigDelta { node: Some(node()), attach: ports, ..ConfigDelta::default() });
        harness
    }

    pub(crate) fn bare(limits: Limits) -> Self {
        Self {
            switch: Switch::new(SwitchOptions { seed: 1, limits, has_peers: true, worker: 0 }),
            now: Instant::from_nanos(1_000_000_000),
            wire: Wire::default(),
            pool: Pool::new(64),
            batch: Batch::new(64),
            seen: BTreeMap::new(),
        }
    }

    /// Commits a delta as the next configuration.
    #[track_caller]
    pub(crate) fn apply(&mut self, delta: ConfigDelta) {
        let delta = ConfigDelta { epoch: self.switch.epoch() + 1, commit: true, ..delta };
        self.switch.apply(&delta, self.now).unwrap();
    }

    /// Commits new settings of one port.
    #[track_caller]
    pub(crate) fn update(&mut self, port: PortConfig) {
        self.apply(ConfigDelta { update: vec![port], ..ConfigDelta::default() });
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Runs `on_deadline` until nothing is due.
    pub(crate) fn sweep(&mut self) {
        while self.switch.next_deadline().is_some_and(|due| due <= self.now) {
            self.switch.on_deadline(self.now, &mut self.wire);
        }
    }

    /// Feeds one frame with a zero virtio header; gives what was written.
    #[track_caller]
    pub(crate) fn send(&mut self, ingress: PortId, ethernet: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.send_with(ingress, Vnet::default(), ethernet)
    }

    /// Feeds one frame; gives what was written.
    #[track_caller]
    pub(crate) fn send_with(
        &mut self,
        ingress: PortId,
        vnet: Vnet,
        ethernet: &[u8],
    ) -> Vec<(PortId, Vec<u8>)> {
        self.send_raw(ingress, &[&vnet.bytes()[..], ethernet].concat())
    }

    /// Feeds bytes as a device delivers them; gives what was written. The conservation law holds
    /// afterwards, or the test fails.
    #[track_caller]
    pub(crate) fn send_raw(&mut self, ingress: PortId, bytes: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.feed(ingress, bytes);
        self.process()
    }

    /// Feeds frames with zero virtio headers in one batch; gives what was written.
    #[track_caller]
    pub(crate) fn send_batch(&mut self, frames: &[(PortId, Vec<u8>)]) -> Vec<(PortId, Vec<u8>)> {
        for (ingress, ethernet) in frames {
            self.feed(*ingress, &[&Vnet::default().bytes()[..], ethernet].concat());
        }
        self.process()
    }

    /// Feeds what a tunnel's device received from `source`; gives what was written.
    #[track_caller]
    pub(crate) fn receive(
        &mut self,
        port: PortId,
        source: [u8; 4],
        tos: u8,
        datagrams: &[Vec<u8>],
    ) -> Vec<(PortId, Vec<u8>)> {
        let segment_size = datagrams.first().map_or(1, Vec::len);
        let mut bytes = datagrams.concat();
        let datagram = Datagram { source: source.into(), tos, segment_size, bytes: &mut bytes };
        self.wire.sent.clear();
        self.switch.process_tunnel(
            port,
            std::iter::once(datagram),
            &mut self.pool,
            &mut self.batch,
            self.now,
            &mut self.wire,
        );
        assert!(self.batch.is_empty());
        self.assert_conservation();
        std::mem::take(&mut self.wire.sent)
    }

    fn feed(&mut self, ingress: PortId, bytes: &[u8]) {
        let mut frame = self.pool.take().unwrap();
        frame.receive_area()[..bytes.len()].copy_from_slice(bytes);
        frame.set_received(bytes.len());
        self.batch.push(ingress, frame).unwrap();
    }

    #[track_caller]
    fn process(&mut self) -> Vec<(PortId, Vec<u8>)> {
        self.wire.sent.clear();
        self.switch.process(&mut self.batch, self.now, &mut self.wire);
        self.batch.recycle(&mut self.pool);
        self.assert_conservation();
        std::mem::take(&mut self.wire.sent)
    }

    #[track_caller]
    pub(crate) fn assert_conservation(&self) {
        for port in self.switch.ports() {
            let counters = self.switch.port_counters(port.id).unwrap();
            let dropped: u64 = counters.drops.iter().map(|drop| drop.frames).sum();
            assert_eq!(counters.rx_frames, counters.forwarded + dropped, "conservation at {}", port.name);
        }
    }

    /// Change of every port's counters since the last call; ports without change are left out.
    pub(crate) fn deltas(&mut self) -> BTreeMap<PortId, Delta> {
        let ids: Vec<_> = self.switch.ports().map(|port| port.id).collect();
        let mut deltas = BTreeMap::new();
        // A port that comes again counts from zero.
        self.seen.retain(|id, _| ids.contains(id));
        for id in ids {
            let now = self.switch.port_counters(id).unwrap();
            let before = self.seen.insert(id, now.clone()).unwrap_or_default();
            let drops = now.drops.iter().filter_map(|drop| {
                let old = before.drops.iter().find(|d| d.reason == drop.reason).map_or(0, |d| d.frames);
                (drop.frames > old).then(|| (drop.reason.clone(), drop.frames - old))
            });
            let delta = Delta {
                rx: now.rx_frames - before.rx_frames,
                forwarded: now.forwarded - before.forwarded,
                drops: drops.collect(),
                tx: now.tx_frames - before.tx_frames,
                refused: now.tx_refused - before.tx_refused,
                originated: now.originated - before.originated,
            };
            if delta != Delta::default() {
                deltas.insert(id, delta);
            }
        }
        deltas
    }

    /// The counters changed exactly so since the last look.
    #[track_caller]
    pub(crate) fn assert_deltas<const N: usize>(&mut self, wanted: [(PortId, Delta); N]) {
        assert_eq!(self.deltas(), BTreeMap::from(wanted));
    }

    /// Feeds a frame that must vanish for this reason, leaving no other trace.
    #[track_caller]
    pub(crate) fn assert_dropped(&mut self, ingress: PortId, ethernet: &[u8], reason: &str) {
        self.assert_dropped_with(ingress, Vnet::default(), ethernet, reason);
    }

    /// See [`Self::assert_dropped`].
    #[track_caller]
    pub(crate) fn assert_dropped_with(&mut self, ingress: PortId, vnet: Vnet, ethernet: &[u8], reason: &str) {
        self.deltas();
        let sent = self.send_with(ingress, vnet, ethernet);
        self.assert_deltas([(ingress, Delta::dropped(reason))]);
        assert!(sent.is_empty());
    }
}
