//! What the flows to backends of services carry, by backend.
//!
//! A flow counts its own frames and nothing else, so being counted by backend costs a frame nothing. Its counts are taken
//! over when the sweep comes by, once a second, and when it goes. A backend's slot is given to another one in time; flows to
//! the one before may still be in the table then, unused. They remember in which life of the slot they began.
//!
//! Plain numbers of one worker. Memory is made when services change.

use crate::conntrack::Direction;
use crate::service::MAX_BACKENDS;

/// Lives of a slot are told apart modulo this: a flow that nobody used while its backend's slot changed hands so often is long gone.
const LIVES: u16 = 1 << 12;

/// Whose packets a flow's are, and which way they go:
///
/// ```text
/// slot and one more, or 0 for nobody : 19   life of the slot : 12   direction : 1
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Account(u32);

impl Account {
    pub(super) const NOBODY: Self = Self(0);

    fn new(slot: u32, life: u16, direction: Direction) -> Self {
        const { assert!(MAX_BACKENDS < 1 << 19) };
        Self((slot + 1) << 13 | u32::from(life) << 1 | direction as u32)
    }

    #[expect(clippy::cast_possible_truncation, reason = "unpacks a field at its width")]
    const fn unpack(self) -> Option<(usize, u16, usize)> {
        match (self.0 >> 13).checked_sub(1) {
            Some(slot) => Some((slot as usize, (self.0 >> 1) as u16 % LIVES, (self.0 & 1) as usize)),
            None => None,
        }
    }
}

/// Frames and bytes, of clients and to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sums {
    pub(crate) frames: [u64; 2],
    pub(crate) bytes: [u64; 2],
}

impl Sums {
    #[must_use]
    pub(crate) const fn plus(self, more: Self) -> Self {
        let ([a, b], [c, d]) = (self.frames, self.bytes);
        let ([e, f], [g, h]) = (more.frames, more.bytes);
        Self { frames: [a + e, b + f], bytes: [c + g, d + h] }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// In which life each slot is.
    lives: Vec<u16>,
    /// What was counted in it: frames, then bytes. For all slots there may ever be, in memory that is made by being used, so
    /// that backends without traffic cost none and one more never moves those of all others.
    counts: Box<[[u64; 4]]>,
}

impl Traffic {
    /// Makes room for as many slots.
    pub(crate) fn reserve(&mut self, slots: usize) {
        if self.lives.len() < slots {
            self.lives.resize(slots, 0);
        }
        if self.counts.is_empty() && slots > 0 {
            self.counts = vec![[0; 4]; MAX_BACKENDS as usize].into();
        }
    }

    /// For a flow to the backend that is at `slot` now, or from it.
    pub(crate) fn account(&self, slot: u32, direction: Direction) -> Account {
        let life = self.lives.get(slot as usize);
        life.map_or(Account::NOBODY, |life| Account::new(slot, *life, direction))
    }

    pub(super) fn add(&mut self, account: Account, frames: u64, bytes: u64) {
        let Some((slot, life, direction)) = account.unpack() else { return };
        if self.lives.get(slot) == Some(&life)
            && let Some([frames_in, frames_out, bytes_in, bytes_out]) = self.counts.get_mut(slot)
        {
            let (f, b) = if direction == 0 { (frames_in, bytes_in) } else { (frames_out, bytes_out) };
            *f += frames;
            *b += bytes;
        }
    }

    /// The backend at `slot` is gone. What is counted from now on is the next one's.
    pub(crate) fn retire(&mut self, slot: u32) -> Sums {
        let Some(life) = self.lives.get_mut(slot as usize) else { return Sums::default() };
        *life = (*life + 1) % LIVES;
        let sums = self.of(slot);
        // Memory that was never used stays so.
        if sums != Sums::default()
            && let Some(counts) = self.counts.get_mut(slot as usize)
        {
            *counts = [0; 4];
        }
        sums
    }

    pub(crate) fn of(&self, slot: u32) -> Sums {
        let [a, b, c, d] = self.counts.get(slot as usize).copied().unwrap_or_default();
        Sums { frames: [a, b], bytes: [c, d] }
    }

    /// Bytes on the heap that backends without traffic cost.
    #[cfg(test)]
    pub(crate) fn heap_size(&self) -> usize {
        self.lives.capacity() * size_of::<u16>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_told_apart_by_slot_life_and_direction() {
        for slot in [0, 1, MAX_BACKENDS - 1] {
            for life in [0, 1, LIVES - 1] {
                for direction in [Direction::Original, Direction::Reply] {
                    let account = Account::new(slot, life, direction);
                    assert_eq!(account.unpack(), Some((slot as usize, life, direction as usize)));
                }
            }
        }
        assert_eq!(Account::NOBODY.unpack(), None);
    }

    #[test]
    fn what_comes_late_is_not_counted_for_the_next_backend_in_the_slot() {
        let mut traffic = Traffic::default();
        assert_eq!(traffic.account(0, Direction::Reply), Account::NOBODY, "there is no such slot");
        traffic.reserve(2);
        let old = traffic.account(1, Direction::Original);
        traffic.add(old, 3, 300);
        assert_eq!(traffic.retire(1), Sums { frames: [3, 0], bytes: [300, 0] });
        traffic.add(old, 1, 100);
        assert_eq!(traffic.of(1), Sums::default());
        let new = traffic.account(1, Direction::Reply);
        traffic.add(new, 2, 200);
        traffic.add(Account::NOBODY, 9, 9);
        assert_eq!(traffic.of(1), Sums { frames: [0, 2], bytes: [0, 200] });
        assert_eq!(traffic.of(0), Sums::default());
    }
}
