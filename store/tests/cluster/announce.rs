//! One owner for each address of a load balancer, on either store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use store::cluster::{ClusterStore, Event};
use store::services::announce::{ANNOUNCE, ANNOUNCERS, Announcer, AnnouncerRecord, Owner, in_order, owners};

use crate::bed::{Bed, eventually};
use crate::on_both_stores;

on_both_stores! {
    addresses_go_to_the_first_in_order
    the_next_one_takes_what_nobody_takes
    an_owner_keeps_its_address_while_it_may
    a_node_that_stops_hands_over_at_once
    a_dead_nodes_addresses_are_free_within_three_seconds
    a_node_that_comes_back_in_time_keeps_its_addresses
    there_are_never_two_owners
    a_node_stands_for_what_it_has_until_the_store_says_otherwise_and_knows_how_long_that_is_sure
    a_node_lets_go_before_the_store_hears_of_it
    a_node_stands_for_nothing_that_it_had_under_another_lease
}

/// etcd's shortest.
const TTL: Duration = Duration::from_secs(2);

const NODES: [&str; 3] = ["a", "b", "c"];

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

/// Who may have the addresses up to `count`.
fn may(count: u8, nodes: &[&str]) -> BTreeMap<Ipv4Addr, BTreeSet<String>> {
    let nodes: BTreeSet<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
    (1..=count).map(|last| (address(last), nodes.clone())).collect()
}

fn join(bed: &dyn Bed, node: &str) -> Announcer {
    let mut announcer = Announcer::new(bed.another(), node, TTL);
    announcer.keep(Some(&AnnouncerRecord::default()), Instant::now()).unwrap();
    announcer
}

fn known(store: &dyn ClusterStore) -> BTreeMap<Ipv4Addr, Owner> {
    owners(&store.list(ANNOUNCE).unwrap().entries)
}

/// As it would with a mirror that is up to date.
fn settle(
    bed: &dyn Bed,
    announcer: &mut Announcer,
    may: &BTreeMap<Ipv4Addr, BTreeSet<String>>,
    now: Instant,
) {
    announcer.settle(may, &known(&*bed.store()), now, &mut |_| ()).unwrap();
}

fn owned_by(bed: &dyn Bed, node: &str) -> Vec<Ipv4Addr> {
    let all = known(&*bed.store());
    all.into_iter().filter(|(_, owner)| owner.node == node).map(|(address, _)| address).collect()
}

fn first(address: Ipv4Addr, nodes: &[&str]) -> String {
    in_order(address, nodes.iter().copied())[0].to_owned()
}

fn addresses_go_to_the_first_in_order(bed: &dyn Bed) {
    let may = may(100, &NODES);
    let mut all = NODES.map(|node| join(bed, node));
    let now = Instant::now();
    for announcer in &mut all {
        settle(bed, announcer, &may, now);
        announcer.keep(Some(&AnnouncerRecord::default()), Instant::now()).unwrap();
    }
    let found = known(&*bed.store());
    assert_eq!(found.len(), 100);
    for (address, owner) in found {
        assert_eq!(owner.node, first(address, &NODES), "{address}");
    }
    assert_eq!(bed.store().list(ANNOUNCERS).unwrap().entries.len(), 3);
}

fn the_next_one_takes_what_nobody_takes(bed: &dyn Bed) {
    let may = may(20, &NODES);
    let mut c = join(bed, "c");
    let now = Instant::now();
    settle(bed, &mut c, &may, now);
    let at_once = owned_by(bed, "c").len();
    assert!((1..20).contains(&at_once), "{at_once}");
    settle(bed, &mut c, &may, now + Duration::from_millis(999));
    assert_eq!(owned_by(bed, "c").len(), at_once);
    settle(bed, &mut c, &may, now + Duration::from_secs(2));
    assert_eq!(owned_by(bed, "c").len(), 20);
}

