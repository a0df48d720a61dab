//! Model test: random operations against naive vectors, and the eviction rules by example.

use proptest::prelude::*;

use super::*;

const CAP: u32 = 12;
const SHARE: u32 = 5;
const PORTS: u32 = 4;

fn at(second: u64) -> Instant {
    Instant::from_nanos(second * 1_000_000_000)
}

fn table() -> BoundedTable<u64, u32> {
    let mut table = BoundedTable::new(7, CAP, SHARE);
    for port in 0..PORTS {
        table.reserve_owner(PortId(port));
    }
    table
}

/// The specification: per port, entries in order of last use.
#[derive(Default)]
struct Model {
    lists: [Vec<(u64, u32, u64)>; PORTS as usize],
}

impl Model {
    fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    fn find(&self, key: u64) -> Option<(usize, usize)> {
        self.lists.iter().enumerate().find_map(|(port, list)| {
            list.iter().position(|(k, ..)| *k == key).map(|position| (port, position))
        })
    }

    fn insert(&mut self, key: u64, port: u32, value: u32, now: u64) {
        self.remove(key);
        if self.lists[port as usize].len() >= SHARE as usize {
            self.lists[port as usize].remove(0);
        } else if self.len() >= CAP as usize {
            // Among equals the last port, as `max_by_key` documents.
            let fullest = (0..PORTS as usize).max_by_key(|p| self.lists[*p].len()).unwrap();
            self.lists[fullest].remove(0);
        }
        self.lists[port as usize].push((key, value, now));
    }

    fn remove(&mut self, key: u64) {
        if let Some((port, position)) = self.find(key) {
            self.lists[port].remove(position);
        }
    }

    fn touch(&mut self, key: u64, now: u64) {
        if let Some((port, position)) = self.find(key) {
            let (key, value, _) = self.lists[port].remove(position);
            self.lists[port].push((key, value, now));
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u64, u32, u32),
    Touch(u64),
    Remove(u64),
    RetainOtherThanPort(u32),
    Expire(u64),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..30u64, 0..PORTS, any::<u32>()).prop_map(|(k, p, v)| Op::Insert(k, p, v)),
        4 => (0..30u64).prop_map(Op::Touch),
        2 => (0..30u64).prop_map(Op::Remove),
        1 => (0..PORTS).prop_map(Op::RetainOtherThanPort),
        1 => (1..20u64).prop_map(Op::Expire),
        4 => (0..4u64).prop_map(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn table_behaves_like_the_naive_model(ops in proptest::collection::vec(op(), 1..300)) {
        let (mut table, mut model, mut now) = (table(), Model::default(), 0);
        let capacity = (table.index.capacity(), table.slots.capacity());
        for op in ops {
            match op {
                Op::Insert(key, port, value) => {
                    table.insert(key, PortId(port), value, at(now));
                    model.insert(key, port, value, now);
                }
                Op::Touch(key) => {
                    let found = table.touch(&key, at(now)).copied();
                    let wanted = model.find(key).map(|(port, position)| model.lists[port][position].1);
                    prop_assert_eq!(found, wanted);
                    model.touch(key, now);
                }
                Op::Remove(key) => {
                    table.remove(&key);
                    model.remove(key);
                }
                Op::RetainOtherThanPort(port) => {
                    table.retain(|entry| entry.owner != PortId(port));
                    model.lists[port as usize].clear();
                }
                Op::Expire(age) => {
                    prop_assert!(table.expire(at(now), Duration::from_secs(age), u32::MAX));
                    model.lists.iter_mut().for_each(|list| list.retain(|(.., used)| now - used < age));
                }
                Op::Wait(seconds) => now += seconds,
            }
            prop_assert_eq!(table.len(), model.len());
            for key in 0..30 {
                let found = table.lookup(&key).map(|e| (e.owner.0, e.value, e.last_used));
                let wanted = model.find(key).map(|(port, position)| {
                    let (_, value, used) = model.lists[port][position];
                    (u32::try_from(port).unwrap(), value, at(used))
                });
                prop_assert_eq!(found, wanted);
            }
            prop_assert_eq!(table.rows_from(0).count(), model.len());
            prop_assert_eq!((table.index.capacity(), table.slots.capacity()), capacity);
        }
    }
}

#[test]
fn greedy_port_evicts_only_its_own_entries() {
    let mut table = table();
    table.insert(1, PortId(0), 10, at(0));
    for key in 100..1000 {
        table.insert(key, PortId(1), 0, at(1));
    }
    assert_eq!(table.lookup(&1).map(|e| e.value), Some(10));
    assert_eq!(table.len(), 1 + SHARE as usize);
    assert!(table.lookup(&999).is_some());
}

#[test]
fn full_table_evicts_the_oldest_of_the_fullest_port() {
    let mut table = table();
    for (port, keys) in [(0, 0..5), (1, 10..15), (2, 20..22)] {
        keys.for_each(|key| table.insert(key, PortId(port), 0, at(key)));
    }
    assert_eq!(table.len(), CAP as usize);
    table.touch(&10, at(100));
    table.insert(30, PortId(3), 0, at(101));
    assert!(table.lookup(&11).is_none(), "the fullest port's least recently used entry goes");
    assert!(table.lookup(&10).is_some());
    assert_eq!(table.len(), CAP as usize);
}

#[test]
fn expiry_stops_at_its_budget_and_goes_on_there() {
    let mut table = table();
    (0..5).for_each(|key| table.insert(key, PortId(0), 0, at(0)));
    (10..15).for_each(|key| table.insert(key, PortId(1), 0, at(0)));
    assert!(!table.expire(at(100), Duration::from_secs(1), 3));
    assert_eq!(table.len(), 7);
    assert!(!table.expire(at(100), Duration::from_secs(1), 4));
    assert!(table.expire(at(100), Duration::from_secs(1), 4));
    assert!(table.is_empty());
}

#[test]
fn unknown_owner_is_refused() {
    let mut table = table();
    table.insert(1, PortId(PORTS), 0, at(0));
    assert!(table.is_empty());
}
