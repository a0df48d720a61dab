//! Waiting for something to become true, with a deadline far above what it should take.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; generous, because two slow cores run four
/// tests at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Calls `check` until it gives a value; `what` says in the failure what never happened.
///
/// # Panics
/// When [`PATIENCE`] is over.
#[track_caller]
pub fn until<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, check)
}

/// As [`until`], with a deadline of its own.
///
/// # Panics
/// When `patience` is over.
#[track_caller]
pub fn until_within<T>(patience: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
