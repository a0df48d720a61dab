//! Buckets against an ideal one that counts bits in wide numbers.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use protocol::PortId;
use protocol::object::Rate;

use super::meter::SharedBucket;
use super::{Bucket, Buckets};
use crate::time::Instant;

const PORT: PortId = PortId(3);

fn rate(bits_per_second: u64, burst_bits: u64) -> Rate {
    Rate { bits_per_second, burst_bits }
}

/// Bits times nanoseconds per second, exactly; it refills up to its burst, and may be overdrawn.
struct Ideal {
    rate: Rate,
    held: i128,
    at: Instant,
}

const SCALE: i128 = 1_000_000_000;

impl Ideal {
    fn new(rate: Rate, at: Instant) -> Self {
        Self { rate, held: i128::from(rate.burst_bits) * SCALE, at }
    }

    fn take(&mut self, now: Instant, bytes: usize) -> bool {
        let elapsed = i128::try_from(now.saturating_since(self.at).as_nanos()).unwrap();
        let full = i128::from(self.rate.burst_bits) * SCALE;
        self.held = full.min(self.held + elapsed * i128::from(self.rate.bits_per_second));
        self.at = now;
        if self.held <= 0 {
            return false;
        }
        self.held -= i128::try_from(bytes).unwrap() * 8 * SCALE;
        true
    }
}

proptest! {
    /// Whenever it is asked, a bucket says the same as an ideal one, but within a nanosecond of a turning point.
    #[test]
    fn bucket_is_the_ideal_one(
        bits_per_second in 1_000u64..2_000_000_000,
        burst_millis in 3u64..1_000,
        steps in proptest::collection::vec((0u64..50_000_000, 20usize..65_536), 1..200),
    ) {
        let rate = rate(bits_per_second, (bits_per_second * burst_millis).div_ceil(1_000));
        let mut now = Instant::from_nanos(7_000_000_000);
        let mut ideal = Ideal::new(rate, now);
        let mut own = Bucket::new(rate);
        let shared = SharedBucket::new(rate, PORT, &Arc::new(Buckets::new()));
        for (pause, bytes) in steps {
            now = now + Duration::from_nanos(pause);
            let near = 4 * i128::from(bits_per_second) * 200;
            let wanted = ideal.take(now, bytes);
            let turning = ideal.held + if wanted { i128::try_from(bytes).unwrap() * 8 * SCALE } else { 0 };
            let taken = shared.take(now, bytes);
            prop_assert_eq!(own.empty_until(now).is_none(), taken.is_ok());
            if taken.is_ok() {
                own.take(now, bytes);
            }
            if taken.is_ok() != wanted {
                prop_assert!(turning.abs() <= near, "{turning} away from its turning point");
                // From here on they differ by a packet.
                return Ok(());
            }
        }
    }

    /// Whoever waits until told gets the rate: no more than the burst, the rate and one overdraft, and no less than the rate.
    #[test]
    fn who_waits_until_told_gets_the_rate(
        bits_per_second in 8_000u64..10_000_000_000,
        bytes in proptest::collection::vec(64usize..65_536, 50..51),
    ) {
        let rate = rate(bits_per_second, 8 * 65_536);
        let bucket = SharedBucket::new(rate, PORT, &Arc::new(Buckets::new()));
        let start = Instant::from_nanos(1_000_000_000);
        let mut now = start;
        let mut sent = 0u128;
        for &bytes in bytes.iter().cycle().take(500) {
            while let Err(until) = bucket.take(now, bytes) {
                prop_assert!(until > now, "asking again at once would never end");
                now = until;
            }
            sent += bytes as u128 * 8;
        }
        let elapsed = now.saturating_since(start).as_nanos();
        let earned = elapsed * u128::from(bits_per_second) / 1_000_000_000;
        // What flows in 2 ms is the least burst.
        let burst = u128::from(rate.burst_bits.max(bits_per_second / 500));
        prop_assert!(sent <= earned + burst + 8 * 65_536 + 8, "{sent} bits in {elapsed} ns");
        // Rounding costs a sixteenth of a nanosecond a packet.
        prop_assert!(sent + u128::from(bits_per_second / 1_000_000) + 64 >= earned.min(sent + earned / 1000), "{sent} of {earned}");
    }
}

#[test]
fn workers_take_from_one_bucket() {
    let rate = rate(8_000_000_000, 8_000_000_000);
    let buckets = Arc::new(Buckets::new());
    let now = Instant::from_nanos(1_000_000_000);
    let workers: Vec<_> = (0..4).map(|_| SharedBucket::new(rate, PORT, &buckets)).collect();
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter()
            .map(|bucket| {
                scope.spawn(move || (0..200_000).filter(|_| bucket.take(now, 10_000).is_ok()).count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 100_000, "one second's bytes of the burst, whoever takes them");
    assert!(workers[0].take(now, 1).is_err());
    assert_eq!(workers[0].take(now + Duration::from_micros(2), 1), Ok(()));
}

#[test]
fn superframe_larger_than_the_burst_passes_and_the_next_waits_for_it() {
    let bucket = SharedBucket::new(rate(10_000_000, 12_000), PORT, &Arc::new(Buckets::new()));
    let now = Instant::from_nanos(1_000_000_000);
    assert_eq!(bucket.take(now, 65_000), Ok(()));
    let until = bucket.take(now, 1).unwrap_err();
    let wait = until.saturating_since(now);
    // 520,000 bits are 52 ms, of which the 2 ms of the least burst were there.
    assert!(wait > Duration::from_millis(49) && wait < Duration::from_millis(51), "{wait:?}");
}

#[test]
fn extreme_rates_and_late_clocks_do_not_overflow() {
    for (bits_per_second, burst) in
        [(Rate::MIN, Rate::MAX_BURST), (Rate::MAX, 12_000), (Rate::MAX, Rate::MAX_BURST)]
    {
        let bucket = SharedBucket::new(rate(bits_per_second, burst), PORT, &Arc::new(Buckets::new()));
        let late = Instant::from_nanos(1 << 59);
        assert_eq!(bucket.take(late, 65_536), Ok(()));
        let mut own = Bucket::new(rate(bits_per_second, burst));
        own.take(late, 65_536);
        assert!(own.holds(late) > 0);
        assert_eq!(own.empty_until(late), None);
    }
}