fn an_owner_keeps_its_address_while_it_may(bed: &dyn Bed) {
    let mut a = join(bed, "a");
    settle(bed, &mut a, &may(20, &["a"]), Instant::now());
    assert_eq!(owned_by(bed, "a").len(), 20);
    let revision = bed.store().list(ANNOUNCE).unwrap().revision;
    // Others come, and then nobody may any more.
    let mut b = join(bed, "b");
    for nodes in [&["a", "b"][..], &[]] {
        for announcer in [&mut a, &mut b] {
            settle(bed, announcer, &may(20, nodes), Instant::now());
        }
    }
    assert!(known(&*bed.store()).values().all(|owner| owner.node == "a" && owner.revision <= revision));
    // Another one may, and it may not.
    settle(bed, &mut a, &may(20, &["b"]), Instant::now());
    assert_eq!(known(&*bed.store()).len(), 0);
    settle(bed, &mut b, &may(20, &["b"]), Instant::now());
    assert_eq!(owned_by(bed, "b").len(), 20);
    // And the address is no load balancer's any more.
    settle(bed, &mut b, &may(5, &["b"]), Instant::now());
    assert_eq!(owned_by(bed, "b").len(), 5);
}

fn a_node_that_stops_hands_over_at_once(bed: &dyn Bed) {
    let (mut a, mut b) = (join(bed, "a"), join(bed, "b"));
    settle(bed, &mut a, &may(3, &["a"]), Instant::now());
    a.withdraw().unwrap();
    assert_eq!(known(&*bed.store()).len(), 0);
    assert_eq!(bed.store().list(ANNOUNCERS).unwrap().entries.len(), 1);
    settle(bed, &mut b, &may(3, &["b"]), Instant::now());
    assert_eq!(owned_by(bed, "b").len(), 3);
    // It comes back, and takes nothing.
    a.keep(Some(&AnnouncerRecord::default()), Instant::now()).unwrap();
    settle(bed, &mut a, &may(3, &["a", "b"]), Instant::now());
    assert_eq!(owned_by(bed, "b").len(), 3);
}

fn a_dead_nodes_addresses_are_free_within_three_seconds(bed: &dyn Bed) {
    let (mut a, mut b) = (join(bed, "a"), join(bed, "b"));
    settle(bed, &mut a, &may(3, &["a"]), Instant::now());
    let record = AnnouncerRecord::default();
    a.keep(Some(&record), Instant::now() + Announcer::RENEW_AFTER).unwrap();
    // From here on nobody renews a's lease. Generous: the figure is measured, and printed.
    let took = eventually("the addresses of a dead node are free", Duration::from_secs(20), || {
        b.keep(Some(&record), Instant::now()).unwrap();
        settle(bed, &mut b, &may(3, &["b"]), Instant::now());
        owned_by(bed, "b").len() == 3
    });
    println!("taken over {took:.2?} after the last word of the dead node");
    assert!(took > Duration::from_secs(1), "its lease lives");
}

fn a_node_that_comes_back_in_time_keeps_its_addresses(bed: &dyn Bed) {
    let mut a = join(bed, "a");
    settle(bed, &mut a, &may(3, &["a"]), Instant::now());
    let before = known(&*bed.store());
    drop(a);
    let mut again = join(bed, "a");
    settle(bed, &mut again, &may(3, &["a"]), Instant::now());
    let after = known(&*bed.store());
    assert!(after.values().all(|owner| owner.node == "a"));
    assert!(before.iter().all(|(address, owner)| after[address].lease != owner.lease), "under the new lease");
}

fn a_node_stands_for_what_it_has_until_the_store_says_otherwise_and_knows_how_long_that_is_sure(
    bed: &dyn Bed,
) {
    let before = Instant::now();
    let mut a = join(bed, "a");
    let after = Instant::now();
    let until = a.held_until().unwrap();
    assert!(before + TTL / 2 < until && until < after + TTL, "before the store ends it");
    settle(bed, &mut a, &may(3, &["a"]), Instant::now());
    let owners = known(&*bed.store());
    assert_eq!(a.stands_for(&owners).len(), 3);
    // Counted from before the store was asked.
    let asked = Instant::now() + Duration::from_millis(1);
    a.keep(Some(&AnnouncerRecord::default()), asked + Announcer::RENEW_AFTER).unwrap();
    let renewed = a.held_until().unwrap();
    assert!(until < renewed && renewed < asked + Announcer::RENEW_AFTER + TTL);
    a.withdraw().unwrap();
    assert_eq!((a.held_until(), a.stands_for(&owners).len()), (None, 0));
}

