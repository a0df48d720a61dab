//! Single steps, for the micro benchmarks. Not part of the interface.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use protocol::{Mac, PortId};

use crate::conntrack::{Client, ConnectionId, Connections, Direction, Key, Kind, NewConnection, Tracked};
use crate::frame::Frame;
use crate::limits::Limits;
use crate::received::Received;
use crate::rewrite::{Rewrite, Translation, Tuple};
use crate::service::{Origin, Rng};
use crate::switch::Switch;
use crate::time::Instant;
use crate::wire::l4::TcpFlags;
use crate::wire::{Body, checksum};

/// Reads a frame and puts it in canonical form; whether it is one.
pub fn read(frame: &mut Frame) -> bool {
    Received::read(frame).is_ok()
}

/// Chooses backends for connections of pods, as the slow path does.
#[derive(Debug)]
pub struct Chooser(Rng);

impl Chooser {
    /// With random numbers of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Rng::new(seed))
    }

    /// Finds the service at an address and chooses a backend for a new connection, which is then open.
    pub fn choose(
        &mut self,
        switch: &mut Switch,
        frontend: (u8, Ipv4Addr, u16),
        client: (Ipv4Addr, u16),
        now: Instant,
    ) -> Option<(Ipv4Addr, u16)> {
        let services = &mut switch.slow_path.services;
        let (protocol, address, port) = frontend;
        let hit = services.frontend(protocol, address, port, false)?;
        let chosen = services.choose(&hit, client, Origin::Inside, now, &mut self.0, &[]).ok()?;
        services.shared().active.opened(chosen.slot);
        Some((chosen.address, chosen.port))
    }
}

/// Bytes that one worker's tables of services take.
#[must_use]
pub fn services_size(switch: &Switch) -> usize {
    switch.slow_path.services.heap_size()
}

/// The Internet checksum.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    checksum::Sum::new().bytes(bytes).checksum()
}

/// Source and destination, address and port.
pub type Ends = ((Ipv4Addr, u16), (Ipv4Addr, u16));

/// A translation prepared for the flow of one frame.
#[derive(Debug)]
pub struct Translator {
    rewrite: Rewrite,
    translation: Translation,
    received: Received,
}

impl Translator {
    /// For the flow between the ends `from`, which `frame` is of; `None` if it is not IPv4.
    #[must_use]
    pub fn new(frame: &mut Frame, from: Ends, to: Ends) -> Option<Self> {
        let received = Received::read(frame).ok().filter(|r| matches!(r.packet.body, Body::Ipv4(_)))?;
        let translation = Translation::new(&tuple(from), tuple(to));
        let (destination, source) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        Some(Self {
            rewrite: Rewrite { destination, source, peer: None, counts_hop: true },
            translation,
            received,
        })
    }

    /// Rewrites a frame of the flow.
    pub fn apply(&self, frame: &mut Frame) {
        let mut received = self.received;
        if let Body::Ipv4(ip) = &mut received.packet.body {
            self.rewrite.apply(frame.ethernet_mut(), ip, received.offload.checksum, Some(&self.translation));
        }
    }
}

const fn tuple((source, destination): Ends) -> Tuple {
    Tuple {
        source: source.0,
        destination: destination.0,
        source_port: source.1,
        destination_port: destination.1,
    }
}

/// A connection table with connections in it, from one client to many services.
#[derive(Debug)]
pub struct ConnectionTable {
    connections: Connections,
    ids: Vec<ConnectionId>,
}

impl ConnectionTable {
    /// Words of memory for `limits`.
    #[must_use]
    pub fn words(limits: &Limits) -> usize {
        Connections::words(limits)
    }

    /// In this memory.
    #[must_use]
    pub fn new(words: &'static [AtomicU64], limits: &Limits) -> Self {
        Self { connections: Connections::new(words, 1, limits, Arc::default()), ids: Vec::new() }
    }

