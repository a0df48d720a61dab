//! Time passing: keep-alives are sent, and expired entries of the learned tables and of the flow table are taken out, a bounded
//! number per call.

use std::time::Duration;

use crate::output::Egress;
use crate::switch::Switch;
use crate::time::Instant;

/// Ageing of learned stations before a node configuration says otherwise (IEEE 802.1Q §8.8.3).
const DEFAULT_AGEING: Duration = Duration::from_secs(300);

/// When to look again.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    due: Option<Instant>,
}

impl Switch {
    /// When [`on_deadline`](Self::on_deadline) has something to do; `None`: every table is empty, and
    /// there is nothing to wake up for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let timers = [self.slow_path.overlay.rounds.due(), self.slow_path.uplink.due()];
        let dues = timers.into_iter().chain([self.sweep.due, self.delayed.due()]);
        dues.flatten().min()
    }

    /// Writes what has waited for its destination's rate, sends the keep-alives that are due, asks and announces on the uplink's link what is, and expires what is, at most `Limits::sweep_entries` of each table. When more is due, the next
    /// deadline is already reached, so that the caller comes back after its next batch.
    pub fn on_deadline(&mut self, now: Instant, egress: &mut impl Egress) {
        self.release_delayed(now, egress);
        self.send_keep_alives(now, egress);
        self.serve_uplink(now, egress);
        if self.sweep.due.is_none_or(|due| now < due) {
            return;
        }
        let ageing = self.slow_path.node.as_ref().map_or(DEFAULT_AGEING, |node| node.fdb_ageing);
        let budget = self.limits.sweep_entries;
        let finished = [
            // All workers do, each going on where another stopped.
            self.slow_path.shared.connections.expire(now, budget),
            self.flows.expire(now, budget),
            self.slow_path.fdb.expire(now, ageing, budget),
            self.slow_path.neighbors.expire(now, ageing, budget),
            self.expire_fragments(now, budget),
        ];
        self.sweep.due = None;
        if finished.contains(&false) {
            self.sweep.due = Some(now);
        } else {
            self.schedule_sweep(now);
        }
    }

    /// Sets the deadline when a table has entries and none is set.
    pub(crate) fn schedule_sweep(&mut self, now: Instant) {
        let is_empty = self.flows.is_empty()
            && self.slow_path.shared.connections.is_empty()
            && self.slow_path.fdb.learned().is_empty()
            && self.slow_path.neighbors.learned().is_empty()
            && self.slow_path.fragments.is_empty();
        if self.sweep.due.is_none() && !is_empty {
            self.sweep.due = Some(now + self.limits.sweep_interval);
        }
    }
}
