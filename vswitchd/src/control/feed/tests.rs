//! The feed's table against a reference that keeps every state there ever was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use protocol::feed::{FeedChange, FeedPosition, NameChange};
use protocol::message::PodRef;

use super::table::News;
use super::{FeedKey, FeedTable, MAX_FOLLOWERS};

const INSTANCE: u64 = 7;

fn key(number: u8) -> FeedKey {
    FeedKey::Pod("x".parse().unwrap(), format!("p{number}").parse().unwrap())
}

fn change(number: u8, at: u8) -> FeedChange {
    let pod = PodRef { namespace: "x".parse().unwrap(), name: format!("p{number}").parse().unwrap() };
    FeedChange::Name(NameChange::Pod { pod, address: [10, 0, 0, at].into() })
}

fn at(sequence: u64) -> Option<FeedPosition> {
    Some(FeedPosition { instance: INSTANCE, sequence })
}

fn now(table: &FeedTable, after: Option<FeedPosition>) -> News {
    table.news(after, Duration::ZERO).unwrap()
}

/// What a follower makes of changes.
fn heed(known: &mut BTreeMap<String, u8>, news: &News) {
    if news.from_scratch {
        known.clear();
    }
    for change in &news.changes {
        match &**change {
            FeedChange::Name(NameChange::Pod { pod, address: std::net::IpAddr::V4(v4) }) => {
                known.insert(pod.to_string(), v4.octets()[3]);
            }
            FeedChange::Name(NameChange::PodGone(pod)) => {
                assert!(!news.from_scratch, "who begins is told what is there only");
                known.remove(&pod.to_string());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Set(u8, u8),
    Remove(u8),
    /// A follower that has seen what was so at some earlier moment.
    Follow(prop::sample::Index),
    Stranger(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..6, 0u8..3).prop_map(|(number, at)| Op::Set(number, at)),
        3 => (0u8..6).prop_map(Op::Remove),
        3 => any::<prop::sample::Index>().prop_map(Op::Follow),
        1 => any::<u64>().prop_map(Op::Stranger),
    ]
}

proptest! {
    #[test]
    fn who_follows_from_anywhere_comes_to_what_is_so(
        ops in prop::collection::vec(any_op(), 1..120), remembered in 0usize..5,
    ) {
        let table = FeedTable::remembering(INSTANCE, remembered);
        table.set_complete();
        let mut current: BTreeMap<String, u8> = BTreeMap::new();
        let mut past = vec![(now(&table, None).position, current.clone())];
        for op in ops {
            match op {
                Op::Set(number, at) => {
                    table.set(key(number), change(number, at));
                    current.insert(format!("x/p{number}"), at);
                }
                Op::Remove(number) => {
                    table.remove(&key(number));
                    current.remove(&format!("x/p{number}"));
                }
                Op::Follow(which) => {
                    let (position, mut known) = which.get(&past).clone();
                    let news = now(&table, Some(position));
                    heed(&mut known, &news);
                    prop_assert_eq!(&known, &current);
                    past.push((news.position, known));
                }
                Op::Stranger(sequence) => {
                    let news = now(&table, Some(FeedPosition { instance: INSTANCE + 1, sequence }));
                    prop_assert!(news.from_scratch);
                    let mut known = BTreeMap::from([("x/other".to_owned(), 1)]);
                    heed(&mut known, &news);
                    prop_assert_eq!(&known, &current);
                }
            }
            for (number, address) in (0u8..6).map(|number| (number, current.get(&format!("x/p{number}")))) {
                let told = table.get(&key(number));
                let expected = address.map(|at| change(number, *at));
                prop_assert_eq!(told.as_deref(), expected.as_ref());
            }
        }
    }
}

#[test]
fn nobody_is_answered_before_the_feed_is_complete() {
    let table = FeedTable::new(INSTANCE);
    table.set(key(1), change(1, 1));
    assert_eq!(table.news(None, Duration::ZERO), None);
    table.set_complete();
    let news = now(&table, None);
    assert!(news.from_scratch && news.changes.len() == 1, "{news:?}");
}

#[test]
fn an_empty_feed_is_told_as_such_and_then_nothing_is() {
    let table = FeedTable::new(INSTANCE);
    table.set_complete();
    let news = now(&table, None);
    assert!(news.from_scratch && news.changes.is_empty());
    let news = now(&table, Some(news.position));
    assert!(!news.from_scratch && news.changes.is_empty());
}

#[test]
fn a_position_of_the_future_is_another_process_s() {
    let table = FeedTable::new(INSTANCE);
    table.set_complete();
    assert!(now(&table, at(5)).from_scratch);
}

#[test]
fn what_is_the_same_is_not_told_again() {
    let table = FeedTable::new(INSTANCE);
    table.set_complete();
    table.set(key(1), change(1, 1));
    let before = now(&table, None).position;
    table.set(key(1), change(1, 1));
    table.remove(&key(2));
    assert_eq!(now(&table, Some(before)).position, before);
}

#[test]
fn who_waits_is_told_as_soon_as_there_is_something() {
    let table = Arc::new(FeedTable::new(INSTANCE));
    table.set_complete();
    let position = now(&table, None).position;
    let waiting = {
        let table = Arc::clone(&table);
        // Long enough that only the change can end it in a test.
        thread::spawn(move || table.news(Some(position), Duration::from_secs(600)))
    };
    table.set(key(1), change(1, 1));
    let news = waiting.join().unwrap().unwrap();
    assert_eq!(news.changes.len(), 1);
}

#[test]
fn followers_are_bounded_and_one_user_does_not_take_all_places() {
    let table = FeedTable::new(INSTANCE);
    let mine: Vec<_> = (0..MAX_FOLLOWERS).map_while(|_| table.admit(1000)).collect();
    assert_eq!(mine.len(), MAX_FOLLOWERS / 2);
    let root: Vec<_> = (0..MAX_FOLLOWERS).map_while(|_| table.admit(0)).collect();
    assert_eq!(root.len(), MAX_FOLLOWERS / 2);
    assert!(table.admit(2000).is_none());
    drop(mine);
    assert!(table.admit(2000).is_some());
}

mod named {
    use store::services::{Place, PodFacts, Settings, Spec, Table};

    use super::super::Staged;
    use super::*;

    fn table() -> Table {
        Table::new(Settings {
            place: Place { node: "a".to_owned(), zone: None },
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            external_ips: Vec::new(),
            scheduler: protocol::link::Scheduler::Random,
        })
    }

    fn spec(json: &str) -> Spec {
        let text = format!("{{\"metadata\":{{\"name\":\"web\",\"namespace\":\"shop\"}},\"spec\":{json}}}");
        Spec::check(&serde_json::from_str(&text).unwrap()).unwrap()
    }

    fn pod(ready: bool) -> PodFacts {
        let text = format!(
            "{{\"object\":{{\"namespace\":\"shop\",\"name\":\"p\"}},\"labels\":{{\"app\":\"web\"}},\
             \"addresses\":[\"10.244.0.7\"],\"node\":\"a\",\"ready\":{ready},\"hostname\":\"h\",\"subdomain\":\"web\"}}"
        );
        serde_json::from_str(&text).unwrap()
    }

    /// What is told at once, and what when the switch has followed.
    fn change(names: &FeedTable, staged: &mut Staged, table: &mut Table) -> (Vec<String>, Vec<String>) {
        let began = now(names, None).position;
        table.settle();
        let renamed = table.take_renamed();
        staged.take(names, table, &renamed);
        let before = now(names, Some(began));
        staged.tell(names);
        let after = now(names, Some(before.position));
        let texts = |news: &News| news.changes.iter().map(|change| format!("{change:?}")).collect();
        (texts(&before), texts(&after))
    }

    #[test]
    fn what_comes_is_told_after_the_switch_and_what_goes_before() {
        let (names, mut staged, mut table) = (FeedTable::new(INSTANCE), Staged::default(), table());
        names.set_complete();
        staged.tell(&names);
        let web = |ports: &str, ip: &str| {
            spec(&format!("{{\"selector\":{{\"app\":\"web\"}},\"clusterIP\":\"{ip}\",\"ports\":[{ports}]}}"))
        };
        let (http, https) = ("{\"name\":\"http\",\"port\":80}", "{\"name\":\"https\",\"port\":443}");
        table.put_service(web(http, "10.96.0.7"));
        let (before, after) = change(&names, &mut staged, &mut table);
        assert_eq!(before, [""; 0]);
        assert!(after.iter().any(|text| text.contains("10.96.0.7")), "{after:?}");

        // One port goes, another comes.
        table.put_service(web(https, "10.96.0.7"));
        let (before, after) = change(&names, &mut staged, &mut table);
        assert!(before.len() == 1 && before[0].contains("ports: []"), "{before:?}");
        assert!(after.len() == 1 && after[0].contains("443"), "{after:?}");

        // Another address: for a moment there is none.
        table.put_service(web(https, "10.96.0.8"));
        let (before, after) = change(&names, &mut staged, &mut table);
        assert!(before[0].contains("ServiceGone"), "{before:?}");
        assert!(after[0].contains("10.96.0.8"), "{after:?}");

        table.remove_service(&web(http, "10.96.0.7").object);
        let (before, after) = change(&names, &mut staged, &mut table);
        assert!(before.iter().any(|text| text.contains("ServiceGone")), "{before:?}");
        assert!(before.iter().any(|text| text.contains("NamespaceGone")), "{before:?}");
        assert_eq!(after, [""; 0]);
    }

    #[test]
    fn headless_services_are_named_by_endpoints_that_may_be() {
        let (names, mut staged, mut table) = (FeedTable::new(INSTANCE), Staged::default(), table());
        names.set_complete();
        let headless = |publish: bool| {
            spec(&format!(
                "{{\"selector\":{{\"app\":\"web\"}},\"clusterIP\":\"None\",\"publishNotReadyAddresses\":{publish},\
                 \"ports\":[{{\"name\":\"http\",\"port\":80,\"targetPort\":8080}}]}}"
            ))
        };
        table.put_service(headless(false));
        table.put_pod(pod(false));
        let (_, after) = change(&names, &mut staged, &mut table);
        assert!(after.iter().any(|text| text.contains("endpoints: []")), "{after:?}");
        table.put_pod(pod(true));
        let (_, after) = change(&names, &mut staged, &mut table);
        let named = after.iter().find(|text| text.contains("endpoints: [NamedEndpoint")).unwrap();
        assert!(named.contains("hostname: Some(\"h\")") && named.contains("number: 8080"), "{named}");
        table.put_pod(pod(false));
        table.put_service(headless(true));
        let (_, after) = change(&names, &mut staged, &mut table);
        assert_eq!(after, [""; 0], "it is named as before, ready or not");
    }

    #[test]
    fn a_service_that_the_switch_does_not_serve_has_no_name() {
        let (names, mut staged, mut table) = (FeedTable::new(INSTANCE), Staged::default(), table());
        names.set_complete();
        table.put_service(spec("{\"clusterIP\":\"10.96.0.1\",\"ports\":[{\"port\":80}]}"));
        let (_, after) = change(&names, &mut staged, &mut table);
        assert!(after.iter().any(|text| text.contains("10.96.0.1")), "{after:?}");
        table.set_node_addresses([[10, 96, 0, 1].into()].into());
        let (before, _) = change(&names, &mut staged, &mut table);
        assert!(before.iter().any(|text| text.contains("ServiceGone")), "{before:?}");
        table.put_service(spec("{\"type\":\"ExternalName\",\"externalName\":\"db.example.com.\"}"));
        let (_, after) = change(&names, &mut staged, &mut table);
        assert!(after.iter().any(|text| text.contains("name: \"db.example.com\"")), "{after:?}");
    }
}
