//! A prefix kept as a map, on both stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use store::cluster::mirror::Change;
use store::cluster::{
    ClusterStore, Collection, Expect, Mirror, MirrorOptions, MirrorState, ObjectChange, Put, Txn,
};

use crate::bed::{Bed, eventually};

crate::on_both_stores! {
    a_mirror_has_what_was_there_and_follows_what_happens
    a_mirror_that_is_asked_says_how_far_it_is
    a_reader_that_is_slow_misses_nothing
    many_writers_and_a_compaction_leave_the_mirror_as_the_store
    most_objects_gone_at_once_are_held_until_confirmed
    what_is_held_for_long_enough_may_need_no_confirmation
    what_was_known_before_is_not_said_again_and_what_went_away_meanwhile_is
}

pub(crate) const SOON: Duration = Duration::from_secs(5);

pub(crate) fn mirror(store: &Arc<dyn ClusterStore>) -> Mirror {
    Mirror::start(Arc::clone(store), MirrorOptions::new("/p/")).unwrap()
}

pub(crate) fn put(store: &dyn ClusterStore, name: &str, value: &str) {
    store.put(&format!("/p/{name}"), value.as_bytes(), Expect::Any).unwrap();
}

/// The next change, as "name=value" or "-name".
pub(crate) fn next(mirror: &Mirror) -> String {
    let name = |key: &str| key.strip_prefix("/p/").unwrap().to_owned();
    match mirror.changes().recv_timeout(SOON).expect("a change") {
        Change::Put(entry) => format!("{}={}", name(&entry.key), String::from_utf8(entry.value).unwrap()),
        Change::Delete { key } => format!("-{}", name(&key)),
    }
}

pub(crate) fn wait_synced(mirror: &Mirror) -> Duration {
    eventually("the mirror is synced", Duration::from_secs(20), || mirror.state() == MirrorState::Synced)
}

fn a_mirror_has_what_was_there_and_follows_what_happens(bed: &dyn Bed) {
    let store = bed.store();
    put(&*store, "b", "1");
    put(&*store, "a", "2");
    let mirror = mirror(&store);
    assert_eq!([next(&mirror), next(&mirror)], ["a=2", "b=1"]);
    wait_synced(&mirror);
    put(&*store, "c", "3");
    store.delete("/p/a", Expect::Present).unwrap();
    put(&*store, "c", "4");
    store.put("/q/other", b"", Expect::Any).unwrap();
    assert_eq!([next(&mirror), next(&mirror), next(&mirror)], ["c=3", "-a", "c=4"]);
    assert_eq!(mirror.known().0.keys().collect::<Vec<_>>(), ["/p/b", "/p/c"]);
    assert_eq!(mirror.problem(), None);
    assert!(mirror.changes().try_recv().is_err());

    let words: Collection<u32> = Collection::new(Arc::clone(&store), "/p/");
    words.put("d", &7, Put::New).unwrap();
    match words.change(&mirror.changes().recv_timeout(SOON).unwrap()) {
        ObjectChange::Put(object) => assert_eq!((object.name.as_str(), object.value), ("d", 7)),
        other => panic!("{other:?}"),
    }
}

/// Changes elsewhere are none of its own, so it hears of their revision only when it asks.
fn a_mirror_that_is_asked_says_how_far_it_is(bed: &dyn Bed) {
    let store = bed.store();
    put(&*store, "a", "1");
    let mirror = mirror(&store);
    assert_eq!(next(&mirror), "a=1");
    wait_synced(&mirror);
    let own = store.put("/p/b", b"2", Expect::Any).unwrap();
    eventually("its own change is told", SOON, || mirror.told() == own);
    assert_eq!(mirror.changes().try_iter().count(), 1, "what is told is in the channel");
    let other = store.put("/q/other", b"", Expect::Any).unwrap();
    assert!(mirror.told() < other);
    eventually("it is asked until it knows", SOON, || {
        mirror.probe();
        mirror.told() >= other
    });
    assert!(mirror.changes().try_recv().is_err());
}

fn a_reader_that_is_slow_misses_nothing(bed: &dyn Bed) {
    let store = bed.store();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&wakes);
    let wake: Box<dyn Fn() + Send> = Box::new(move || _ = counted.fetch_add(1, Ordering::Relaxed));
    let options = MirrorOptions { queue: 2, wake: Some(wake), ..MirrorOptions::new("/p/") };
    let mirror = Mirror::start(Arc::clone(&store), options).unwrap();
    wait_synced(&mirror);
    for n in 0..300 {
        put(&*store, "a", &n.to_string());
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(mirror.changes().len() <= 2);
    for n in 0..300 {
        assert_eq!(next(&mirror), format!("a={n}"));
    }
    assert!(wakes.load(Ordering::Relaxed) >= 2);
    // Ends with a full queue, too.
    for n in 0..10 {
        put(&*store, "a", &n.to_string());
    }
    drop(mirror);
}

