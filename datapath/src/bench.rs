//! Single steps, for the micro benchmarks. Not part of the interface.

use std::net::Ipv4Addr;

use protocol::Mac;

use crate::frame::Frame;
use crate::received::Received;
use crate::rewrite::{Rewrite, Translation, Tuple};
use crate::service::{Origin, Rng};
use crate::switch::Switch;
use crate::time::Instant;
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
    received: Received,
}

impl Translator {
    /// For the flow between the ends `from`, which `frame` is of; `None` if it is not IPv4.
    #[must_use]
    pub fn new(frame: &mut Frame, from: Ends, to: Ends) -> Option<Self> {
        let received = Received::read(frame).ok().filter(|r| matches!(r.packet.body, Body::Ipv4(_)))?;
        let translation = Some(Translation::new(&tuple(from), tuple(to)));
        let (destination, source) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        Some(Self {
            rewrite: Rewrite { destination, source, peer: None, counts_hop: true, translation },
            received,
        })
    }

    /// Rewrites a frame of the flow.
    pub fn apply(&self, frame: &mut Frame) {
        let mut received = self.received;
        if let Body::Ipv4(ip) = &mut received.packet.body {
            self.rewrite.apply(frame.ethernet_mut(), ip, received.offload.checksum);
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
