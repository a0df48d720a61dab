//! When silent connections go.

use super::*;

const O: Direction = Direction::Original;
const R: Direction = Direction::Reply;

/// After these packets at `START`, the connection goes after so many seconds and no sooner.
#[track_caller]
fn goes_after(protocol: u8, port: u16, packets: &[(Direction, TcpFlags)], seconds: u64) {
    let table = table(4);
    let id = create(&table, &connection(protocol, (5, 1), (1, port), 9));
    for (direction, flags) in packets {
        let tracked = table.track(id, *direction, (protocol == TCP).then_some(*flags), START);
        if tracked == Tracked::Refused {
            table.refuse(id, START);
        }
    }
    assert!(table.expire(at(seconds - 1), 10));
    assert!(table.state(id).is_some(), "it is there after {} s", seconds - 1);
    assert!(table.expire(at(seconds), 10));
    assert_eq!((table.state(id), table.len(), table.counters().expired), (None, 0, 1));
}

#[test]
fn each_state_has_its_time() {
    goes_after(TCP, 80, &[], 30);
    goes_after(TCP, 80, &[(R, SYN_ACK)], 30);
    goes_after(TCP, 80, &[(R, SYN_ACK), (O, ACK)], 24 * 3600);
    goes_after(TCP, 80, &[(R, SYN_ACK), (O, ACK), (O, FIN)], 240);
    goes_after(TCP, 80, &[(R, SYN_ACK), (O, ACK), (O, FIN), (R, ACK)], 3600);
    goes_after(TCP, 80, &[(R, SYN_ACK), (O, ACK), (O, FIN), (R, FIN)], 240);
    goes_after(TCP, 80, &[(R, SYN_ACK), (O, ACK), (O, FIN), (R, FIN), (O, ACK)], 240);
    goes_after(TCP, 80, &[(R, RST)], 10);
    goes_after(UDP, 5000, &[(O, ACK)], 30);
    goes_after(UDP, 5000, &[(R, ACK)], 300);
    goes_after(UDP, 53, &[(R, ACK)], 30);
    goes_after(ICMP, 0, &[(R, ACK)], 60);
}

#[test]
fn conversation_with_a_well_known_port_is_kept_as_any_other() {
    let table = table(4);
    let id = create(&table, &connection(UDP, (5, 1), (1, 443), 9));
    table.track(id, R, None, at(1));
    table.track(id, R, None, at(3));
    assert!(table.expire(at(302), 10) && table.state(id).is_some());
    assert!(table.expire(at(303), 10) && table.state(id).is_none());
}

#[test]
fn packets_keep_a_connection_and_repeated_syns_do_not() {
    let table = table(4);
    let one_way = create(&table, &connection(UDP, (5, 1), (1, 514), 9));
    let opening = create(&table, &connection(TCP, (5, 1), (1, 80), 9));
    for second in 1..100 {
        table.track(one_way, O, None, at(second));
        table.track(opening, O, Some(SYN), at(second));
        assert!(table.expire(at(second), 10));
        assert_eq!(table.state(opening).is_some(), second < 30, "RFC 4787 REQ-6 is not for SYNs");
    }
    assert_eq!(table.state(one_way), Some(State::Unreplied));
}

#[test]
fn established_connection_is_written_once_a_second() {
    let table = table(4);
    let id = create(&table, &connection(TCP, (5, 1), (1, 80), 9));
    establish(&table, id, START);
    let seen = || table.memory.slot(id.slot).unwrap().last_seen();
    let half = START + Duration::from_millis(500);
    table.track(id, O, Some(ACK), half);
    assert_eq!(seen(), START);
    table.track(id, R, Some(ACK), at(1));
    assert_eq!(seen(), at(1));
    // A worker whose clock was read earlier.
    table.track(id, R, Some(ACK), half);
    table.track(id, R, Some(FIN), half);
    assert_eq!(seen(), at(1));
}

#[test]
fn sweep_is_bounded_and_goes_on_where_it_ended() {
    let table = table(256);
    for n in 0..200 {
        create(&table, &connection(TCP, (5, n), (1, 80), 9));
    }
    let mut calls = 0;
    while !table.expire(at(100), 16) {
        calls += 1;
        assert_eq!(table.len(), 200 - 16 * calls);
    }
    assert_eq!((table.len(), calls), (0, 12));
    // Empty: not walked any more.
    assert_eq!(table.memory.used(), 0);
    assert!(table.expire(at(100), 1));
    let id = create(&table, &connection(TCP, (5, 1), (1, 80), 9));
    assert_eq!(id.slot, 0);
}
