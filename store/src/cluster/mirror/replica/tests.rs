//! Against a model: who applies the changes has what the store has, plus what is held.

use proptest::prelude::*;

use super::*;

fn entry(key: u8, value: u8, revision: Revision) -> Entry {
    Entry { key: format!("/p/{key}"), value: vec![value], revision, lease: None }
}

fn listing(revision: Revision, keys: impl IntoIterator<Item = u8>) -> Listing {
    Listing { revision, entries: keys.into_iter().map(|key| entry(key, 0, 1)).collect() }
}

fn replica_of(keys: impl IntoIterator<Item = u8>) -> Replica {
    let mut replica = Replica::new(HoldPolicy::default(), BTreeMap::new(), 0);
    replica.on_list(listing(10, keys));
    replica
}

#[test]
fn half_of_the_objects_may_disappear_but_not_more() {
    let mut replica = replica_of(0..6);
    assert_eq!(replica.on_list(listing(11, 0..3)).len(), 3);
    let mut replica = replica_of(0..6);
    assert_eq!(replica.on_list(listing(11, 0..2)), []);
    assert_eq!((replica.held().len(), replica.known().len()), (4, 6));
}

#[test]
fn three_objects_may_all_disappear() {
    let mut replica = replica_of(0..3);
    assert_eq!(replica.on_list(listing(11, [])).len(), 3);
    assert!(replica.held().is_empty());
}

#[test]
fn a_store_that_went_back_deletes_nothing_however_little_is_missing() {
    let mut replica = replica_of(0..20);
    assert_eq!(replica.on_list(listing(9, 0..19)), []);
    assert_eq!(replica.held().len(), 1);
    assert_eq!(replica.revision(), 9, "watched from where the store is now");
}

#[test]
fn what_is_held_ends_one_by_one_by_reappearing_and_the_rest_by_confirmation() {
    let mut replica = replica_of(0..8);
    replica.on_list(listing(1, []));
    assert_eq!(replica.held().len(), 8);
    assert_eq!(replica.on_batch(Batch { revision: 2, events: vec![Event::Put(entry(3, 0, 2))] }), []);
    assert_eq!(replica.on_batch(Batch { revision: 3, events: vec![Event::Put(entry(4, 9, 3))] }).len(), 1);
    assert_eq!(replica.on_list(listing(4, 1..7)).len(), 1, "object 4 has its old value again");
    let seen = replica.held().clone();
    assert_eq!(seen.len(), 2);
    replica.on_batch(Batch { revision: 5, events: vec![Event::Put(entry(0, 0, 5))] });
    let gone = replica.confirm(&seen);
    assert_eq!(gone, [Change::Delete { key: "/p/7".to_owned() }], "object 0 came back in time");
    assert!(replica.held().is_empty());
}

#[test]
fn one_revision_that_deletes_most_is_held_too_and_single_deletes_are_not() {
    let mut replica = replica_of(0..4);
    let delete = |keys: &[u8]| keys.iter().map(|key| Event::Delete { key: format!("/p/{key}") }).collect();
    assert_eq!(replica.on_batch(Batch { revision: 11, events: delete(&[0]) }).len(), 1);
    let mut replica = replica_of(0..4);
    assert_eq!(replica.on_batch(Batch { revision: 11, events: delete(&[0, 1, 2]) }), []);
    assert_eq!(replica.held().len(), 3);
    assert_eq!(replica.on_list(listing(12, [3])), [], "a relist finds the same and changes nothing");
    assert_eq!(replica.held().len(), 3);
}

/// What the store does between what the replica hears.
#[derive(Debug, Clone)]
enum Step {
    Batch(Vec<(u8, Option<u8>)>),
    /// Changes nobody sees, then a list.
    Relist(Vec<(u8, Option<u8>)>),
    /// The store has lost everything.
    Emptied,
    Confirm,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let edits = || prop::collection::vec((0..12u8, prop::option::weighted(0.6, 0..3u8)), 1..8);
    let step = prop_oneof![
        4 => edits().prop_map(Step::Batch),
        3 => edits().prop_map(Step::Relist),
        1 => Just(Step::Emptied),
        1 => Just(Step::Confirm),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Default)]
struct World {
    store: BTreeMap<String, Entry>,
    revision: Revision,
    /// What somebody has who applied every change.
    derived: BTreeMap<String, Vec<u8>>,
}

impl World {
    fn edit(&mut self, edits: &[(u8, Option<u8>)]) -> Vec<Event> {
        self.revision += 1;
        let mut events = Vec::new();
        let mut seen = BTreeSet::new();
        for (key, value) in edits.iter().filter(|(key, _)| seen.insert(*key)) {
            match value {
                Some(value) => {
                    let entry = entry(*key, *value, self.revision);
                    self.store.insert(entry.key.clone(), entry.clone());
                    events.push(Event::Put(entry));
                }
                None => {
                    let key = format!("/p/{key}");
                    if self.store.remove(&key).is_some() {
                        events.push(Event::Delete { key });
                    }
                }
            }
        }
        events
    }

    fn list(&self) -> Listing {
        Listing { revision: self.revision, entries: self.store.values().cloned().collect() }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(entry) => {
                    self.derived.insert(entry.key, entry.value);
                }
                Change::Delete { key } => {
                    assert!(self.derived.remove(&key).is_some(), "{key} was deleted twice");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn derived_state_is_the_store_plus_what_is_held(steps in steps()) {
        let mut world = World::default();
        let mut replica = Replica::new(HoldPolicy::default(), BTreeMap::new(), 0);
        for step in steps {
            let before = world.derived.len();
            let confirms = matches!(step, Step::Confirm);
            let changes = match step {
                Step::Batch(edits) => {
                    let events = world.edit(&edits);
                    replica.on_batch(Batch { revision: world.revision, events })
                }
                Step::Relist(edits) => {
                    world.edit(&edits);
                    replica.on_list(world.list())
                }
                Step::Emptied => {
                    world.store.clear();
                    world.revision = 1;
                    replica.on_list(world.list())
                }
                Step::Confirm => {
                    let held = replica.held().clone();
                    replica.confirm(&held)
                }
            };
            let deleted = changes.iter().filter(|change| matches!(change, Change::Delete { .. })).count();
            world.apply(changes);
            let suspicious = HoldPolicy::default().suspicious(deleted, before);
            prop_assert!(confirms || !suspicious, "{deleted} of {before} at once, and nobody confirmed it");

            let known: BTreeMap<_, _> =
                replica.known().iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect();
            prop_assert_eq!(&known, &world.derived, "every change was said");
            for (key, entry) in &world.store {
                prop_assert_eq!(&known[key], &entry.value, "what the store has is known");
            }
            let extra: BTreeSet<String> =
                known.keys().filter(|key| !world.store.contains_key(*key)).cloned().collect();
            prop_assert_eq!(&extra, replica.held(), "what the store has not is held, and nothing else");
        }
        let held = replica.held().clone();
        world.apply(replica.confirm(&held));
        let store: BTreeMap<_, _> = world.store.iter().map(|(key, e)| (key.clone(), e.value.clone())).collect();
        prop_assert_eq!(world.derived, store, "confirmed, both are the same");
    }
}
