//! Model test: random operations against a map that forgets nothing, which says what an entry may hold
//! and which may be missing; and the rules of eviction by example.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const PORTS: u32 = 3;
const IDLE: u64 = 10;

fn at(second: u64) -> Instant {
    Instant::from_nanos(second * 1_000_000_000)
}

fn table(flows: u32, flows_per_port: u32) -> FlowTable {
    let limits = Limits { flows, flows_per_port, flow_idle: Duration::from_secs(IDLE), ..Limits::default() };
    let mut table = FlowTable::new(7, &limits);
    (0..PORTS).for_each(|port| table.reserve(PortId(port)));
    table
}

/// With so many buckets that none is full, whatever the seed.
fn roomy(flows: u32, flows_per_port: u32) -> FlowTable {
    FlowTable { index: Index::new(1 << 16), ..table(flows, flows_per_port) }
}

fn key(port: u32, number: u32) -> FlowKey {
    FlowKey::numbered(PortId(port), number)
}

fn put_all(table: &mut FlowTable, port: u32, numbers: std::ops::Range<u32>) {
    for number in numbers {
        table.put(key(port, number), to(1), at(0));
    }
}

/// A decision that can be told from others.
fn to(number: u32) -> Forward {
    Forward::switched(PortId(number))
}

impl FlowTable {
    /// All passes, for one key.
    fn probe_all(&self, key: FlowKey) -> Probe {
        let mut probe = self.probe_key(key);
        self.find_candidate(&mut probe);
        probe
    }

    fn found(&self, key: FlowKey) -> Option<(FlowId, Forward)> {
        self.lookup(&self.probe_all(key))
    }

    fn put(&mut self, key: FlowKey, forward: Forward, now: Instant) -> Option<FlowId> {
        self.insert(&self.probe_all(key), forward, now)
    }

    fn used(&mut self, key: FlowKey, now: Instant) {
        let (flow, _) = self.found(key).unwrap();
        self.count(flow, Burst { frames: 1, bytes: 100 }, now);
    }

    /// Entries of every generation, as (generation, key).
    fn all(&self) -> BTreeSet<(u64, u32, u32)> {
        let occupied = self.slab.slots_from(0).filter(|(_, entry)| entry.generation != VACANT);
        let identity = |entry: &Slot| (entry.generation, entry.key.ingress().0, number(&entry.key));
        occupied.map(|(_, entry)| identity(entry)).collect()
    }

    /// The invariants of all parts, by looking at every entry.
    fn check(&self) {
        let occupied = || self.slab.slots_from(0).filter(|(_, entry)| entry.generation != VACANT);
        assert_eq!(occupied().count(), self.slab.len() as usize);
        assert_eq!(self.rows_from(0).count(), self.live() as usize);
        for (slot, entry) in occupied() {
            let found = self.find(&self.probe_key(entry.key));
            assert_eq!(found, u32::try_from(slot).ok(), "the index leads to the entry");
        }
        for port in 0..PORTS {
            let held = occupied().filter(|(_, entry)| entry.key.ingress() == PortId(port)).count();
            assert_eq!(self.slab.held(PortId(port)), u32::try_from(held).ok());
            assert!(held <= self.share as usize);
        }
    }
}

fn number(key: &FlowKey) -> u32 {
    u32::from(key.unpack().source_port) << 16 | u32::from(key.unpack().destination_port)
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u32, u32),
    Lookup(u32, u32),
    Epoch,
    Wait(u64),
    Expire(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0..PORTS, 0..40u32).prop_map(|(port, number)| Op::Insert(port, number)),
        10 => (0..PORTS, 0..40u32).prop_map(|(port, number)| Op::Lookup(port, number)),
        1 => Just(Op::Epoch),
        2 => (0..6u64).prop_map(Op::Wait),
        2 => (0..8u32).prop_map(Op::Expire),
    ]
}

