//! What a process finds that takes over, whenever the one before it ended.

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use crate::conntrack::rows::Row;

const SLOTS: u32 = 64;

fn over(words: &'static [AtomicU64], seed: u64) -> Connections {
    Connections::new(words, seed, &limits(SLOTS, SLOTS, 0), Arc::default())
}

/// All that anybody can ask about.
pub(super) fn everything(table: &Connections) -> Vec<String> {
    let row = |(slot, row): (u32, Row)| {
        let id = table.occupant(slot).unwrap();
        let translations = [Direction::Original, Direction::Reply].map(|way| table.translation(id, way));
        format!("{slot} {id:?} {row:?} {:?} {translations:?}", table.lookup(&row.original()))
    };
    table.rows_from(0).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn successor_finds_what_there_was(
        operations in proptest::collection::vec((0..4u8, 0..100u16, 0..200u64), 0..150),
        seed: u64,
    ) {
        let words = memory(SLOTS);
        let table = over(words, 1);
        for (what, n, second) in operations {
            let new = connection(if n % 2 == 0 { TCP } else { UDP }, (1 + (n % 5) as u8, n), (1, 80), 9);
            let hit = table.lookup(&key(&new));
            match (what, hit) {
                (0 | 1, _) => { let _ = table.create(&new, at(second)); }
                (2, Some(hit)) => { table.remove(hit.id); }
                (3, Some(hit)) => { table.track(hit.id, Direction::Reply, (n % 2 == 0).then_some(SYN_ACK), at(second)); }
                _ => { table.expire(at(second), 3); }
            }
        }
        let next = over(words, seed);
        prop_assert_eq!(everything(&next), everything(&table));
        prop_assert_eq!(next.len(), table.len());
        prop_assert_eq!(next.counters().recovered, u64::from(table.len()));
        prop_assert_eq!(next.counters().damaged, 0);
        // It goes on as the other would have: shares, free slots, sweep.
        for n in 0..u16::try_from(SLOTS).unwrap() {
            let new = connection(UDP, (100, 1000 + n), (2, 53), 7);
            let is_made = next.create(&new, at(200)).is_ok();
            prop_assert!(is_made || next.len() == SLOTS);
        }
        prop_assert!(next.expire(at(100_000_000), SLOTS));
        prop_assert_eq!(next.len(), 0);
    }

    /// A process that was killed while it wrote an entry: some words are new, some old, the sequence says so.
    #[test]
    fn half_written_entry_is_freed_and_the_others_stay(written in 0..16usize, order in Just((1..16usize).collect::<Vec<_>>()).prop_shuffle()) {
        let words = memory(SLOTS);
        let table = over(words, 1);
        let stays = connection(TCP, (1, 1), (1, 80), 9);
        create(&table, &stays);
        let new = connection(TCP, (1, 2), (1, 80), 9);
        let id = create(&table, &new);
        // As the writer left it: the sequence's phase, and only some of the words.
        let slot = &words[16 * (id.slot as usize + 1)..][..16];
        slot[0].store(slot[0].load(Relaxed) & !3 | 1, Relaxed);
        for word in &order[..written.min(15)] {
            slot[*word].store(0, Relaxed);
        }
        let next = over(words, 2);
        prop_assert_eq!((next.len(), next.counters().damaged), (1, 1));
        prop_assert!(next.lookup(&key(&stays)).is_some());
        prop_assert_eq!(next.lookup(&key(&new)), None);
        let again = create(&next, &new);
        prop_assert_eq!(again.slot, id.slot);
        prop_assert_ne!(again.generation, id.generation);
    }

    /// Whatever else is wrong in an entry: it is freed or is one that the table could have made.
    #[test]
    fn damaged_words_never_make_a_damaged_table(word in 0..10usize, value: u64, bit in 0..64u32, is_flip: bool) {
        let words = memory(SLOTS);
        let table = over(words, 1);
        for n in 0..4 {
            create(&table, &connection(TCP, (1, n), (1, 80), 9));
        }
        let place = &words[16 * 3 + word];
        let damaged = if is_flip { place.load(Relaxed) ^ 1 << bit } else { value };
        place.store(damaged, Relaxed);
        let next = over(words, 2);
        prop_assert!(next.len() >= 3);
        for (slot, row) in next.rows_from(0) {
            let id = next.occupant(slot).unwrap();
            let reply = next.tuple(id, Direction::Reply).unwrap();
            let original = row.original().tuple();
            prop_assert_eq!(next.lookup(&row.original()).map(|hit| hit.id), Some(id));
            let translation = next.translation(id, Direction::Original);
            prop_assert_eq!(translation, Some(Translation::new(&original, reply.reversed())));
        }
        prop_assert!(next.expire(Instant::from_nanos(u64::MAX), SLOTS));
        prop_assert_eq!(u64::from(next.len()) + next.counters().expired, next.counters().recovered);
    }
}

#[test]
fn removal_that_was_not_finished_is_finished() {
    let words = memory(SLOTS);
    let table = over(words, 1);
    let id = create(&table, &connection(TCP, (1, 1), (1, 80), 9));
    table.memory.slot(id.slot).unwrap().state().store(0, Relaxed);
    let next = over(words, 2);
    assert_eq!((next.len(), next.counters().damaged), (0, 1));
}

#[test]
fn slot_that_was_counted_and_not_begun_is_free() {
    let words = memory(SLOTS);
    create(&over(words, 1), &connection(TCP, (1, 1), (1, 80), 9));
    over(words, 2).memory.set_used(2);
    let next = over(words, 3);
    assert_eq!((next.len(), next.counters().damaged), (1, 0));
    assert_eq!(create(&next, &connection(TCP, (1, 2), (1, 80), 9)).slot, 1);
}

#[test]
fn memory_of_another_layout_is_as_if_it_were_empty() {
    for header_word in 0..3 {
        let words = memory(SLOTS);
        let old = create(&over(words, 1), &connection(TCP, (1, 1), (1, 80), 9));
        words[header_word].fetch_add(1, Relaxed);
        let next = over(words, 2);
        assert_eq!((next.len(), next.rows_from(0).count()), (0, 0));
        let new = create(&next, &connection(TCP, (1, 2), (1, 80), 9));
        assert_eq!(new.slot, old.slot);
        assert_eq!(over(words, 3).len(), 1);
    }
    // Of another size, too: slots beyond would be lost.
    let words = memory(SLOTS);
    create(&over(words, 1), &connection(TCP, (1, 1), (1, 80), 9));
    assert_eq!(Connections::new(&words[..16 * 10], 1, &limits(SLOTS, SLOTS, 0), Arc::default()).len(), 0);
}

#[test]
fn recovered_entries_are_embryonic_or_not_as_they_were() {
    let words = memory(SLOTS);
    let table = Connections::new(words, 1, &limits(SLOTS, 2, 0), Arc::default());
    let (a, b) = (connection(TCP, (1, 1), (1, 80), 9), connection(TCP, (1, 2), (1, 80), 9));
    let id = create(&table, &a);
    establish(&table, id, START);
    create(&table, &b);
    let next = Connections::new(words, 2, &limits(SLOTS, 2, 0), Arc::default());
    create(&next, &connection(TCP, (1, 3), (1, 80), 9));
    assert!(next.lookup(&key(&a)).is_some() && next.lookup(&key(&b)).is_none());
}