fn many_writers_and_a_compaction_leave_the_mirror_as_the_store(bed: &dyn Bed) {
    let store = bed.store();
    let mirror = mirror(&store);
    wait_synced(&mirror);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = bed.another();
            scope.spawn(move || {
                for n in 0..60 {
                    let name = format!("{writer}-{}", n % 10);
                    if n % 7 == 6 {
                        store.delete(&format!("/p/{name}"), Expect::Any).unwrap();
                    } else {
                        put(&*store, &name, &n.to_string());
                    }
                }
            });
        }
        bed.compact(store.list("/p/").unwrap().revision);
    });
    let end = store.list("/p/").unwrap();
    let wanted: BTreeMap<String, Vec<u8>> = end.entries.into_iter().map(|e| (e.key, e.value)).collect();
    let mut derived = BTreeMap::new();
    eventually("the mirror has caught up", SOON, || {
        for change in mirror.changes().try_iter() {
            match change {
                Change::Put(entry) => _ = derived.insert(entry.key, entry.value),
                Change::Delete { key } => assert!(derived.remove(&key).is_some(), "{key} deleted twice"),
            }
        }
        derived == wanted
    });
    assert!(mirror.known().0.into_iter().map(|(key, e)| (key, e.value)).eq(wanted));
}

fn put_six(store: &dyn ClusterStore) {
    (0..6).for_each(|n| put(store, &n.to_string(), "x"));
}

/// Deletes the first `count` in one revision.
fn delete_at_once(store: &dyn ClusterStore, count: usize) {
    let txn = (0..count).fold(Txn::new(), |txn, n| txn.delete(&format!("/p/{n}")));
    store.commit(&txn).unwrap();
}

fn is_held(mirror: &Mirror, missing: usize, known: usize) -> bool {
    matches!(mirror.state(), MirrorState::Held { missing: m, known: k, .. } if (m, k) == (missing, known))
}

fn most_objects_gone_at_once_are_held_until_confirmed(bed: &dyn Bed) {
    let store = bed.store();
    put_six(&*store);
    let mirror = mirror(&store);
    (0..6).for_each(|n| assert_eq!(next(&mirror), format!("{n}=x")));
    delete_at_once(&*store, 5);
    eventually("the disappearance is held", SOON, || is_held(&mirror, 5, 6));
    put(&*store, "3", "x");
    put(&*store, "4", "y");
    assert_eq!(next(&mirror), "4=y", "an object that is back as it was is no change");
    eventually("two are back", SOON, || is_held(&mirror, 3, 6));
    assert_eq!(mirror.confirm().into_iter().collect::<Vec<_>>(), ["/p/0", "/p/1", "/p/2"]);
    assert_eq!([next(&mirror), next(&mirror), next(&mirror)], ["-0", "-1", "-2"]);
    wait_synced(&mirror);
}

fn what_is_held_for_long_enough_may_need_no_confirmation(bed: &dyn Bed) {
    let store = bed.store();
    put_six(&*store);
    let options =
        MirrorOptions { confirm_after: Some(Duration::from_millis(800)), ..MirrorOptions::new("/p/") };
    let mirror = Mirror::start(Arc::clone(&store), options).unwrap();
    (0..6).for_each(|n| assert_eq!(next(&mirror), format!("{n}=x")));
    delete_at_once(&*store, 6);
    let held = std::time::Instant::now();
    assert_eq!(next(&mirror), "-0");
    assert!(held.elapsed() > Duration::from_millis(700), "{:?}", held.elapsed());
    (1..6).for_each(|n| assert_eq!(next(&mirror), format!("-{n}")));
    wait_synced(&mirror);
}

fn what_was_known_before_is_not_said_again_and_what_went_away_meanwhile_is(bed: &dyn Bed) {
    let store = bed.store();
    put_six(&*store);
    let known = store.list("/p/").unwrap();
    store.delete("/p/5", Expect::Present).unwrap();
    put(&*store, "0", "y");
    let options = MirrorOptions { known: (known.entries, known.revision), ..MirrorOptions::new("/p/") };
    let mirror = Mirror::start(Arc::clone(&store), options).unwrap();
    assert_eq!([next(&mirror), next(&mirror)], ["-5", "0=y"]);
    wait_synced(&mirror);
    assert!(mirror.changes().is_empty());
}