/// What was decided for every flow, when it was last used, and how often.
#[derive(Default)]
struct Model {
    flows: BTreeMap<(u32, u32), (Forward, u64, u64)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn table_never_says_what_the_model_does_not_and_accounts_for_what_it_forgot(
        // Roomy; full before any share; shares before full; and one bucket for all.
        (cap, share) in prop_oneof![Just((512, 512)), Just((24, 24)), Just((40, 10)), Just((2, 2)), Just((9, 3))],
        ops in proptest::collection::vec(op(), 1..300),
    ) {
        let mut table = table(cap, share);
        let mut model = Model::default();
        let (mut now, mut decisions, mut inserted) = (100, 0, 0u64);
        for op in &ops {
            let (before, evicted) = (table.all(), table.evictions());
            match *op {
                Op::Insert(port, number) => {
                    decisions += 1;
                    let known = table.found(key(port, number)).is_some();
                    let flow = table.put(key(port, number), to(decisions), at(now));
                    inserted += u64::from(!known);
                    prop_assert_eq!(table.found(key(port, number)), flow.map(|flow| (flow, to(decisions))));
                    prop_assert!(flow.is_some());
                    let uses = if known { model.flows[&(port, number)].2 } else { 0 };
                    let last = if known { model.flows[&(port, number)].1 } else { now };
                    model.flows.insert((port, number), (to(decisions), last, uses));
                    check_fairness(&before, &table, evicted, port);
                }
                Op::Lookup(port, number) => {
                    let found = table.found(key(port, number));
                    if let Some((flow, forward)) = found {
                        let entry = model.flows.get_mut(&(port, number)).unwrap();
                        prop_assert_eq!(forward, entry.0, "an old or foreign decision");
                        table.count(flow, Burst { frames: 1, bytes: 100 }, at(now));
                        (entry.1, entry.2) = (now, entry.2 + 1);
                    }
                }
                Op::Epoch => {
                    table.begin_generation();
                    model.flows.clear();
                    prop_assert_eq!(table.live(), 0);
                }
                Op::Wait(seconds) => now += seconds,
                Op::Expire(budget) => {
                    let ended = table.expire(at(now), budget);
                    let gone = table.evictions().total() - evicted.total();
                    prop_assert!(gone <= u64::from(budget));
                    prop_assert!(ended || budget < 100);
                    prop_assert_eq!(table.evictions().share, evicted.share);
                }
            }
            table.check();
            prop_assert!(table.slab.len() <= cap);
            // Forgotten is what was counted, no more and no less.
            prop_assert_eq!(inserted, u64::from(table.slab.len()) + table.evictions().total());
            if cap == 512 {
                prop_assert_eq!(table.evictions().full + table.evictions().share, 0);
            }
            for (_, entry) in table.rows_from(0) {
                let known = model.flows[&(entry.key.ingress().0, number(&entry.key))];
                prop_assert_eq!((entry.forward, entry.last_used), (known.0, at(known.1)));
                prop_assert_eq!((entry.frames, entry.bytes), (known.2, known.2 * 100));
            }
        }
        // Everything goes in time.
        now += IDLE;
        for _ in 0..1000 {
            table.expire(at(now), 5);
        }
        prop_assert!(table.is_empty());
        prop_assert_eq!(table.live(), 0);
    }
}

/// Of what an insertion by `port` pushed out, each cause names who may be hit.
fn check_fairness(before: &BTreeSet<(u64, u32, u32)>, table: &FlowTable, was: FlowEvictions, port: u32) {
    let is = table.evictions();
    let after = table.all();
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(gone.len() <= 3, "one insertion, its own stale entry, one for the bucket, one for room");
    let held = |port: u32| before.iter().filter(|(_, owner, _)| *owner == port).count();
    if is.share > was.share {
        assert!(gone.iter().any(|(_, owner, _)| *owner == port));
        assert!(gone.len() == 1 || is.total() - was.total() > 1);
    }
    if is.full > was.full && is.total() == was.total() + 1 {
        let most = (0..PORTS).map(held).max().unwrap();
        assert_eq!(held(gone[0].1), most, "the fullest loses");
    }
}

