//! What every store promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use store::cluster::{
    ClusterError, ClusterStore, Collection, Event, Expect, MAX_TXN_OPS, MAX_VALUE_BYTES, Put, Revision, Txn,
    Watch, WatchEnd, Writer,
};

use crate::bed::Bed;

crate::on_both_stores! {
    what_was_put_is_read_with_its_revision_and_listed_in_order
    conditions_that_do_not_hold_are_named_and_nothing_changes
    a_transaction_is_one_revision_and_one_batch
    deferred_changes_are_changes_in_order_like_all_others
    of_many_threads_that_create_one_entry_exactly_one_wins
    no_increment_by_condition_is_lost_or_made_twice
    a_watch_from_a_revision_sees_every_change_once_and_in_order
    a_watch_of_compacted_changes_ends_by_that_name
    a_watch_from_the_future_ends_by_that_name
    a_watch_that_hears_nothing_returns_in_time
    a_lease_that_is_not_renewed_takes_its_entries_along_and_watches_see_it
    a_lease_that_is_renewed_lives
    an_entry_put_anew_leaves_its_old_lease
    a_revoked_lease_is_over_at_once
    lists_longer_than_a_page_are_complete
    what_no_store_can_take_is_refused_before_it_is_sent
    objects_are_read_and_written_by_type
}

const SOON: Duration = Duration::from_secs(5);

fn keys_of(store: &dyn ClusterStore, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap().entries.into_iter().map(|entry| entry.key).collect()
}

fn what_was_put_is_read_with_its_revision_and_listed_in_order(bed: &dyn Bed) {
    let store = bed.store();
    assert_eq!(store.get("/p/a").unwrap(), None);
    let first = store.put("/p/b", b"1", Expect::Any).unwrap();
    let second = store.put("/p/a", b"2", Expect::Absent).unwrap();
    let third = store.put("/p/b", b"3", Expect::Revision(first)).unwrap();
    store.put("/q/a", b"4", Expect::Any).unwrap();
    store.put("/p", b"not below /p/", Expect::Any).unwrap();
    assert!(first < second && second < third);

    let entry = bed.another().get("/p/b").unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.revision, entry.lease), (&b"3"[..], third, None));
    let listing = store.list("/p/").unwrap();
    assert_eq!(listing.entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["/p/a", "/p/b"]);
    assert!(listing.revision >= third + 2);
    assert_eq!(listing.entries[0].revision, second);

    let deleted = store.delete("/p/a", Expect::Present).unwrap();
    assert!(deleted > listing.revision);
    assert_eq!(keys_of(&*store, "/p/"), ["/p/b"]);
    let same = store.delete("/p/a", Expect::Any).unwrap();
    assert_eq!(same, deleted, "deleting nothing costs no revision");
}

fn conditions_that_do_not_hold_are_named_and_nothing_changes(bed: &dyn Bed) {
    let store = bed.store();
    let revision = store.put("/p/a", b"1", Expect::Absent).unwrap();
    let refused = |expect| match store.put("/p/a", b"2", expect).unwrap_err() {
        ClusterError::Conflict { key, expected, found } => {
            assert_eq!((key.as_str(), expected, found), ("/p/a", expect, Some(revision)));
        }
        other => panic!("{other}"),
    };
    refused(Expect::Absent);
    refused(Expect::Revision(revision + 1));
    let error = store.delete("/p/none", Expect::Present).unwrap_err().to_string();
    assert_eq!(error, "/p/none is not as expected: expected an entry, found no entry");

    let txn = Txn::new()
        .when("/p/a", Expect::Revision(revision))
        .when("/p/b", Expect::Absent)
        .when("/p/c", Expect::Present)
        .put("/p/b", b"new")
        .delete("/p/a");
    match store.commit(&txn).unwrap_err() {
        ClusterError::Conflict { key, found, .. } => assert_eq!((key.as_str(), found), ("/p/c", None)),
        other => panic!("{other}"),
    }
    assert_eq!(keys_of(&*store, "/p/"), ["/p/a"]);
    assert_eq!(store.list("/p/").unwrap().revision, revision, "a refused change costs no revision");
}