    /// Creates connection `number`; `false` if it is refused.
    pub fn create(&self, number: u32, now: Instant) -> bool {
        let new = NewConnection {
            protocol: PROTOCOL,
            original: original(number),
            server: (Ipv4Addr::from_bits(0x0a01_0000 | number >> 8 & 0xffff), 8080),
            client: Client::Kept,
            owner: PortId(number % 8),
            kind: Kind { is_service: true, is_hairpin: false, ..Kind::default() },
            backend: None,
            ports: 1024..=u16::MAX,
        };
        self.connections.create(&new, now).is_ok()
    }

    /// Remembers where connections `0..count` are, as flows do.
    pub fn remember(&mut self, count: u32) {
        let find = |number| Some(self.connections.lookup(&Key::new(PROTOCOL, &original(number)))?.id);
        self.ids = (0..count).filter_map(find).collect();
    }

    /// Which of `numbers` there are, one after the other.
    #[must_use]
    pub fn lookup(&self, numbers: &[u32]) -> usize {
        let found =
            |number: &&u32| self.connections.lookup(&Key::new(PROTOCOL, &original(**number))).is_some();
        numbers.iter().filter(found).count()
    }

    /// The same, in passes, so that the misses of up to 64 overlap.
    #[must_use]
    pub fn lookup_together(&self, numbers: &[u32]) -> usize {
        let mut probes = [self.connections.probe(&Key::new(PROTOCOL, &original(0))); 64];
        let mut loaded = 0;
        for (probe, number) in probes.iter_mut().zip(numbers) {
            *probe = self.connections.probe(&Key::new(PROTOCOL, &original(*number)));
        }
        let probes = probes.get_mut(..numbers.len()).unwrap_or_default();
        probes.iter().for_each(|probe| loaded ^= self.connections.touch_bucket(probe));
        probes.iter_mut().for_each(|probe| self.connections.find_candidate(probe));
        probes.iter().for_each(|probe| loaded ^= self.connections.touch_candidate(probe));
        black_box(loaded);
        probes.iter().filter(|probe| self.connections.lookup_probe(probe).is_some()).count()
    }

    /// What a hit of the flow table does: translation and state of a remembered connection.
    #[must_use]
    pub fn hit(&self, number: u32, now: Instant) -> bool {
        let Some(id) = self.ids.get(number as usize) else { return false };
        let tracked = self.connections.track(*id, Direction::Original, Some(TcpFlags::ACK), now);
        let translation = self.connections.translation(*id, Direction::Original);
        black_box(&translation);
        translation.is_some() && tracked == Tracked::Forward
    }

    /// The same of many, with what they need loaded before, as the switch does.
    #[must_use]
    pub fn hit_together(&self, numbers: &[u32], now: Instant) -> usize {
        let ids = numbers.iter().filter_map(|number| self.ids.get(*number as usize));
        black_box(ids.fold(0, |loaded, id| loaded ^ self.connections.touch(*id)));
        numbers.iter().filter(|number| self.hit(**number, now)).count()
    }

    /// Lets the handshakes of connections `0..count` end.
    pub fn establish(&self, count: u32, now: Instant) {
        const SYN_ACK: TcpFlags = TcpFlags::SYN.and(TcpFlags::ACK);
        for id in self.ids.iter().take(count as usize) {
            self.connections.track(*id, Direction::Reply, Some(SYN_ACK), now);
            self.connections.track(*id, Direction::Original, Some(TcpFlags::ACK), now);
        }
    }

    /// One call of the sweep.
    pub fn expire(&self, now: Instant, budget: u32) -> bool {
        self.connections.expire(now, budget)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.connections.len()
    }
}

const PROTOCOL: u8 = 6;

/// Another for each number: the client's port from the low half, its address from the rest.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn original(number: u32) -> Tuple {
    Tuple {
        source: Ipv4Addr::from_bits(0x0af4_0000 | number >> 15),
        destination: Ipv4Addr::from_bits(0x0a60_0001),
        source_port: 1024 + (number as u16 & 0x7fff),
        destination_port: 80,
    }
}
