//! Lets changes in until the daemon stops, and lets it wait for those under way.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Counts changes under way.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    inside: usize,
}

/// A change under way.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a Gate);

impl Gate {
    /// `None` once closed.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        state.inside += 1;
        Some(Inside(self))
    }

    /// Lets nothing in any more and waits for what is inside. False if that took longer than `limit`.
    pub(crate) fn close(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.state.lock();
        state.closed = true;
        while state.inside > 0 {
            if self.left.wait_until(&mut state, deadline).timed_out() {
                return state.inside == 0;
            }
        }
        true
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.state.lock().inside -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_lets_nothing_in_and_waits_for_what_is_inside() {
        let gate = Gate::default();
        let inside = gate.enter().unwrap();
        assert!(!gate.close(Duration::ZERO));
        assert!(gate.enter().is_none());
        drop(inside);
        assert!(gate.close(Duration::ZERO));
    }
}