fn a_transaction_is_one_revision_and_one_batch(bed: &dyn Bed) {
    let store = bed.store();
    let before = store.put("/p/a", b"1", Expect::Any).unwrap();
    let mut watch = store.watch("/p/", before + 1).unwrap();
    let txn = Txn::new().put("/p/c", b"2").delete("/p/a").put("/q/x", b"3").put("/p/b", b"4");
    let revision = store.commit(&txn).unwrap();
    assert_eq!(revision, before + 1);
    for entry in store.list("/p/").unwrap().entries {
        assert_eq!(entry.revision, revision, "{}", entry.key);
    }
    let batch = watch.next(SOON).unwrap().expect("the transaction");
    assert_eq!(batch.revision, revision);
    assert_eq!(batch.events.iter().map(Event::key).collect::<Vec<_>>(), ["/p/c", "/p/a", "/p/b"]);
    assert!(matches!(&batch.events[1], Event::Delete { .. }));
}

fn deferred_changes_are_changes_in_order_like_all_others(bed: &dyn Bed) {
    let store = bed.store();
    let before = store.put("/p/a", b"1", Expect::Any).unwrap();
    let mut watch = store.watch("/p/", before + 1).unwrap();
    let writer = Writer::deferring(&*store);
    assert_eq!(writer.committed(), None);
    for n in 2u64..5 {
        let revision =
            writer.put("/p/a", n.to_string().as_bytes(), Expect::Revision(before + n - 2)).unwrap();
        assert_eq!((revision, writer.committed()), (before + n - 1, Some(revision)));
        assert_eq!(bed.another().get("/p/a").unwrap().unwrap().revision, revision);
        assert_eq!(watch.next(SOON).unwrap().expect("a deferred change").revision, revision);
    }
    writer.put("/p/a", b"x", Expect::Absent).unwrap_err();
    writer.sync().unwrap();
    assert_eq!(store.put("/p/b", b"5", Expect::Absent).unwrap(), before + 4);
}

fn of_many_threads_that_create_one_entry_exactly_one_wins(bed: &dyn Bed) {
    let winners = AtomicUsize::new(0);
    for round in 0..10 {
        let key = format!("/race/{round}");
        let barrier = std::sync::Barrier::new(16);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (store, key, winners, barrier) = (bed.store(), &key, &winners, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    match store.put(key, thread.to_string().as_bytes(), Expect::Absent) {
                        Ok(_) => _ = winners.fetch_add(1, Ordering::Relaxed),
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                });
            }
        });
        assert_eq!(winners.swap(0, Ordering::Relaxed), 1, "round {round}");
    }
}

fn no_increment_by_condition_is_lost_or_made_twice(bed: &dyn Bed) {
    bed.store().put("/counter", b"0", Expect::Absent).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let store = bed.another();
            scope.spawn(move || {
                for _ in 0..15 {
                    increment(&*store);
                }
            });
        }
    });
    assert_eq!(bed.store().get("/counter").unwrap().unwrap().value, b"120");
}

