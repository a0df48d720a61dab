//! How long it takes until a change is active: from the moment this process hears of it to the datapath's commit.
//!
//! Changes that come while another is being applied count from their own arrival; those that are applied together count as
//! one, from the arrival of the first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Programming {
    /// The first change that nobody has begun to apply.
    waiting: Mutex<Option<Instant>>,
    times: AtomicU64,
    nanoseconds: AtomicU64,
}

/// Sums since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Programmed {
    /// How often something was applied.
    pub(crate) times: u64,
    /// How long that took altogether.
    pub(crate) time: Duration,
}

impl Programming {
    /// A change is heard of.
    pub(super) fn begin(&self) {
        self.waiting.lock().get_or_insert_with(Instant::now);
    }

    /// What waits is applied from now on.
    pub(super) fn take(&self) -> Option<Instant> {
        self.waiting.lock().take()
    }

    /// What began to wait then is active.
    pub(super) fn end(&self, begun: Option<Instant>) {
        let Some(begun) = begun else { return };
        let spent = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.times.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(spent, Ordering::Relaxed);
    }

    pub(super) fn so_far(&self) -> Programmed {
        let time = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        Programmed { times: self.times.load(Ordering::Relaxed), time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_are_applied_together_count_once_from_the_first() {
        let programming = Programming::default();
        programming.end(programming.take());
        assert_eq!(programming.so_far(), Programmed::default(), "nothing was waiting");
        programming.begin();
        std::thread::sleep(Duration::from_millis(2));
        programming.begin();
        let begun = programming.take();
        assert!(programming.take().is_none());
        programming.end(begun);
        let Programmed { times, time } = programming.so_far();
        assert!(times == 1 && time >= Duration::from_millis(2), "{time:?}");
    }
}
