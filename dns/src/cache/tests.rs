use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;
use crate::wire::query;
use crate::wire::record::Rcode;

fn name() -> Name {
    Name::from_ascii("a.example.").unwrap()
}

fn asked(edns: bool) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name(), RecordType::A));
    if edns {
        message.set_edns(Edns::new());
    }
    message.to_vec().unwrap()
}

fn entry(addresses: u8, ttl: u32, now: Instant) -> Arc<Entry> {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(name(), RecordType::A));
    for last in 0..addresses {
        let data = RData::A(A::new(192, 0, 2, last));
        message.answers.push(Record::from_rdata(name(), ttl + u32::from(last), data));
    }
    Arc::new(Entry::new(message.to_vec().unwrap(), Rcode::NO_ERROR, ttl, now).unwrap())
}

fn written(entry: &Entry, edns: bool, limit: usize, now: Instant) -> Message {
    let (asked, mut out) = (asked(edns), Vec::new());
    entry.write(&query::read(&asked).unwrap(), limit, now, &mut out);
    assert!(out.len() <= limit, "{} > {limit}", out.len());
    Message::from_vec(&out).unwrap()
}

fn key(number: usize) -> Key {
    number.to_be_bytes().into()
}

#[test]
fn seconds_go_down_and_end() {
    let begun = Instant::now();
    let entry = entry(2, 100, begun);
    let ttls = |after: u64| {
        let message = written(&entry, false, 512, begun + Duration::from_secs(after));
        message.answers.iter().map(|record| record.ttl).collect::<Vec<_>>()
    };
    assert_eq!((ttls(0), ttls(99)), (vec![100, 101], vec![1, 2]));
    assert!(
        entry.is_fresh(begun + Duration::from_secs(99)) && !entry.is_fresh(begun + Duration::from_secs(100))
    );
    assert_eq!(ttls(100), [30, 30], "what is too old is not kept for long");
    assert!(entry.is_usable(begun + Duration::from_secs(3699), STALE));
    assert!(!entry.is_usable(begun + Duration::from_secs(3700), STALE));
}

#[test]
fn what_does_not_fit_is_cut_off_between_records() {
    let now = Instant::now();
    let entry = entry(100, 60, now);
    for edns in [false, true] {
        for limit in 512..1300 {
            let message = written(&entry, edns, limit, now);
            assert!(message.metadata.truncation && message.answers.len() < 100);
            assert_eq!(message.edns.is_some(), edns);
        }
    }
    let whole = written(&entry, true, 4096, now);
    assert!(!whole.metadata.truncation && whole.answers.len() == 100);
}

#[test]
fn room_is_bounded_and_the_first_goes_first() {
    let now = Instant::now();
    let (cache, entry) = (Cache::new(640), entry(1, 60, now));
    for number in 0..10_000 {
        cache.insert(key(number), Arc::clone(&entry));
        cache.insert(key(number), Arc::clone(&entry));
        assert!(cache.fresh(&key(number), now).is_some());
    }
    assert!(cache.len() <= 640, "{}", cache.len());
    let there = (0..10_000).filter(|number| cache.lookup(&key(*number)).is_some()).count();
    assert_eq!(there, cache.len());
    assert!(cache.lookup(&key(0)).is_none());
    assert_eq!(usize::try_from(cache.evictions[0].load(Ordering::Relaxed)).unwrap() + there, 10_000);
}

#[test]
fn no_room_is_no_cache() {
    let cache = Cache::new(0);
    cache.insert(key(1), entry(1, 60, Instant::now()));
    assert!(cache.is_empty() && cache.lookup(&key(1)).is_none());
}

#[test]
fn only_what_is_popular_is_asked_for_again_and_once() {
    let begun = Instant::now();
    let late = begun + Duration::from_secs(95);
    let rare = entry(1, 100, begun);
    assert!(!rare.wants_prefetch(late));
    let popular = entry(1, 100, begun);
    for _ in 0..10 {
        assert!(!popular.wants_prefetch(begun + Duration::from_secs(50)));
    }
    assert!(popular.wants_prefetch(late));
    assert!(!popular.wants_prefetch(late));
}

#[test]
fn a_flood_of_names_takes_no_place_from_those_in_use() {
    let cache = Cache::new(6400);
    let now = Instant::now();
    for number in 0..100 {
        cache.insert(key(number), entry(1, 60, now));
    }
    for round in 1..200 {
        for number in 0..100 {
            assert!(cache.fresh(&key(number), now).is_some(), "{number} in round {round}");
        }
        for number in 0..100 {
            cache.insert(key(round * 1000 + number), entry(0, 60, now));
        }
        assert!(cache.len() <= 6400);
    }
    let [success, denial] = cache.kept();
    assert_eq!(success, 100);
    assert_eq!(denial, cache.len() - 100);
}