fn a_node_lets_go_before_the_store_hears_of_it(bed: &dyn Bed) {
    let mut a = join(bed, "a");
    settle(bed, &mut a, &may(3, &["a"]), Instant::now());
    let owners = known(&*bed.store());
    let mut may = may(3, &["a"]);
    may.insert(address(2), BTreeSet::from(["b".to_owned()]));
    let mut heard = Vec::new();
    a.settle(&may, &owners, Instant::now(), &mut |a| {
        heard.push((a.stands_for(&owners), known(&*bed.store()).len()));
    })
    .unwrap();
    let left = BTreeSet::from([address(1), address(3)]);
    assert_eq!(heard, [(left.clone(), 3)], "the store has it still");
    assert_eq!(known(&*bed.store()).len(), 2);
    // A mirror that has not heard of it changes nothing.
    assert_eq!(a.stands_for(&owners), left);
    // It may have it again.
    may.insert(address(2), BTreeSet::from(["a".to_owned()]));
    settle(bed, &mut a, &may, Instant::now());
    assert_eq!(a.stands_for(&known(&*bed.store())).len(), 3);
}

fn a_node_stands_for_nothing_that_it_had_under_another_lease(bed: &dyn Bed) {
    let mut a = join(bed, "a");
    settle(bed, &mut a, &may(3, &["a"]), Instant::now());
    // It was killed, and starts again.
    let mut again = join(bed, "a");
    let before = known(&*bed.store());
    assert!(again.stands_for(&before).is_empty(), "that lease may end at any moment");
    settle(bed, &mut again, &may(3, &["a"]), Instant::now());
    assert_eq!(again.stands_for(&known(&*bed.store())).len(), 3);
    assert!(a.stands_for(&known(&*bed.store())).is_empty());
}

/// The store's history says it: between two owners of an address there is a deletion.
fn there_are_never_two_owners(bed: &dyn Bed) {
    const ADDRESSES: u8 = 8;
    let store = bed.store();
    let from = store.list(ANNOUNCE).unwrap().revision + 1;
    std::thread::scope(|scope| {
        for (number, node) in NODES.into_iter().enumerate() {
            scope.spawn(move || {
                let store = bed.another();
                let mut announcer = Announcer::new(std::sync::Arc::clone(&store), node, TTL);
                for round in 0..30 {
                    announcer.keep(Some(&AnnouncerRecord::default()), Instant::now()).unwrap();
                    // Views that differ from node to node and change all the time.
                    let mut may = may(ADDRESSES, &NODES);
                    for (at, nodes) in may.values_mut().enumerate() {
                        nodes.remove(NODES[(at + round / 3 + number) % 3]);
                    }
                    let known = owners(&store.list(ANNOUNCE).unwrap().entries);
                    let _ = announcer
                        .settle(&may, &known, Instant::now() + Duration::from_secs(5), &mut |_| ())
                        .unwrap();
                    if round % 10 == 5 + number {
                        announcer.withdraw().unwrap();
                    }
                }
            });
        }
    });
    let mut watch = store.watch(ANNOUNCE, from).unwrap();
    let mut owner: BTreeMap<String, String> = BTreeMap::new();
    let mut taken = 0;
    while let Some(batch) = watch.next(Duration::from_millis(500)).unwrap() {
        for event in batch.events {
            match event {
                Event::Put(entry) => {
                    let node: String = serde_json::from_slice(&entry.value).unwrap();
                    let before = owner.insert(entry.key.clone(), node.clone());
                    assert!(before.is_none_or(|before| before == node), "{}: two owners", entry.key);
                    taken += 1;
                }
                Event::Delete { key } => _ = owner.remove(&key),
            }
        }
    }
    assert!(taken > ADDRESSES.into(), "{taken}");
}
