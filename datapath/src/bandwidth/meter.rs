//! Token buckets of bytes, without a timer: one number says when the bucket would be full again, as in
//! [`crate::token_bucket`], and bytes move it by the time they take at the rate.
//!
//! Time is counted in sixteenths of a nanosecond, so that small packets at high rates are not rounded away; that lasts for 36 years
//! of uptime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::PortId;
use protocol::object::Rate;

use crate::time::Instant;

const TICKS_PER_NANO: u64 = 16;
const TICKS_PER_SECOND: u128 = 1_000_000_000 * TICKS_PER_NANO as u128;
/// A bucket holds at least what flows in so long: workers wake to the millisecond, and would lose the rest of a smaller one.
const LEAST_BURST: Duration = Duration::from_millis(2);

/// A rate, and what may pass at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meter {
    bits_per_second: u64,
    burst_ticks: u64,
}

impl Meter {
    pub(super) fn new(rate: Rate) -> Self {
        let bits_per_second = rate.bits_per_second.max(1);
        let burst = u128::from(rate.burst_bits) * TICKS_PER_SECOND / u128::from(bits_per_second);
        let burst_ticks = u64::try_from(burst).unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
        Self { bits_per_second, burst_ticks: burst_ticks.max(ticks(LEAST_BURST)) }
    }

    /// When the bucket that is full at `full_at` holds something; `None` if it does now.
    fn empty_until(&self, full_at: u64, now: Instant) -> Option<Instant> {
        let ahead = full_at.saturating_sub(at(now));
        if ahead < self.burst_ticks {
            return None;
        }
        let nanos = (full_at - self.burst_ticks) / TICKS_PER_NANO + 1;
        Some(Instant::from_nanos(nanos))
    }

    /// Bytes it holds, rounded up.
    fn holds(&self, full_at: u64, now: Instant) -> usize {
        let left = self.burst_ticks.saturating_sub(full_at.saturating_sub(at(now)));
        let bytes = (u128::from(left) * u128::from(self.bits_per_second)).div_ceil(8 * TICKS_PER_SECOND);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// When it would be full again, after `bytes` are taken.
    fn less(&self, full_at: u64, now: Instant, bytes: usize) -> u64 {
        let cost = (bytes as u128 * 8 * TICKS_PER_SECOND).div_ceil(u128::from(self.bits_per_second));
        full_at.max(at(now)).saturating_add(u64::try_from(cost).unwrap_or(u64::MAX))
    }
}

fn at(now: Instant) -> u64 {
    now.as_nanos().saturating_mul(TICKS_PER_NANO)
}

fn ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).saturating_mul(TICKS_PER_NANO)
}

/// A bucket of one worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    meter: Meter,
    full_at: u64,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { meter: Meter::new(rate), full_at: 0 }
    }

    /// When it holds something; `None` if it does now.
    pub(super) fn empty_until(&self, now: Instant) -> Option<Instant> {
        self.meter.empty_until(self.full_at, now)
    }

    /// Bytes it holds, rounded up.
    pub(super) fn holds(&self, now: Instant) -> usize {
        self.meter.holds(self.full_at, now)
    }

    /// Takes `bytes`, whether it holds them or not.
    pub(super) fn take(&mut self, now: Instant, bytes: usize) {
        self.full_at = self.meter.less(self.full_at, now, bytes);
    }
}

/// When the ingress buckets of all ports are full again: any worker may write to a port.
#[derive(Debug)]
pub(crate) struct Buckets(Box<[AtomicU64]>);

impl Buckets {
    /// All full.
    pub(crate) fn new() -> Self {
        Self((0..PortId::MAX_PORTS).map(|_| AtomicU64::new(0)).collect())
    }

    fn get(&self, port: PortId) -> Option<&AtomicU64> {
        self.0.get(port.index())
    }
}

/// A bucket that workers have in common.
#[derive(Debug)]
pub(super) struct SharedBucket {
    meter: Meter,
    port: PortId,
    buckets: Arc<Buckets>,
}

impl SharedBucket {
    /// A full one. Every worker makes its own of it before any of them forwards again.
    pub(super) fn new(rate: Rate, port: PortId, buckets: &Arc<Buckets>) -> Self {
        if let Some(full_at) = buckets.get(port) {
            full_at.store(0, Ordering::Relaxed);
        }
        Self { meter: Meter::new(rate), port, buckets: Arc::clone(buckets) }
    }

    /// When it holds something; `None` if it does now.
    pub(super) fn empty_until(&self, now: Instant) -> Option<Instant> {
        self.meter.empty_until(self.buckets.get(self.port)?.load(Ordering::Relaxed), now)
    }

    /// Takes `bytes` if it holds anything.
    ///
    /// # Errors
    /// When it will.
    pub(super) fn take(&self, now: Instant, bytes: usize) -> Result<(), Instant> {
        let Some(full_at) = self.buckets.get(self.port) else { return Ok(()) };
        let mut seen = full_at.load(Ordering::Relaxed);
        loop {
            if let Some(until) = self.meter.empty_until(seen, now) {
                return Err(until);
            }
            let less = self.meter.less(seen, now, bytes);
            // The number is all there is: nothing else is published by it.
            match full_at.compare_exchange_weak(seen, less, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }
}