fn increment(store: &dyn ClusterStore) {
    loop {
        let entry = store.get("/counter").unwrap().unwrap();
        let count: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        match store.put("/counter", (count + 1).to_string().as_bytes(), Expect::Revision(entry.revision)) {
            Ok(_) => return,
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
}

fn a_watch_from_a_revision_sees_every_change_once_and_in_order(bed: &dyn Bed) {
    let store = bed.store();
    let before = store.put("/p/old", b"", Expect::Any).unwrap();
    let mut revisions: Vec<Revision> =
        (0..20).map(|n| store.put(&format!("/p/{n}"), b"past", Expect::Any).unwrap()).collect();
    let mut watch = store.watch("/p/", before + 1).unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = bed.another();
                scope.spawn(move || {
                    (0..25)
                        .map(|n| {
                            store.put("/other/x", b"", Expect::Any).unwrap();
                            store.put(&format!("/p/{writer}-{n}"), b"now", Expect::Any).unwrap()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let seen: Vec<Revision> =
            (0..120).map(|_| watch.next(SOON).unwrap().expect("a change").revision).collect();
        for writer in writers {
            revisions.extend(writer.join().unwrap());
        }
        revisions.sort_unstable();
        assert_eq!(seen, revisions);
    });
    assert_eq!(watch.next(Duration::from_millis(200)).unwrap(), None);
}

fn a_watch_of_compacted_changes_ends_by_that_name(bed: &dyn Bed) {
    let store = bed.store();
    let first = store.put("/p/a", b"1", Expect::Any).unwrap();
    let last = (0..5).fold(first, |_, _| store.put("/p/a", b"2", Expect::Any).unwrap());
    bed.compact(last);
    let mut watch = store.watch("/p/", first).unwrap();
    match watch.next(SOON) {
        Err(WatchEnd::Compacted { oldest }) => assert!(oldest >= last, "{oldest}"),
        other => panic!("{other:?}"),
    }
    // List and watch again is the way out.
    let mut watch = store.watch("/p/", store.list("/p/").unwrap().revision + 1).unwrap();
    let next = store.put("/p/a", b"3", Expect::Any).unwrap();
    assert_eq!(watch.next(SOON).unwrap().unwrap().revision, next);
}

fn a_watch_from_the_future_ends_by_that_name(bed: &dyn Bed) {
    let store = bed.store();
    let now = store.put("/p/a", b"1", Expect::Any).unwrap();
    let mut watch = store.watch("/p/", now + 100).unwrap();
    match watch.next(SOON) {
        Err(WatchEnd::Behind { from, store }) => assert_eq!((from, store), (now + 100, now)),
        other => panic!("{other:?}"),
    }
}

fn a_watch_that_hears_nothing_returns_in_time(bed: &dyn Bed) {
    let store = bed.store();
    let revision = store.put("/q/a", b"1", Expect::Any).unwrap();
    let mut watch = store.watch("/p/", revision + 1).unwrap();
    let began = Instant::now();
    assert_eq!(watch.next(Duration::from_millis(300)).unwrap(), None);
    let took = began.elapsed();
    assert!((300..1000).contains(&took.as_millis()), "{took:?}");
    // Longer than a silent server would be given: it is not silent, there is just nothing to say.
    assert_eq!(watch.next(Duration::from_millis(2500)).unwrap(), None);
    drop(store);
    assert!(watch.next(Duration::ZERO).unwrap().is_none());
}

/// Until the entry is deleted.
fn wait_for_delete(watch: &mut dyn Watch, key: &str, limit: Duration) -> Duration {
    let began = Instant::now();
    while began.elapsed() < limit {
        let batch = watch.next(Duration::from_millis(100)).unwrap();
        for event in batch.into_iter().flat_map(|batch| batch.events) {
            if matches!(&event, Event::Delete { key: deleted } if deleted == key) {
                return began.elapsed();
            }
        }
    }
    panic!("{key} was not deleted within {limit:?}");
}

fn a_lease_that_is_not_renewed_takes_its_entries_along_and_watches_see_it(bed: &dyn Bed) {
    let store = bed.store();
    let lease = store.grant(Duration::from_secs(2)).unwrap();
    let txn = Txn::new().put_leased("/p/a", b"1", lease).put_leased("/p/b", b"2", lease).put("/p/c", b"3");
    let revision = store.commit(&txn).unwrap();
    assert_eq!(store.get("/p/a").unwrap().unwrap().lease, Some(lease));
    let mut watch = store.watch("/p/", revision + 1).unwrap();
    let took = wait_for_delete(&mut *watch, "/p/a", Duration::from_secs(8));
    assert!(took > Duration::from_millis(1500), "{took:?} is too early");
    assert_eq!(keys_of(&*store, "/p/"), ["/p/c"]);
    assert!(matches!(store.keep_alive(lease), Err(ClusterError::LeaseLost { lease: l }) if l == lease));
    let late = store.commit(&Txn::new().put_leased("/p/a", b"1", lease));
    assert!(matches!(late, Err(ClusterError::LeaseLost { lease: l }) if l == lease), "{late:?}");
    store.revoke(lease).unwrap();
}

fn a_lease_that_is_renewed_lives(bed: &dyn Bed) {
    let store = bed.store();
    let lease = store.grant(Duration::from_secs(2)).unwrap();
    store.commit(&Txn::new().put_leased("/p/a", b"1", lease)).unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        let left = store.keep_alive(lease).unwrap();
        assert!((1..=3).contains(&left.as_secs()), "{left:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(store.get("/p/a").unwrap().is_some());
}

fn an_entry_put_anew_leaves_its_old_lease(bed: &dyn Bed) {
    let store = bed.store();
    let (old, new) =
        (store.grant(Duration::from_secs(60)).unwrap(), store.grant(Duration::from_secs(60)).unwrap());
    assert_ne!(old, new);
    store.commit(&Txn::new().put_leased("/p/a", b"1", old).put_leased("/p/b", b"1", old)).unwrap();
    store.commit(&Txn::new().put_leased("/p/a", b"2", new).put("/p/b", b"2")).unwrap();
    store.revoke(old).unwrap();
    assert_eq!(keys_of(&*store, "/p/"), ["/p/a", "/p/b"]);
    store.revoke(new).unwrap();
    assert_eq!(keys_of(&*store, "/p/"), ["/p/b"]);
}

fn a_revoked_lease_is_over_at_once(bed: &dyn Bed) {
    let store = bed.store();
    let lease = store.grant(Duration::from_secs(60)).unwrap();
    let revision = store.commit(&Txn::new().put_leased("/p/a", b"1", lease)).unwrap();
    let mut watch = store.watch("/p/", revision + 1).unwrap();
    store.revoke(lease).unwrap();
    assert!(store.get("/p/a").unwrap().is_none());
    assert_eq!(watch.next(SOON).unwrap().unwrap().events, [Event::Delete { key: "/p/a".to_owned() }]);
    store.revoke(lease).unwrap();
    assert!(matches!(store.keep_alive(lease), Err(ClusterError::LeaseLost { .. })));
}

fn lists_longer_than_a_page_are_complete(bed: &dyn Bed) {
    let store = bed.store();
    for page in 0..4 {
        let txn = (0..100).fold(Txn::new(), |txn, n| txn.put(&format!("/p/{page}-{n}"), b"x"));
        store.commit(&txn).unwrap();
    }
    let keys = keys_of(&*store, "/p/");
    assert_eq!(keys.len(), 400);
    assert!(keys.is_sorted());
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 400);
}

fn what_no_store_can_take_is_refused_before_it_is_sent(bed: &dyn Bed) {
    let store = bed.store();
    let large = vec![b'x'; MAX_VALUE_BYTES];
    store.put("/p/large", &large, Expect::Any).unwrap();
    assert_eq!(store.get("/p/large").unwrap().unwrap().value, large);
    let refused = |txn: Txn| store.commit(&txn).unwrap_err().to_string();
    assert!(refused(Txn::new().put("/p/a", &vec![0; MAX_VALUE_BYTES + 1])).starts_with("/p/a: 262145 bytes"));
    let much = (0..5).fold(Txn::new(), |txn, n| txn.put(&format!("/p/{n}"), &large));
    assert!(refused(much).starts_with("transaction: "));
    let many = (0..=MAX_TXN_OPS).fold(Txn::new(), |txn, n| txn.put(&format!("/p/{n}"), b""));
    assert!(refused(many).contains("129 parts"));
    assert!(refused(Txn::new().put("/p/a", b"1").delete("/p/a")).contains("changes it twice"));
    assert!(refused(Txn::new().put("p/a", b"1")).contains("must begin with '/'"));
    assert!(refused(Txn::new().put(&format!("/{}", "x".repeat(512)), b"1")).contains("longer than 512"));
    assert!(store.get("/p/\0").is_err());
    assert!(store.list("").is_err());
    assert_eq!(keys_of(&*store, "/p/"), ["/p/large"]);
}

fn objects_are_read_and_written_by_type(bed: &dyn Bed) {
    let store = bed.store();
    let numbers: Collection<Vec<u32>> = Collection::new(Arc::clone(&store), "/numbers/");
    let first = numbers.put("default/a", &vec![1, 2], Put::New).unwrap();
    assert!(numbers.put("default/a", &vec![3], Put::New).unwrap_err().is_conflict());
    let second = numbers.put("default/a", &vec![4], Put::At(first)).unwrap();
    numbers.put("default/b", &vec![], Put::Over).unwrap();
    store.put("/numbers/default/c", b"{\"not\": \"a list\"}", Expect::Any).unwrap();
    let read = numbers.get("default/a").unwrap().unwrap();
    assert_eq!((read.name.as_str(), read.revision, read.value), ("default/a", second, vec![4]));
    let (_, objects) = numbers.list().unwrap();
    assert_eq!(objects.len(), 3);
    let error = objects[2].as_ref().unwrap_err().to_string();
    assert!(error.contains("/numbers/default/c is not what this release writes"), "{error}");
    numbers.delete("default/a", Some(second)).unwrap();
    assert!(numbers.delete("default/a", None).unwrap_err().is_conflict());
    assert_eq!(numbers.get("default/a").unwrap(), None);
}
