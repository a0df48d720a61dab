//! What is found out about a number of frames before any of them is acted on: classify all, look up
//! all, then act on each.
//!
//! A lookup beyond the caches waits for memory twice, some 100 ns each. Done for one frame after the
//! other, a frame pays for both; done for many in passes, the processor has a dozen loads under way at
//! once. Each pass is a short loop for that reason: what lies between two loads takes room in the
//! processor's window of instructions in flight.
//!
//! A packet of a connection needs a line of that as well, known from its flow; without a flow, the table of connections is asked
//! next. While that table is in the caches, waiting for it costs less than these passes.
//!
//! Nothing here changes the switch, so nothing that acting on a frame changes (a learned station, an
//! evicted flow) is taken as decided: acting looks at the flow again, which is in the cache by then.

use std::hint::black_box;

use protocol::PortId;
use protocol::object::PortKind;

use crate::conntrack::{self, Connections};
use crate::flow_table::{FlowTable, Probe};
use crate::frame::Frame;
use crate::ports::Ports;
use crate::received::Received;
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Body, Packet};

/// Frames looked up together: more than the loads a core can have under way, and few enough that what
/// was loaded is still in the first-level cache when it is acted on.
pub(crate) const WINDOW: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Window {
    seen: Vec<Seen>,
    /// For frames without a flow.
    unknown: Vec<conntrack::Probe>,
}

/// One frame.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Its length as read, from the Ethernet header on; of all packets it was merged from.
    pub(crate) bytes: usize,
    /// How many these are.
    pub(crate) packets: u64,
    pub(crate) received: Verdict<Received>,
    /// `None` for a frame of no flow.
    pub(crate) probe: Option<Probe>,
}

impl Window {
    /// With room for [`WINDOW`] frames.
    pub(crate) fn new() -> Self {
        Self { seen: Vec::with_capacity(WINDOW), unknown: Vec::with_capacity(WINDOW) }
    }

    /// Reads the frames, at most [`WINDOW`], and looks for their flows.
    pub(crate) fn look_up(
        &mut self,
        frames: &mut [(PortId, Frame)],
        ports: &Ports,
        flows: &FlowTable,
        connections: &Connections,
    ) {
        debug_assert!(frames.len() <= WINDOW, "more frames than room was made for");
        self.seen.clear();
        for (ingress, frame) in frames {
            self.seen.push(Seen::classify(*ingress, frame, ports, flows));
        }
        black_box(self.probes().fold(0, |touched, probe| touched ^ flows.touch_bucket(probe)));
        for probe in self.probes() {
            flows.find_candidate(probe);
        }
        black_box(self.probes().fold(0, |touched, probe| touched ^ flows.touch_candidate(probe)));
        if connections.is_large() {
            self.load_connections(flows, connections);
        }
    }

    /// Loads what the frames' connections are read from.
    fn load_connections(&mut self, flows: &FlowTable, connections: &Connections) {
        self.unknown.clear();
        let mut touched = 0;
        for seen in &self.seen {
            let Some(probe) = &seen.probe else { continue };
            match (flows.lookup(probe), &seen.received) {
                (Some((_, forward)), _) => {
                    touched ^= forward.connection().map_or(0, |hit| connections.touch(hit.id));
                }
                (None, Ok(Received { packet: Packet { body: Body::Ipv4(ip), .. }, .. })) => {
                    self.unknown.extend(conntrack::Key::of(ip).map(|key| connections.probe(&key)));
                }
                (None, _) => {}
            }
        }
        for probe in &self.unknown {
            touched ^= connections.touch_bucket(probe);
        }
        for probe in &mut self.unknown {
            connections.find_candidate(probe);
        }
        for probe in &self.unknown {
            touched ^= connections.touch_candidate(probe);
        }
        black_box(touched);
    }

    /// What was found, in the order of the frames.
    pub(crate) fn seen(&mut self) -> &mut [Seen] {
        &mut self.seen
    }

    fn probes(&mut self) -> impl Iterator<Item = &mut Probe> {
        self.seen.iter_mut().filter_map(|seen| seen.probe.as_mut())
    }
}

impl Seen {
    fn classify(ingress: PortId, frame: &mut Frame, ports: &Ports, flows: &FlowTable) -> Self {
        let (bytes, packets) = (frame.received_bytes(), frame.packets());
        let received = read(ingress, frame, ports);
        let probe =
            received.as_ref().ok().and_then(|received| flows.probe(ingress, frame.peer(), &received.packet));
        Self { bytes, packets, received, probe }
    }
}

fn read(ingress: PortId, frame: &mut Frame, ports: &Ports) -> Verdict<Received> {
    let port = ports.get(ingress).ok_or(DropReason::PortDetached)?;
    port.check_ingress()?;
    Received::read(frame).map_err(|reason| match (port.config.kind, reason) {
        // The kernel's, whatever it makes of it.
        (
            PortKind::Uplink,
            DropReason::Ipv6Disabled | DropReason::VlanTagged | DropReason::UnsupportedEthertype,
        ) => DropReason::NotForSwitch,
        (_, reason) => reason,
    })
}
