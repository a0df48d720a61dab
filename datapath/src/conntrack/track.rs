//! A packet of a connection goes by.

use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Duration;

use super::key::Direction;
use super::memory::{Slot, condition_of, with_generation};
use super::state::{Condition, Outward, State, Step, TcpInvalid};
use super::{ConnectionId, Connections};
use crate::time::Instant;
use crate::wire::l4::TcpFlags;

/// How old the time of the last packet may be: a busy connection's line is written once in this time.
const REFRESH: Duration = Duration::from_secs(1);

/// What becomes of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracked {
    /// It is forwarded.
    Forward,
    /// It begins a new connection between the same ends: take this one out and decide again.
    Reopen,
    /// There is no such connection any more.
    Gone,
    /// The server refuses what it has not accepted; nothing has changed. [`Connections::refuse`] if that is to stay so.
    Refused,
    /// The first SYN again; forwarded, if nothing better is known.
    Repeated,
    /// It is dropped, and its sender told: the connection was given to another server.
    TooLate,
    /// It is dropped.
    Invalid(TcpInvalid),
    /// It is dropped: its receiver has not asked for it.
    Filtered,
}

impl Connections {
    /// Takes note of a packet; `flags` if it is TCP. Of an established connection this only reads, but for once a
    /// second.
    pub(crate) fn track(
        &self,
        id: ConnectionId,
        direction: Direction,
        flags: Option<TcpFlags>,
        now: Instant,
    ) -> Tracked {
        self.take_step(id, direction, flags.is_some(), now, |condition| condition.step(direction, flags))
    }

    /// The server has refused the connection, and no other is asked instead.
    pub(crate) fn refuse(&self, id: ConnectionId, now: Instant) -> Tracked {
        self.take_step(id, Direction::Reply, true, now, Condition::reset_by_server)
    }

    #[inline]
    fn take_step(
        &self,
        id: ConnectionId,
        direction: Direction,
        is_tcp: bool,
        now: Instant,
        step: impl Fn(Condition) -> Step,
    ) -> Tracked {
        let Some(slot) = self.memory.slot(id.slot) else { return Tracked::Gone };
        let mut word = slot.state().load(Acquire);
        // Ends: a lost race means that another worker changed the state, which has few before `TimeWait`.
        loop {
            let Some(condition) = condition_of(word, id).and_then(Condition::from_bits) else {
                return Tracked::Gone;
            };
            let mut next = match step(condition) {
                Step::Pass => return Tracked::Forward,
                Step::Refresh => {
                    self.refresh(slot, word, condition, direction, now);
                    return Tracked::Forward;
                }
                Step::Filtered => {
                    self.refresh(slot, word, condition, direction, now);
                    return Tracked::Filtered;
                }
                Step::Reopen => return Tracked::Reopen,
                Step::Refused => return Tracked::Refused,
                Step::Repeated => return Tracked::Repeated,
                Step::TooLate => return Tracked::TooLate,
                Step::Invalid(reason) => return Tracked::Invalid(reason),
                Step::To(next) => next,
            };
            // First: the new state's time begins now, whoever looks.
            if condition.is_kept_by(direction, is_tcp) {
                slot.set_last_seen(now.max(slot.last_seen()));
                self.keep_mapping(slot, condition, direction, now);
                next.kept = Outward::NONE.and(direction, next.outward);
            }
            let next_state = next.state;
            let next = with_generation(id.generation, next.bits());
            match slot.state().compare_exchange_weak(word, next, AcqRel, Acquire) {
                Ok(_) => {
                    self.count_change(slot, condition.state, next_state);
                    return Tracked::Forward;
                }
                Err(other) => word = other,
            }
        }
    }

    /// Either end begins the time anew, but each keeps its own mapping alone, also if the other was quicker.
    fn refresh(&self, slot: Slot, word: u64, condition: Condition, direction: Direction, now: Instant) {
        let is_due = now.saturating_since(slot.last_seen()) >= REFRESH;
        if is_due {
            slot.set_last_seen(now);
        }
        let before = if is_due { Outward::NONE } else { condition.kept };
        if !before.contains(direction) {
            self.keep_mapping(slot, condition, direction, now);
        }
        let kept = before.and(direction, condition.outward);
        if kept != condition.kept {
            let next = Condition { kept, ..condition };
            let next = word & !u64::from(u32::MAX) | u64::from(next.bits());
            // Who loses against another worker keeps it once more.
            let _is_noted = slot.state().compare_exchange(word, next, AcqRel, Acquire);
        }
    }

    /// A connection that ends is none that its backend is busy with.
    pub(super) fn count_change(&self, slot: Slot, before: State, now: State) {
        let Some(backend) = slot.backend() else { return };
        match (before.is_active(), now.is_active()) {
            (true, false) => self.active.closed(backend),
            (false, true) => self.active.opened(backend),
            (true, true) | (false, false) => {}
        }
    }

    /// What was seen of it.
    pub(crate) fn state(&self, id: ConnectionId) -> Option<State> {
        let word = self.memory.slot(id.slot)?.state().load(Acquire);
        condition_of(word, id).and_then(Condition::from_bits).map(|condition| condition.state)
    }
}
