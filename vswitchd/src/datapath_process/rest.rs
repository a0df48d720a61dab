//! When to leave the core to the pods for a moment, although frames may be waiting.
//!
//! A bulk transfer on a machine without a core to spare is three busy threads: sender, this worker,
//! receiver. A worker that spins or works without a pause then keeps a core to itself, sender and
//! receiver share the other, and every byte crosses from core to core three times. A worker that
//! rests lets the scheduler run the receiver where the bytes still are in the cache:
//!
//! ```text
//!   machine busy, superframes:   16 superframes ─▶ rest 20 µs ─▶ 16 superframes ─▶ rest ─▶ …
//!                                ports empty    ─▶ rest 20 µs (in place of spinning)
//!   machine busy, a flood of small frames, and frames of other ports beside it:
//!                                64 frames      ─▶ rest 80 µs ─▶ 64 frames ─▶ …
//!   anything else:               no rest: spin or sleep, see `spin`
//! ```
//!
//! On two cores one iperf3 stream gains 10–15 % and costs 10–15 % less CPU. A flood of small frames
//! has the same effect on its neighbours that a bulk transfer has on its receiver: the switch gives
//! every port its turn, but the pods behind the others wait for a core, of which the flood's sender
//! has one and this worker the other. With the rests, 99 % of ten neighbours' questions are answered
//! in 1 ms instead of 5, and the flood loses a sixth of its frames. A flood that has the machine to
//! itself disturbs nobody and is not slowed down, nor is anything where a core is free.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use datapath::time::Instant;
use protocol::PortId;

/// After superframes. The timer adds as much again on a virtual machine.
const BULK_REST: Duration = Duration::from_micros(20);
/// After small frames: long enough for a scheduler to run a neighbour, and for a flood to fill a tenth
/// of the queue of its TAP.
const FLOOD_REST: Duration = Duration::from_micros(80);
/// Superframes between two rests: under a megabyte, what fits the second-level cache.
const SUPERFRAMES: usize = 16;
/// Small frames between two rests: one port's turn.
const SMALL_FRAMES: usize = 64;
/// A port that was silent for so long is no neighbour.
const NEIGHBOUR: Duration = Duration::from_millis(10);
/// Frames at least this large on average are a bulk transfer: no single packet is.
const BULK_FRAME: usize = 16 * 1024;
/// Rests without a superframe after which the transfer is over: about a millisecond.
const PATIENCE: u32 = 16;
/// How often to ask whether the machine is busy; a scheduler moves threads about as often.
const LOAD_INTERVAL: Duration = Duration::from_millis(10);

/// The state of the decision.
#[derive(Debug)]
pub(super) struct Rest {
    load: Load,
    /// Since the last rest.
    superframes: usize,
    /// Since the last rest.
    small_frames: usize,
    /// Whose the last batch was, and when one came from another port than that before it.
    port: Option<PortId>,
    changed: Option<Instant>,
    /// Times that all ports were empty since the last superframe.
    quiet: u32,
}

impl Rest {
    pub(super) const fn new(load: Load) -> Self {
        Self { load, superframes: 0, small_frames: 0, port: None, changed: None, quiet: PATIENCE }
    }

    /// A batch of `port` was forwarded.
    pub(super) fn on_batch(&mut self, port: PortId, frames: usize, bytes: usize, now: Instant) {
        if bytes >= frames * BULK_FRAME {
            self.superframes += frames;
            self.quiet = 0;
        } else {
            self.small_frames += frames;
        }
        if self.port.replace(port).is_some_and(|last| last != port) {
            self.changed = Some(now);
        }
    }

    /// Ports have more to read: how long to rest all the same.
    pub(super) fn on_backlog(&mut self, now: Instant) -> Option<Duration> {
        if self.superframes >= SUPERFRAMES {
            self.rest(BULK_REST, now)
        } else if self.small_frames >= SMALL_FRAMES && self.has_neighbours(now) {
            self.rest(FLOOD_REST, now)
        } else {
            None
        }
    }

    /// All ports are empty: how long to rest in place of spinning.
    pub(super) fn on_empty(&mut self, now: Instant) -> Option<Duration> {
        if self.quiet >= PATIENCE {
            return None;
        }
        self.quiet += 1;
        self.rest(BULK_REST, now)
    }

    fn has_neighbours(&self, now: Instant) -> bool {
        self.changed.is_some_and(|changed| now.saturating_since(changed) < NEIGHBOUR)
    }

    fn rest(&mut self, rest: Duration, now: Instant) -> Option<Duration> {
        (self.superframes, self.small_frames) = (0, 0);
        self.load.is_busy(now).then_some(rest)
    }
}

/// Whether more threads want to run than there are processors.
#[derive(Debug)]
pub(super) struct Load {
    /// `/proc/loadavg`, opened while files may be opened; `None` where there is none.
    file: Option<File>,
    processors: u32,
    asked: Option<Instant>,
    /// Bit 0 is the latest answer.
    history: u8,
}

