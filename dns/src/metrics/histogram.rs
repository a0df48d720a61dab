//! Histograms that several threads count in, and what they are when read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Numbers by upper bounds, which whoever counts and reads knows.
pub(crate) struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::default()),
            above: AtomicU64::default(),
            sum: AtomicU64::default(),
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts `count` of a bucket, `sum` together; of none, they are above all bounds.
    pub(super) fn add(&self, bucket: Option<usize>, count: u64, sum: u64) {
        add(bucket.and_then(|at| self.buckets.get(at)).unwrap_or(&self.above), count);
        add(&self.sum, sum);
    }

    /// Counts a duration `count` times, in nanoseconds; `bounds` are seconds.
    pub(crate) fn took(&self, bounds: &[f64; N], duration: Duration, count: u64) {
        let seconds = duration.as_secs_f64();
        let bucket = bounds.iter().position(|bound| seconds <= *bound);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.add(bucket, count, nanoseconds.saturating_mul(count));
    }
}

/// Histograms of one meaning, added up.
pub(super) struct Sum {
    /// With their upper bounds, the last of which is infinite.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) sum: u64,
}

impl Sum {
    /// Adds up `all`, whose bounds are `bounds`.
    pub(super) fn of<'h, const N: usize>(
        bounds: &[f64; N],
        all: impl Iterator<Item = &'h Histogram<N>>,
    ) -> Self {
        let mut buckets: Vec<(f64, u64)> = bounds.iter().map(|bound| (*bound, 0)).collect();
        buckets.push((f64::INFINITY, 0));
        let mut sum = 0;
        for histogram in all {
            let counts = histogram.buckets.iter().chain([&histogram.above]);
            for ((_, total), count) in buckets.iter_mut().zip(counts) {
                *total += count.load(Ordering::Relaxed);
            }
            sum += histogram.sum.load(Ordering::Relaxed);
        }
        Self { buckets, sum }
    }

    /// How many were counted.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
