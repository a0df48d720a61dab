//! Whether to look again at once or to sleep, when there is nothing to do.
//!
//! Sleeping costs the next sender a wake-up of this thread: an inter-processor interrupt, in a
//! virtual machine a VM exit, 5–50 µs until the frame is read. Spinning costs a core. So the
//! worker spins for a short window after the last frame, and the window follows what it brings:
//!
//! ```text
//!            frame within the window: window × 2, at most MAX
//!          ┌────────────┐
//!          ▼            │
//!   ┌─────────────┐ empty poll  ┌───────┐ window over: window ÷ 2, at least MIN  ┌────────┐
//!   │ working     │────────────▶│ spin  │───────────────────────────────────────▶│ sleep  │
//!   └─────────────┘             └───────┘                                        └────────┘
//!          ▲                                     frame                               │
//!          └─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! While traffic flows, gaps are shorter than the window and the worker never sleeps; a ping each
//! second finds the window at `MIN`, which is less work than the wake-up itself.

use std::time::Duration;

use datapath::time::Instant;

/// The shortest window, about one wake-up.
pub(super) const MIN_WINDOW: Duration = Duration::from_micros(4);
/// The longest window. PERFORMANCE: 20–50 µs pay off on an otherwise idle machine.
pub(super) const MAX_WINDOW: Duration = Duration::from_micros(200);

/// What to do when a poll brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// Poll again without waiting.
    Spin,
    /// Wait for the next event.
    Sleep,
}

/// The spin window.
#[derive(Debug)]
pub(super) struct Spin {
    window: Duration,
    /// First empty poll since the last work; `None` while there is work.
    idle_since: Option<Instant>,
}

impl Spin {
    pub(super) const fn new() -> Self {
        Self { window: MIN_WINDOW, idle_since: None }
    }

    /// A poll brought something. Needs no clock: work during the window counts as found by it.
    pub(super) fn on_work(&mut self) {
        if self.idle_since.take().is_some() {
            self.window = (self.window * 2).min(MAX_WINDOW);
        }
    }

    /// A poll without waiting brought nothing.
    pub(super) fn on_empty(&mut self, now: Instant) -> Idle {
        let since = *self.idle_since.get_or_insert(now);
        if now.saturating_since(since) < self.window {
            return Idle::Spin;
        }
        self.window = (self.window / 2).max(MIN_WINDOW);
        self.idle_since = None;
        Idle::Sleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    /// Polls once per microsecond from `start` until told to sleep; returns how long that took.
    fn spun_for(spin: &mut Spin, start: u64) -> u64 {
        (0..).find(|t| spin.on_empty(at(start + t)) == Idle::Sleep).unwrap()
    }

    #[test]
    fn an_idle_worker_soon_sleeps_at_once() {
        let mut spin = Spin::new();
        let min = u64::try_from(MIN_WINDOW.as_micros()).unwrap();
        for second in 0..5 {
            assert_eq!(spun_for(&mut spin, second * 1_000_000), min);
        }
    }

    #[test]
    fn work_found_while_spinning_widens_the_window_up_to_its_bound() {
        let mut spin = Spin::new();
        for n in 0..32 {
            assert_eq!(spin.on_empty(at(n * 10)), Idle::Spin);
            spin.on_work();
        }
        let max = u64::try_from(MAX_WINDOW.as_micros()).unwrap();
        assert_eq!(spun_for(&mut spin, 1000), max);
    }

    #[test]
    fn work_after_a_sleep_does_not_widen_the_window() {
        let mut spin = Spin::new();
        for n in 0..32 {
            let _ = spun_for(&mut spin, n * 1000);
            spin.on_work();
        }
        assert_eq!(spun_for(&mut spin, 1_000_000), u64::try_from(MIN_WINDOW.as_micros()).unwrap());
    }

    #[test]
    fn windows_without_work_narrow_back_to_the_minimum() {
        let mut spin = Spin::new();
        for n in 0..32 {
            let _ = spin.on_empty(at(n * 10));
            spin.on_work();
        }
        let spans: Vec<_> = (1..8).map(|n| spun_for(&mut spin, n * 100_000)).collect();
        assert!(spans.windows(2).all(|w| w[1] <= w[0]), "{spans:?}");
        assert_eq!(*spans.last().unwrap(), u64::try_from(MIN_WINDOW.as_micros()).unwrap());
    }
}