#[test]
fn generation_voids_all_at_once_and_is_decided_again_in_place() {
    let mut table = table(64, 64);
    let first = table.put(key(1, 1), to(1), at(0)).unwrap();
    table.begin_generation();
    assert_eq!((table.found(key(1, 1)), table.live(), table.rows_from(0).count()), (None, 0, 0));
    assert_eq!(table.put(key(1, 1), to(2), at(0)), Some(first));
    assert_eq!(table.evictions(), FlowEvictions { stale: 1, ..FlowEvictions::default() });
    // The sweep finds the others, budget by budget.
    put_all(&mut table, 1, 2..8);
    table.begin_generation();
    assert!(!table.expire(at(0), 4));
    assert!(table.expire(at(0), 4));
    assert_eq!((table.evictions().stale, table.is_empty()), (8, true));
}

#[test]
fn used_flows_stay_and_scanned_ones_go() {
    let mut table = table(64, 4);
    for number in 0..4 {
        table.put(key(1, number), to(1), at(0));
        table.used(key(1, number), at(0));
    }
    // One frame each so far; flow 0 goes on.
    table.used(key(1, 0), at(1));
    for number in 100..130 {
        table.put(key(1, number), to(1), at(1));
        table.used(key(1, number), at(1));
        table.used(key(1, 0), at(1));
    }
    assert!(table.found(key(1, 0)).is_some());
    assert_eq!(table.evictions(), FlowEvictions { share: 30, ..FlowEvictions::default() });
}

#[test]
fn port_of_nothing_but_busy_flows_loses_one_after_a_bounded_search() {
    let mut table = roomy(64, 10);
    for number in 0..10 {
        table.put(key(1, number), to(1), at(0));
        table.used(key(1, number), at(0));
        table.used(key(1, number), at(0));
    }
    table.put(key(1, 99), to(1), at(0));
    assert_eq!((table.evictions().share, table.live()), (1, 10));
}

#[test]
fn full_table_takes_from_the_fullest() {
    let mut table = roomy(8, 8);
    put_all(&mut table, 1, 0..6);
    put_all(&mut table, 2, 0..2);
    put_all(&mut table, 0, 10..13);
    let held = |port| table.slab.held(PortId(port)).unwrap();
    assert_eq!((held(0), held(1), held(2)), (3, 3, 2));
    assert_eq!(table.evictions().full, 3);
}

#[test]
fn full_bucket_loses_an_entry_of_the_same_port_if_it_has_one() {
    // One bucket: it is full before the table is.
    let mut table = table(2, 2);
    table.slab = Slab::new(100);
    (0..PORTS).for_each(|port| table.reserve(PortId(port)));
    table.share = 100;
    put_all(&mut table, 1, 0..7);
    table.put(key(2, 50), to(1), at(5));
    table.put(key(2, 51), to(1), at(6));
    assert!(table.found(key(2, 50)).is_none() && table.found(key(1, 0)).is_some());
    // A port without one there: the least recently used goes.
    table.used(key(1, 0), at(7));
    table.put(key(0, 70), to(1), at(7));
    assert!(table.found(key(1, 0)).is_some() && table.found(key(2, 51)).is_some());
    assert_eq!((table.evictions().collision, table.evictions().total()), (2, 2));
    // Idle ones before any other.
    table.put(key(2, 52), to(1), at(14));
    assert_eq!((table.evictions().idle, table.evictions().collision), (1, 2));
}

#[test]
fn hint_of_an_earlier_pass_is_not_believed() {
    let mut table = table(64, 1);
    table.put(key(1, 1), to(1), at(0));
    let probe = table.probe_all(key(1, 1));
    let early = table.probe_all(key(1, 2));
    // The slot is handed to another flow meanwhile.
    table.put(key(1, 2), to(2), at(0));
    assert_eq!(table.lookup(&probe), None);
    assert_eq!(table.lookup(&early).map(|(_, forward)| forward), Some(to(2)));
    table.begin_generation();
    assert_eq!(table.lookup(&early), None);
}

#[test]
fn neither_a_table_without_room_nor_a_port_without_a_queue_takes_anything() {
    assert_eq!(table(0, 0).put(key(1, 1), to(1), at(0)), None);
    assert_eq!(table(8, 0).put(key(1, 1), to(1), at(0)), None);
    assert_eq!(table(8, 8).put(key(PORTS, 1), to(1), at(0)), None);
}
