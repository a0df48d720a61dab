//! The one kind of lock of the datapath.
#![expect(
    clippy::disallowed_types,
    reason = "workers share connections; taken where they are made and removed, never to look one up"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What only one worker changes at a time.
#[derive(Debug)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// If it is nobody's turn.
    pub(crate) fn try_hold(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }

    /// Waits for its turn: whoever has it holds it for a bounded number of table operations.
    pub(crate) fn hold(&self) -> MutexGuard<'_, T> {
        // A panic ends the process; there is nobody to see a lock poisoned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
