//! When an ended container is started again: Kubernetes' crash-loop back-off.

use std::time::Duration;

/// Delay before the second restart in a row; the first one is immediate.
const FIRST_DELAY: Duration = Duration::from_secs(10);
/// Longest delay (kubelet's `MaxContainerBackOff`).
const MAX_DELAY: Duration = Duration::from_secs(300);
/// A run at least this long clears what was counted before it (kubelet: twice the maximum delay).
const STABLE_RUN: Duration = Duration::from_secs(600);

/// Delays between runs that end soon: none, 10 s, 20 s … 300 s.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// How long to wait before starting again after a run of length `run`.
    pub(super) fn delay_after(&mut self, run: Duration) -> Duration {
        if run >= STABLE_RUN {
            self.next = Duration::ZERO;
        }
        let delay = self.next;
        self.next = (delay * 2).clamp(FIRST_DELAY, MAX_DELAY);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..8).map(|_| backoff.delay_after(Duration::from_secs(1)).as_secs()).collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_stable_run_starts_over() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            let _ = backoff.delay_after(Duration::from_secs(1));
        }
        assert_eq!(backoff.delay_after(STABLE_RUN), Duration::ZERO);
        assert_eq!(backoff.delay_after(Duration::from_secs(1)), FIRST_DELAY);
    }
}
