//! When to leave the core to the pods for a moment, although frames may be waiting.
//!
//! A bulk transfer on a machine without a core to spare is three busy threads: sender, this worker,
//! receiver. A worker that spins or works without a pause then keeps a core to itself, sender and
//! receiver share the other, and every byte crosses from core to core three times. A worker that
//! rests lets the scheduler run the receiver where the bytes still are in the cache:
//!
//! ```text
//!   superframes, machine busy:   16 superframes ─▶ rest ─▶ 16 superframes ─▶ rest ─▶ …
//!                                ports empty    ─▶ rest (in place of spinning)
//!   anything else:               no rest: spin or sleep, see `spin`
//! ```
//!
//! On two cores one iperf3 stream gains 10–15 % and costs 10–15 % less CPU. Where a core is free,
//! resting would only slow the transfer down; and small frames are requests and answers, which wait
//! for each other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use datapath::time::Instant;

/// How long. The timer adds as much again on a virtual machine.
pub(super) const REST: Duration = Duration::from_micros(20);
/// Superframes between two rests: under a megabyte, what fits the second-level cache.
const SUPERFRAMES: usize = 16;
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
    /// Times that all ports were empty since the last superframe.
    quiet: u32,
}

impl Rest {
    pub(super) const fn new(load: Load) -> Self {
        Self { load, superframes: 0, quiet: PATIENCE }
    }

    /// A batch was forwarded.
    pub(super) const fn on_batch(&mut self, frames: usize, bytes: usize) {
        if bytes >= frames * BULK_FRAME {
            self.superframes += frames;
            self.quiet = 0;
        }
    }

    /// Ports have more to read: whether to rest all the same.
    pub(super) fn on_backlog(&mut self, now: Instant) -> bool {
        self.superframes >= SUPERFRAMES && self.rests(now)
    }

    /// All ports are empty: whether to rest in place of spinning.
    pub(super) fn on_empty(&mut self, now: Instant) -> bool {
        if self.quiet >= PATIENCE {
            return false;
        }
        self.quiet += 1;
        self.rests(now)
    }

    fn rests(&mut self, now: Instant) -> bool {
        self.superframes = 0;
        self.load.is_busy(now)
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

    #[test]
    fn a_bulk_transfer_on_a_busy_machine_rests_after_its_superframes() {
        // This thread runs, so there is always one.
        let mut rest = rest(0);
        let now = Instant::from_nanos(1);
        assert!(!rest.on_empty(now), "nothing seen yet");
        rest.on_batch(SUPERFRAMES - 1, (SUPERFRAMES - 1) * 60_000);
        assert!(!rest.on_backlog(now));
        rest.on_batch(1, 60_000);
        assert!(rest.on_backlog(now));
        assert!(!rest.on_backlog(now), "just rested");
        assert!(rest.on_empty(now));
    }

    #[test]
    fn the_transfer_ends_when_no_superframe_comes() {
        let mut rest = rest(0);
        let now = Instant::from_nanos(1);
        rest.on_batch(1, 60_000);
        for _ in 0..PATIENCE {
            rest.on_batch(1, 66);
            assert!(rest.on_empty(now));
        }
        assert!(!rest.on_empty(now));
    }

    #[test]
    fn small_frames_and_free_machines_never_rest() {
        let now = Instant::from_nanos(1);
        let mut busy = rest(0);
        busy.on_batch(64, 64 * 1514);
        assert!(!busy.on_empty(now) && !busy.on_backlog(now));
        let mut free = rest(u32::MAX);
        free.on_batch(100, 100 * 60_000);
        assert!(!free.on_backlog(now) && !free.on_empty(now));
    }

    #[test]
    fn the_kernel_says_how_many_threads_want_to_run() {
        assert_eq!(runnable(b"0.05 0.09 0.10 3/242 81417\n"), Some(3));
        assert_eq!(runnable(b"0.05 0.09"), None);
        assert!(Load::open().runnable().unwrap() >= 1);
    }
}
