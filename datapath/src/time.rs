//! Monotonic time as a plain number, passed in by the caller.
//!
//! The switch never reads a clock: a test drives hours of ageing in microseconds, and one batch
//! costs one clock read at the edge instead of one per frame.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds on the caller's monotonic clock; the origin is the caller's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Instant(u64);

impl Instant {
    /// From nanoseconds since the caller's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the caller's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` is later, so that a caller whose clock steps back
    /// ages nothing and never underflows.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Whole milliseconds, for table rows.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_below_zero_or_past_the_end() {
        let early = Instant::from_nanos(5);
        let late = early + Duration::from_secs(1);
        assert_eq!(late.saturating_since(early), Duration::from_secs(1));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!((early + Duration::MAX).as_nanos(), u64::MAX);
    }
}
