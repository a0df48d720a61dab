//! How soon a datapath that died is started again.
//!
//! At once, as long as deaths are rare: each millisecond without it is a stall for every pod. A
//! datapath that dies more than [`FREE_RESTARTS`] times within [`PERIOD`] dies of something that a
//! restart does not cure, and waits: [`FIRST_DELAY`], then twice as long each time, up to
//! [`MAX_DELAY`], until one lives for [`PERIOD`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Restarts without delay within [`PERIOD`].
pub(super) const FREE_RESTARTS: usize = 5;
/// The span in which deaths count.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
const FIRST_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(8);

/// The recent deaths.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    deaths: VecDeque<Instant>,
    /// How long the latest restart waited; zero outside of a back-off.
    delay: Duration,
}

impl Backoff {
    /// It died at `now`: how long to wait before it is started again.
    pub(super) fn on_death(&mut self, now: Instant) -> Duration {
        let lived = self.deaths.back().map(|last| now.duration_since(*last).saturating_sub(self.delay));
        if lived.is_none_or(|lived| lived > PERIOD) {
            self.deaths.clear();
            self.delay = Duration::ZERO;
        }
        if self.delay.is_zero() {
            self.deaths.retain(|death| now.duration_since(*death) <= PERIOD);
        }
        self.deaths.push_back(now);
        if self.deaths.len() > FREE_RESTARTS {
            self.deaths.pop_front();
            self.delay = (self.delay * 2).clamp(FIRST_DELAY, MAX_DELAY);
        }
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_deaths_are_followed_by_an_immediate_restart() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        for minute in 0..100 {
            assert_eq!(backoff.on_death(start + Duration::from_secs(60 * minute)), Duration::ZERO);
        }
    }

    #[test]
    fn the_sixth_death_within_ten_seconds_waits() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        for n in 0..5 {
            assert_eq!(backoff.on_death(start + Duration::from_secs(n)), Duration::ZERO, "death {n}");
        }
        assert_eq!(backoff.on_death(start + Duration::from_secs(5)), FIRST_DELAY);
    }

    #[test]
    fn a_datapath_that_always_dies_at_once_waits_ever_longer_up_to_the_bound() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let delays: Vec<_> = (0..20)
            .map(|_| {
                let delay = backoff.on_death(now);
                now += delay + Duration::from_millis(20);
                delay
            })
            .collect();
        assert!(delays.windows(2).all(|w| w[0] <= w[1]), "{delays:?}");
        assert_eq!(*delays.last().unwrap(), MAX_DELAY);
    }

    #[test]
    fn a_calm_period_ends_the_back_off() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        for _ in 0..10 {
            let _ = backoff.on_death(start);
        }
        assert_eq!(backoff.on_death(start + Duration::from_secs(60)), Duration::ZERO);
    }
}
