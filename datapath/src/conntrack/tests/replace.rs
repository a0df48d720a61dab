//! A connection is given to another server.

use super::*;

const O: Direction = Direction::Original;
const R: Direction = Direction::Reply;

fn to_server(server: u8) -> NewConnection {
    NewConnection { backend: Some(server.into()), ..connection(TCP, (5, 1), (1, 80), server) }
}

fn counted(table: &Connections) -> (u64, u64, u64) {
    let counters = table.counters();
    (counters.created, counters.removed, counters.fail_overs.refused + counters.fail_overs.unanswered)
}

#[test]
fn there_is_one_connection_at_any_moment_and_its_server_is_busy_with_it() {
    let active = Arc::new(ActiveConnections::new());
    let table = Connections::new(memory(8), 7, &limits(8, 8, 0), Arc::clone(&active));
    let old = create(&table, &to_server(9));
    let hit = table.replace(old, &to_server(8), Cause::Refused, START).unwrap().unwrap();
    assert_eq!((table.state(old), table.state(hit.id)), (None, Some(State::SynSent)));
    assert_eq!(table.lookup(&key(&to_server(8))), Some(hit));
    assert_eq!((active.of(9), active.of(8), table.len()), (0, 1, 1));
    assert_eq!(counted(&table), (2, 1, 1));
    // Whoever remembers the old one finds that it is another's by now.
    assert_eq!(table.replace(old, &to_server(7), Cause::Refused, START), Ok(None));
    assert_eq!(table.track(old, O, Some(SYN), START), Tracked::Gone);
}

#[test]
fn what_was_answered_stays() {
    for answer in [SYN_ACK, SYN] {
        let table = table(8);
        let old = create(&table, &to_server(9));
        assert_eq!(table.track(old, R, Some(answer), START), Tracked::Forward);
        assert_eq!(table.replace(old, &to_server(8), Cause::Unanswered, START), Ok(None));
        assert_eq!(table.lookup(&key(&to_server(9))), Some(Hit { id: old, direction: O }));
    }
}

#[test]
fn silent_server_is_remembered_until_its_answer_cannot_come_any_more() {
    let table = table(8);
    let old = create(&table, &to_server(9));
    let answer = table.key(old, R).unwrap();
    table.replace(old, &to_server(8), Cause::Unanswered, START).unwrap().unwrap();
    let left = table.lookup(&answer).unwrap();
    assert_eq!((left.direction, table.state(left.id), table.len()), (R, Some(State::Abandoned), 2));
    for flags in [SYN_ACK, ACK, RST, FIN, SYN] {
        assert_eq!(table.track(left.id, R, Some(flags), START), Tracked::TooLate);
    }
    // The client's own connection to that server, which no service is between.
    let direct = Hit { direction: O, ..left };
    assert_eq!(table.lookup(&answer.reversed()), Some(direct));
    assert_eq!(table.track(left.id, O, Some(SYN), START), Tracked::Reopen);
    assert!(table.expire(START + Duration::from_secs(30), 10));
    assert_eq!((table.lookup(&answer), table.len()), (None, 0));
}

#[test]
fn nobody_makes_room_for_the_memory_of_a_silent_server() {
    let table = Connections::new(memory(8), 7, &limits(8, 2, 0), Arc::default());
    let old = create(&table, &to_server(9));
    let other = create(&table, &connection(TCP, (5, 2), (1, 80), 9));
    let answer = table.key(old, R).unwrap();
    table.replace(old, &to_server(8), Cause::Unanswered, START).unwrap().unwrap();
    assert_eq!((table.lookup(&answer), table.len()), (None, 2));
    assert_eq!(table.state(other), Some(State::SynSent));
}

#[test]
fn successor_finds_the_new_one_and_what_is_left_of_the_old_one() {
    let words = memory(8);
    let table = Connections::new(words, 7, &limits(8, 8, 0), Arc::default());
    let old = create(&table, &to_server(9));
    let answer = table.key(old, R).unwrap();
    table.replace(old, &to_server(8), Cause::Unanswered, START).unwrap().unwrap();
    drop(table);
    let table = Connections::new(words, 8, &limits(8, 8, 0), Arc::default());
    assert_eq!((table.counters().recovered, table.counters().damaged), (2, 0));
    let left = table.lookup(&answer).unwrap();
    assert_eq!(table.track(left.id, R, Some(SYN_ACK), START), Tracked::TooLate);
    assert_eq!(table.state(table.lookup(&key(&to_server(8))).unwrap().id), Some(State::SynSent));
}
