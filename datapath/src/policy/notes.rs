//! What policies did: counts by policy, and the flows that were denied lately.
//!
//! Written when something is denied or a connection begins, never for a packet of an established flow. The counts are atomic words;
//! the notes are a ring behind a lock that nobody waits for: who finds it taken does not note.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use protocol::link::policy::{DeniedFlow, PolicyCounts};
use zerocopy::FromZeros;

use crate::conntrack::Lock;
use crate::limits::Limits;

/// Notes kept: some seconds of what all workers may note, at 96 bytes each.
const NOTES: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Notes {
    /// Two words for each policy.
    counts: Box<[AtomicU64]>,
    ring: Lock<Ring>,
    unnoted: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    rows: Vec<DeniedFlow>,
    /// Of the newest.
    number: u64,
}

impl Notes {
    pub(super) fn new(limits: &Limits) -> Self {
        // Zeroed by the system; memory backs what is used.
        let counts = <[AtomicU64]>::new_box_zeroed_with_elems(limits.policies as usize * 2);
        let ring = Ring { rows: Vec::with_capacity(NOTES), number: 0 };
        Self { counts: counts.unwrap_or_default(), ring: Lock::new(ring), unnoted: AtomicU64::new(0) }
    }

    pub(crate) fn denied(&self, policy: u32) {
        self.count(policy as usize * 2);
    }

    pub(crate) fn allowed(&self, policy: u32) {
        self.count(policy as usize * 2 + 1);
    }

    fn count(&self, at: usize) {
        if let Some(word) = self.counts.get(at) {
            word.fetch_add(1, Relaxed);
        }
    }

    /// What was counted of a policy goes.
    pub(super) fn forget(&self, policy: u32) {
        let first = policy as usize * 2;
        for word in self.counts.get(first..first + 2).into_iter().flatten() {
            word.store(0, Relaxed);
        }
    }

    /// What was counted of all goes.
    pub(super) fn forget_all(&self) {
        for word in &self.counts {
            // Reading does not make memory of what never was written.
            if word.load(Relaxed) != 0 {
                word.store(0, Relaxed);
            }
        }
    }

    /// Notes a flow, or another packet of the flow that was noted last.
    pub(crate) fn note(&self, flow: DeniedFlow) {
        let Some(mut ring) = self.ring.try_hold() else { return self.not_noted() };
        let at = ring.number;
        let is_again = |last: &DeniedFlow| {
            DeniedFlow { number: 0, at_nanos: 0, packets: 0, ..*last }
                == DeniedFlow { number: 0, at_nanos: 0, packets: 0, ..flow }
        };
        if let Some(last) = ring.place(at).filter(|last| is_again(last)) {
            last.packets += 1;
            return;
        }
        ring.number += 1;
        let row = DeniedFlow { number: ring.number, packets: 1, ..flow };
        let at = ring.number;
        match ring.place(at) {
            Some(place) => *place = row,
            None => ring.rows.push(row),
        }
    }

    pub(crate) fn not_noted(&self) {
        self.unnoted.fetch_add(1, Relaxed);
    }

    /// At most `max` notes with greater numbers than `after`, the oldest first; and how many packets are in none.
    pub(crate) fn after(&self, after: u64, max: usize) -> (Vec<DeniedFlow>, u64) {
        let mut ring = self.ring.hold();
        let first = ring.number.saturating_sub(ring.rows.len() as u64).max(after) + 1;
        let numbers = (first..=ring.number).take(max);
        let rows = numbers.filter_map(|number| ring.place(number).map(|row| *row)).collect();
        (rows, self.unnoted.load(Relaxed))
    }

    /// Rows of policies of which anything was counted, from `cursor` on, and the cursor of the next page.
    pub(crate) fn page(&self, cursor: u64, max: usize) -> (Vec<PolicyCounts>, Option<u64>) {
        let first = usize::try_from(cursor).unwrap_or(usize::MAX);
        let pairs = self.counts.chunks_exact(2).enumerate().skip(first);
        let rows = pairs.filter_map(|(policy, words)| {
            let [denied, allowed] = words else { return None };
            let policy = u32::try_from(policy).ok()?;
            let counts =
                PolicyCounts { policy, denied: denied.load(Relaxed), allowed: allowed.load(Relaxed) };
            (counts.denied != 0 || counts.allowed != 0).then_some(counts)
        });
        let rows: Vec<_> = rows.take(max).collect();
        let next = rows.last().filter(|_| rows.len() == max).map(|row| u64::from(row.policy) + 1);
        (rows, next)
    }
}

impl Ring {
    /// Where the row with a number is, if there was one.
    fn place(&mut self, number: u64) -> Option<&mut DeniedFlow> {
        let at = number.checked_sub(1)? % NOTES as u64;
        self.rows.get_mut(usize::try_from(at).ok()?)
    }
}
