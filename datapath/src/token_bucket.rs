//! A token bucket without a timer: the virtual scheduling form of the generic cell rate algorithm
//! (ITU-T I.371 annex A).
//!
//! One number says when the bucket would be full again; a token moves it by one interval. It is
//! refused when that lies more than a burst ahead.

use std::time::Duration;

use crate::time::Instant;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// At most `burst` at once and `per_second` in the long run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenBucket {
    full_at: Instant,
    interval_nanos: u64,
    burst_nanos: u64,
}

impl TokenBucket {
    /// A full bucket. A rate of zero gives the burst and nothing more for centuries.
    pub(crate) const fn new(per_second: u32, burst: u32) -> Self {
        let interval_nanos = match NANOS_PER_SECOND.checked_div(per_second as u64) {
            Some(nanos) => nanos,
            None => u64::MAX / 2 / (burst as u64 + 1),
        };
        let burst_nanos = interval_nanos.saturating_mul(burst as u64);
        Self { full_at: Instant::from_nanos(0), interval_nanos, burst_nanos }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let from = self.full_at.max(now);
        let ahead = Duration::from_nanos(self.interval_nanos) + from.saturating_since(now);
        if ahead > Duration::from_nanos(self.burst_nanos) {
            return false;
        }
        self.full_at = from + Duration::from_nanos(self.interval_nanos);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut TokenBucket, now: Instant, tries: u32) -> usize {
        (0..tries).filter(|_| bucket.take(now)).count()
    }

    #[test]
    fn burst_then_rate_then_full_again() {
        let mut bucket = TokenBucket::new(100, 10);
        let start = Instant::from_nanos(5_000_000_000);
        assert_eq!(taken(&mut bucket, start, 50), 10);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(9), 50), 0);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(10), 50), 1);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(60), 50), 5);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60), 50), 10);
    }

    #[test]
    fn rate_of_zero_is_its_burst_only() {
        let mut bucket = TokenBucket::new(0, 3);
        assert_eq!(taken(&mut bucket, Instant::from_nanos(1), 9), 3);
        assert_eq!(taken(&mut bucket, Instant::from_nanos(1) + Duration::from_secs(86_400), 9), 0);
    }
}