/// One thread that blocks for a moment does not make the machine idle.
const RECENT: u8 = 0b1111;

impl Load {
    /// Looks at this machine from now on.
    pub(super) fn open() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            file: File::open("/proc/loadavg").ok(),
            processors: u32::try_from(processors).unwrap_or(u32::MAX),
            asked: None,
            history: 0,
        }
    }

    fn is_busy(&mut self, now: Instant) -> bool {
        if self.asked.is_none_or(|asked| now.saturating_since(asked) >= LOAD_INTERVAL) {
            self.asked = Some(now);
            // Without an answer nothing is known, and the worker behaves as on a free machine.
            let busy = self.runnable().is_ok_and(|runnable| runnable > self.processors);
            self.history = self.history << 1 | u8::from(busy);
        }
        self.history & RECENT != 0
    }

    /// Threads that run or wait for a processor, this one included (proc_loadavg(5), field 4).
    fn runnable(&self) -> io::Result<u32> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut text = [0; 64];
        let len = file.read_at(&mut text, 0)?;
        runnable(text.get(..len).unwrap_or_default()).ok_or(io::ErrorKind::InvalidData.into())
    }
}

fn runnable(loadavg: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(loadavg).ok()?;
    let (running, _) = text.split_ascii_whitespace().nth(3)?.split_once('/')?;
    running.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(processors: u32) -> Rest {
        Rest::new(Load { processors, ..Load::open() })
    }

    const ONE: PortId = PortId(1);
    const TWO: PortId = PortId(2);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000 + 1)
    }

    #[test]
    fn a_bulk_transfer_on_a_busy_machine_rests_after_its_superframes() {
        // This thread runs, so there is always one.
        let mut rest = rest(0);
        let now = at(0);
        assert_eq!(rest.on_empty(now), None, "nothing seen yet");
        rest.on_batch(ONE, SUPERFRAMES - 1, (SUPERFRAMES - 1) * 60_000, now);
        assert_eq!(rest.on_backlog(now), None);
        rest.on_batch(ONE, 1, 60_000, now);
        assert_eq!(rest.on_backlog(now), Some(BULK_REST));
        assert_eq!(rest.on_backlog(now), None, "just rested");
        assert_eq!(rest.on_empty(now), Some(BULK_REST));
    }

    #[test]
    fn the_transfer_ends_when_no_superframe_comes() {
        let mut rest = rest(0);
        rest.on_batch(ONE, 1, 60_000, at(0));
        for _ in 0..PATIENCE {
            rest.on_batch(ONE, 1, 66, at(0));
            assert_eq!(rest.on_empty(at(0)), Some(BULK_REST));
        }
        assert_eq!(rest.on_empty(at(0)), None);
    }

    #[test]
    fn a_flood_rests_while_it_has_neighbours() {
        let mut rest = rest(0);
        rest.on_batch(ONE, SMALL_FRAMES, SMALL_FRAMES * 106, at(0));
        assert_eq!(rest.on_backlog(at(0)), None, "it has the machine to itself");
        rest.on_batch(TWO, 1, 106, at(1));
        rest.on_batch(ONE, SMALL_FRAMES, SMALL_FRAMES * 106, at(1));
        assert_eq!(rest.on_backlog(at(1)), Some(FLOOD_REST));
        rest.on_batch(ONE, SMALL_FRAMES - 1, (SMALL_FRAMES - 1) * 106, at(2));
        assert_eq!(rest.on_backlog(at(2)), None, "not yet");
        rest.on_batch(ONE, 1, 106, at(20));
        assert_eq!(rest.on_backlog(at(20)), None, "the neighbour is silent");
    }

    #[test]
    fn few_small_frames_and_free_machines_never_rest() {
        let now = at(0);
        let mut busy = rest(0);
        busy.on_batch(ONE, 1, 1514, now);
        busy.on_batch(TWO, 1, 1514, now);
        assert_eq!((busy.on_empty(now), busy.on_backlog(now)), (None, None));
        let mut free = rest(u32::MAX);
        free.on_batch(TWO, 1, 1514, now);
        free.on_batch(ONE, 100, 100 * 60_000, now);
        assert_eq!((free.on_backlog(now), free.on_empty(now)), (None, None));
        free.on_batch(ONE, 100, 100 * 1514, now);
        assert_eq!(free.on_backlog(now), None);
    }

    #[test]
    fn the_kernel_says_how_many_threads_want_to_run() {
        assert_eq!(runnable(b"0.05 0.09 0.10 3/242 81417\n"), Some(3));
        assert_eq!(runnable(b"0.05 0.09"), None);
        assert!(Load::open().runnable().unwrap() >= 1);
    }
}
