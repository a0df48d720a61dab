//! A switch with two pods and a learning port, frames to feed it, and a clock around `process` alone.

#[path = "../../../datapath/tests/allocations/mod.rs"]
mod allocations;

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use datapath::{Batch, Egress, Frame, Instant, Limits, Pool, Switch, SwitchOptions, Transmit};
use protocol::link::{ConfigDelta, PortConfig};
use protocol::object::PortKind;
use protocol::{Mac, PortId};

use super::common::{A, BATCH, ip, node, port};

pub(crate) const B: PortId = PortId(2);
/// Has no port security.
pub(crate) const VM: PortId = PortId(3);

/// Takes everything and looks at nothing.
struct Void;

impl Egress for Void {
    fn transmit(&mut self, _: PortId, frame: &[u8]) -> Transmit {
        black_box(frame);
        Transmit::Sent
    }
}

pub(crate) struct Bench {
    pub(crate) switch: Switch,
    pub(crate) now: Instant,
    pool: Pool,
    batch: Batch,
    frames: u64,
    allocations: u64,
}

impl Bench {
    /// Room for `flows` flows of one port, with as much to spare.
    pub(crate) fn new(flows: u32) -> Self {
        let flows = (2 * flows).max(65_536);
        let limits = Limits { flows, flows_per_port: flows, ..Limits::default() };
        let mut switch = Switch::new(SwitchOptions { seed: 1, limits, ..SwitchOptions::default() });
        let delta = ConfigDelta {
            epoch: 1,
            commit: true,
            node: Some(node()),
            attach: vec![
                PortConfig {
                    kind: PortKind::Gateway,
                    mac: Mac::for_gateway_tap(ip(1)),
                    port_security: false,
                    ..port(PortId(0), 1)
                },
                port(A, 2),
                port(B, 3),
                PortConfig { port_security: false, ..port(VM, 4) },
            ],
            ..ConfigDelta::default()
        };
        let now = Instant::from_nanos(1_000_000_000);
        switch.apply(&delta, now).expect("a configuration that is right");
        Self { switch, now, pool: Pool::new(BATCH), batch: Batch::new(BATCH), frames: 0, allocations: 0 }
    }

    /// Changes the configuration.
    #[allow(dead_code, reason = "not every benchmark does")]
    pub(crate) fn apply(&mut self, delta: ConfigDelta) {
        let delta = ConfigDelta { epoch: self.switch.epoch() + 1, commit: true, ..delta };
        self.switch.apply(&delta, self.now).expect("a configuration that is right");
    }

    /// Processes one batch; `fill` writes each frame and says how long it is. Only `process` is timed.
    pub(crate) fn batch(&mut self, ingress: PortId, fill: impl FnMut(&mut [u8]) -> usize) -> Duration {
        self.batch_of(BATCH, ingress, fill)
    }

    fn batch_of(
        &mut self,
        frames: usize,
        ingress: PortId,
        mut fill: impl FnMut(&mut [u8]) -> usize,
    ) -> Duration {
        for _ in 0..frames {
            let mut frame = self.pool.take().expect("a pool of a batch");
            let len = fill(frame.receive_area());
            frame.set_received(len);
            self.batch.push(ingress, frame).map_err(|_: Frame| ()).expect("pool and batch have one size");
        }
        let allocations = allocations::so_far();
        let start = Clock::now();
        self.switch.process(&mut self.batch, self.now, &mut Void);
        let elapsed = start.elapsed();
        self.allocations += allocations::so_far() - allocations;
        self.frames += self.batch.len() as u64;
        self.batch.recycle(&mut self.pool);
        elapsed
    }

    /// Time for `frames` frames in full batches, see [`Self::time_of`].
    pub(crate) fn time(
        &mut self,
        frames: u64,
        ingress: PortId,
        fill: impl FnMut(&mut [u8]) -> usize,
    ) -> Duration {
        self.time_of(BATCH, frames, ingress, fill)
    }

    /// Time for `frames` frames in batches of `size`: the median batch's, so that a batch during which
    /// the machine did something else does not count.
    pub(crate) fn time_of(
        &mut self,
        size: usize,
        frames: u64,
        ingress: PortId,
        mut fill: impl FnMut(&mut [u8]) -> usize,
    ) -> Duration {
        let batches = frames.div_ceil(size as u64);
        let mut times: Vec<_> = (0..batches).map(|_| self.batch_of(size, ingress, &mut fill)).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        median.mul_f64(frames as f64 / size as f64)
    }

    /// Frames dropped at a port, which a benchmark of forwarding must not have.
    pub(crate) fn dropped(&self, port: PortId) -> u64 {
        let counters = self.switch.port_counters(port).expect("the port is configured");
        counters.rx_frames - counters.forwarded
    }

    /// Prints what criterion does not measure.
    pub(crate) fn report(&self, name: &str) {
        if self.frames > 0 {
            println!("{name}: {} allocations in {} frames", self.allocations, self.frames);
        }
    }
}
