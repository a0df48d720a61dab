//! What mappings promise, without a switch around them.

use super::*;

const O: Direction = Direction::Original;
const R: Direction = Direction::Reply;
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const RANGE: std::ops::RangeInclusive<u16> = 61_000..=61_009;

/// From pod 10.244.0.`pod`:`port` to 203.0.113.`server`:`server_port`.
pub(super) fn outbound(protocol: u8, pod: (u8, u16), server: (u8, u16)) -> NewConnection {
    let server = (Ipv4Addr::new(203, 0, 113, server.0), server.1);
    NewConnection {
        protocol,
        original: Tuple {
            source: Ipv4Addr::new(10, 244, 0, pod.0),
            destination: server.0,
            source_port: pod.1,
            destination_port: server.1,
        },
        server,
        client: Client::Mapped(EXTERNAL),
        owner: PortId(pod.0.into()),
        kind: Kind::default(),
        backend: None,
        ports: RANGE,
    }
}

/// From 203.0.113.`client` to the mapping of a pod.
pub(super) fn inbound(protocol: u8, client: (u8, u16), mapped: Mapped) -> NewConnection {
    let (destination, destination_port) = mapped.outside;
    NewConnection {
        original: Tuple {
            source: Ipv4Addr::new(203, 0, 113, client.0),
            destination,
            source_port: client.1,
            destination_port,
        },
        server: mapped.inside,
        client: Client::Admitted,
        owner: PortId(63),
        ..outbound(protocol, (0, 0), (0, 0))
    }
}

pub(super) fn inside(new: &NewConnection) -> End {
    (new.original.source, new.original.source_port)
}

/// What a connection's client appears as.
fn outside(table: &Connections, id: ConnectionId) -> End {
    table.outsides(id)[0].unwrap()
}

/// Σ of what came is Σ of what went and what is there.
#[track_caller]
pub(super) fn assert_balance(table: &Connections) {
    let counted = table.counters();
    let came = counted.created + counted.recovered;
    let went = counted.expired + counted.removed + counted.evicted_share + counted.evicted_full;
    assert_eq!(came, went + u64::from(table.len()), "{counted:?}");
}

#[track_caller]
fn expire(table: &Connections, second: u64) {
    // Twice: a mapping may lie before the connection that held it.
    for _ in 0..2 {
        while !table.expire(at(second), 4) {}
    }
    assert_balance(table);
}

#[test]
fn one_port_of_a_pod_is_one_port_outside_whomever_it_sends_to_and_nobody_elses() {
    let table = table(64);
    for protocol in [TCP, UDP, ICMP] {
        let first = create(&table, &outbound(protocol, (5, 4000), (1, 80)));
        let mapped = outside(&table, first);
        for server in [(1, 81), (2, 80), (3, 9)] {
            let id = create(&table, &outbound(protocol, (5, 4000), server));
            assert_eq!(outside(&table, id), mapped);
        }
        let other = outside(&table, create(&table, &outbound(protocol, (5, 4002), (1, 80))));
        let third = outside(&table, create(&table, &outbound(protocol, (6, 4000), (1, 80))));
        assert!(mapped != other && other != third && mapped != third);
        assert!([mapped, other, third].iter().all(|end| end.0 == EXTERNAL && RANGE.contains(&end.1)));
        let of = table.mapping_of(protocol, (Ipv4Addr::new(10, 244, 0, 5), 4000), START).unwrap();
        assert_eq!((of.outside, of.is_open), (mapped, true));
        assert_eq!(table.mapping_to(protocol, mapped, START), Some(of));
    }
    assert_eq!(table.len(), 3 * 9);
    assert_balance(&table);
}

#[test]
fn connection_translates_to_its_mapping_and_back() {
    let table = table(16);
    let new = outbound(UDP, (5, 4000), (1, 80));
    let id = create(&table, &new);
    let (address, port) = outside(&table, id);
    let to = table.translation(id, O).unwrap().to();
    assert_eq!(to, Tuple { source: address, source_port: port, ..new.original });
    let answer = Key::new(UDP, &to.reversed());
    assert_eq!(table.lookup(&answer), Some(Hit { id, direction: R }));
    assert_eq!(table.translation(id, R).unwrap().to(), new.original.reversed());
    // Somebody else at that server has sent nothing that is known.
    let other = Tuple { destination_port: 81, ..to };
    assert_eq!(table.lookup(&Key::new(UDP, &other.reversed())), None);
}

#[test]
fn parity_and_class_are_kept_as_far_as_the_range_allows() {
    let table = table(64);
    let port = |pod, ports| {
        let id = create(&table, &NewConnection { ports, ..outbound(UDP, pod, (1, 80)) });
        outside(&table, id).1
    };
    assert_eq!(port((5, 61_004), RANGE), 61_004, "its own, if it is free");
    assert_eq!(port((6, 61_004), RANGE) % 2, 0);
    for odd in [4001, 4003, 4005, 4007, 4009] {
        assert_eq!(port((7, odd), RANGE) % 2, 1);
    }
    for _ in 0..3 {
        let even = port((8, 4000 + u16::try_from(table.len()).unwrap() * 2), RANGE);
        assert_eq!(even % 2, 0);
    }
    // All ports of the parity are taken, but not all ports; and the class, where the range has both.
    assert!(port((9, 999), 1..=u16::MAX) < 1024);
    assert!(port((9, 1999), 1..=u16::MAX) >= 1024);
    assert!(port((9, 998), RANGE) >= 61_000);
}

#[test]
fn mapping_is_there_as_long_as_a_connection_holds_it_and_as_long_as_that_would_have_been() {
    let table = table(16);
    let (a, b) = (outbound(UDP, (5, 4000), (1, 80)), outbound(UDP, (5, 4000), (2, 80)));
    let first = outside(&table, create(&table, &a));
    let is_there = || table.mapping_of(UDP, inside(&a), at(0)).is_some();
    assert!(matches!(table.create(&b, at(200)), Ok(Created::New(_))));
    expire(&table, 300);
    assert_eq!(table.lookup(&key(&a)), None);
    assert!(is_there(), "the other holds it");
    expire(&table, 500);
    assert_eq!((table.lookup(&key(&b)), table.len()), (None, 1));
    // Nobody else gets the port for two minutes (RFC 6888 REQ-8), nor is anybody let in.
    assert!(!table.mapping_to(UDP, first, at(500)).unwrap().is_open);
    expire(&table, 619);
    assert!(is_there());
    expire(&table, 620);
    assert_eq!(table.len(), 0);
}

#[test]
fn tcp_mapping_goes_with_its_last_connection() {
    let table = table(16);
    let new = outbound(TCP, (5, 4000), (1, 80));
    let id = create(&table, &new);
    establish(&table, id, START);
    expire(&table, 124 * 60 - 1);
    assert_eq!(table.len(), 2);
    for (way, flags) in [(O, FIN), (R, FIN), (O, ACK)] {
        table.track(id, way, Some(flags), at(124 * 60 - 1));
    }
    expire(&table, 128 * 60 - 2);
    assert_eq!(table.len(), 2);
    expire(&table, 128 * 60 - 1);
    assert_eq!(table.len(), 0);
}

#[test]
fn only_what_goes_out_keeps_a_mapping() {
    let table = table(16);
    let new = outbound(UDP, (5, 4000), (1, 5000));
    let id = create(&table, &new);
    for second in 1..300 {
        table.track(id, R, None, at(second));
    }
    let mapped = |second| table.mapping_of(UDP, inside(&new), at(second));
    assert!(mapped(299).unwrap().is_open);
    assert!(!mapped(300).unwrap().is_open);
    expire(&table, 299);
    assert!(table.state(id).is_some());
    expire(&table, 300);
    assert!(table.state(id).is_none());

    let id = create(&table, &outbound(UDP, (6, 4000), (1, 5000)));
    for second in 1..300 {
        table.track(id, O, None, at(second));
    }
    expire(&table, 598);
    assert!(table.state(id).is_some());
    expire(&table, 599);
    assert!(table.state(id).is_none());
}

#[test]
fn those_who_are_let_in_hold_a_mapping_and_keep_it_only_if_they_are_answered() {
    let table = table(32);
    let new = outbound(UDP, (5, 4000), (1, 5000));
    create(&table, &new);
    let mapped = table.mapping_of(UDP, inside(&new), START).unwrap();
    let admit = |client, second| table.create(&inbound(UDP, client, mapped), at(second));
    let Ok(Created::New(silent)) = admit((7, 7000), 299) else { panic!() };
    assert_eq!(table.outsides(silent), [None, Some(mapped.outside)]);
    assert_eq!(table.translation(silent, O).unwrap().to().destination, mapped.inside.0);
    expire(&table, 300);
    let now = table.mapping_to(UDP, mapped.outside, at(300)).unwrap();
    assert!(!now.is_open, "though it is held");
    expire(&table, 599);
    assert_eq!(table.len(), 0, "and what nobody answered did not prolong it");

    create(&table, &new);
    let mapped = table.mapping_of(UDP, inside(&new), START).unwrap();
    let Ok(Created::New(asked)) = table.create(&inbound(UDP, (7, 7000), mapped), at(10)) else { panic!() };
    table.track(asked, R, None, at(250));
    assert!(table.mapping_to(UDP, mapped.outside, at(549)).unwrap().is_open);
    expire(&table, 549);
    assert!(table.state(asked).is_some());
    expire(&table, 550);
    assert!(table.state(asked).is_none());
    // Somebody who comes when the mapping is another's.
    let gone = NewConnection { server: (Ipv4Addr::new(10, 244, 0, 9), 1), ..inbound(UDP, (8, 1), mapped) };
    assert_eq!(table.create(&gone, at(550)), Err(Refused::NoMapping));
    assert_balance(&table);
}

#[test]
fn pods_of_one_node_meet_by_their_mappings() {
    for is_let_in in [true, false] {
        let table = table(32);
        let (a, b) = (outbound(UDP, (5, 4000), (1, 80)), outbound(UDP, (6, 6000), (1, 80)));
        let (a_out, b_out) = (outside(&table, create(&table, &a)), outside(&table, create(&table, &b)));
        let new = NewConnection {
            original: Tuple { destination: b_out.0, destination_port: b_out.1, ..a.original },
            server: inside(&b),
            client: Client::TurnedRound { address: EXTERNAL, is_let_in },
            ..a.clone()
        };
        let id = create(&table, &new);
        assert_eq!(table.outsides(id), [Some(a_out), Some(b_out)]);
        let wanted = if is_let_in { Tracked::Forward } else { Tracked::Filtered };
        assert_eq!(table.track(id, O, None, at(1)), wanted);
        // The other sends to where the first appears: the same connection, the other way.
        let back = Tuple {
            source: inside(&b).0,
            source_port: inside(&b).1,
            destination: a_out.0,
            destination_port: a_out.1,
        };
        assert_eq!(table.lookup(&Key::new(UDP, &back)), Some(Hit { id, direction: R }));
        assert_eq!(table.track(id, R, None, at(2)), Tracked::Forward);
        assert_eq!(table.track(id, O, None, at(3)), Tracked::Forward);
        let to = table.translation(id, O).unwrap().to();
        assert_eq!(((to.source, to.source_port), (to.destination, to.destination_port)), (a_out, inside(&b)));
        let to = table.translation(id, R).unwrap().to();
        assert_eq!(((to.source, to.source_port), (to.destination, to.destination_port)), (b_out, inside(&a)));
    }
}

#[test]
fn filtered_tcp_waits_for_the_other_sides_syn() {
    let table = table(32);
    let (a, b) = (outbound(TCP, (5, 4000), (1, 80)), outbound(TCP, (6, 6000), (1, 80)));
    create(&table, &a);
    let b_out = outside(&table, create(&table, &b));
    let new = NewConnection {
        original: Tuple { destination: b_out.0, destination_port: b_out.1, ..a.original },
        server: inside(&b),
        client: Client::TurnedRound { address: EXTERNAL, is_let_in: false },
        ..a
    };
    let id = create(&table, &new);
    assert_eq!(table.state(id), Some(State::Filtered));
    for (way, flags) in [(O, SYN), (O, ACK), (R, ACK), (R, RST), (R, SYN_ACK), (O, RST)] {
        assert_eq!(table.track(id, way, Some(flags), START), Tracked::Filtered);
    }
    assert_eq!(table.track(id, R, Some(SYN), START), Tracked::Forward);
    assert_eq!(table.state(id), Some(State::SynSentBoth));
    assert_eq!(table.track(id, O, Some(SYN_ACK), START), Tracked::Forward);
    assert_eq!(table.track(id, R, Some(ACK), START), Tracked::Forward);
    assert_eq!(table.state(id), Some(State::Established));
}

#[test]
fn embryonic_connections_make_room_with_their_mappings_and_held_ones_stay() {
    let table = Connections::new(memory(64), 7, &limits(64, 6, 0), Arc::default());
    let keep = create(&table, &outbound(UDP, (5, 4000), (1, 5000)));
    establish(&table, keep, START);
    let embryonic: Vec<_> =
        [4002, 4004].map(|port| create(&table, &outbound(UDP, (5, port), (1, 5000)))).into();
    assert_eq!(table.len(), 6);
    // One more through the mapping that is there needs one slot, and gets two.
    let more = create(&table, &outbound(UDP, (5, 4000), (2, 5000)));
    assert_eq!((table.state(embryonic[0]), table.len()), (None, 5));
    establish(&table, more, START);
    let last = create(&table, &outbound(UDP, (5, 4006), (1, 5000)));
    assert_eq!((table.state(embryonic[1]), table.len()), (None, 5));
    establish(&table, last, START);
    create(&table, &outbound(UDP, (5, 4000), (3, 5000)));
    // Two mappings, four connections, one of which is embryonic and does not hold its mapping alone.
    let refused = table.create(&outbound(UDP, (5, 4008), (1, 5000)), START);
    assert_eq!(refused, Err(Refused::PortShare));
    for id in [keep, more, last] {
        assert!(table.state(id).is_some());
    }
    assert_balance(&table);
}

#[test]
fn pod_has_so_many_mappings_and_loses_its_own_that_are_over() {
    let limits = Limits { mappings_per_port: 3, ..limits(64, 64, 0) };
    let table = Connections::new(memory(64), 7, &limits, Arc::default());
    let ids: Vec<_> = (0..3).map(|n| create(&table, &outbound(TCP, (5, 4000 + n), (1, 80)))).collect();
    for id in &ids {
        establish(&table, *id, START);
    }
    let fourth = outbound(TCP, (5, 4003), (1, 80));
    assert_eq!(table.create(&fourth, START), Err(Refused::MappingShare));
    create(&table, &outbound(TCP, (5, 4000), (2, 80)));
    create(&table, &outbound(TCP, (6, 4000), (2, 80)));
    table.track(ids[1], R, Some(RST), START);
    create(&table, &fourth);
    assert_eq!(table.state(ids[1]), None);
    assert!(table.state(ids[0]).is_some() && table.state(ids[2]).is_some());
    assert_eq!(table.counters().refused_port_share, 1);
    assert_balance(&table);
}

#[test]
fn last_port_goes_to_who_asks_and_then_what_is_over_gives_its_own() {
    let table = table(256);
    let ids: Vec<_> = (0..10)
        .map(|n: u8| create(&table, &outbound(TCP, (5 + n % 3, 4000 + u16::from(n)), (1, 80))))
        .collect();
    for id in &ids {
        establish(&table, *id, START);
    }
    let new = outbound(TCP, (9, 4000), (1, 80));
    assert_eq!(table.create(&new, START), Err(Refused::PortPoolExhausted));
    assert!(ids.iter().all(|id| table.state(*id) == Some(State::Established)), "existing ones are kept");
    // UDP's are others, and an existing mapping is as good as ever.
    create(&table, &outbound(UDP, (9, 4000), (1, 80)));
    create(&table, &outbound(TCP, (5, 4000), (2, 80)));
    let over = ids[3];
    let port = outside(&table, over);
    table.track(over, R, Some(RST), START);
    let id = create(&table, &new);
    assert_eq!((outside(&table, id), table.state(over)), (port, None));
    assert_balance(&table);
}

#[test]
fn answered_questions_of_dns_leave_their_ports_to_the_next() {
    let table = table(256);
    for n in 0..10 {
        let id = create(&table, &outbound(UDP, (5, 4000 + n), (1, 53)));
        table.track(id, R, None, START);
    }
    let next = outbound(UDP, (5, 5000), (1, 53));
    assert_eq!(table.create(&next, at(1)), Err(Refused::PortPoolExhausted), "the second answer may come");
    assert!(table.create(&next, at(2)).is_ok());
    assert_balance(&table);
}

#[test]
fn connection_without_mapping_by_the_same_address_keeps_off_mapped_ports() {
    let table = table(64);
    let mapped = create(&table, &outbound(UDP, (5, 61_000), (1, 80)));
    assert_eq!(outside(&table, mapped).1, 61_000);
    let masqueraded =
        |pod, server| NewConnection { client: Client::Masqueraded(EXTERNAL), ..outbound(UDP, pod, server) };
    let id = create(&table, &masqueraded((6, 61_000), (2, 80)));
    let port = table.tuple(id, R).unwrap().destination_port;
    assert_ne!(port, 61_000);
    let next = create(&table, &outbound(UDP, (7, port), (2, 80)));
    assert_ne!(outside(&table, next).1, port);
}

#[test]
fn successor_finds_mappings_and_who_holds_them() {
    let words = memory(32);
    let limits = Limits { mappings_per_port: 2, ..limits(32, 32, 0) };
    let table = Connections::new(words, 1, &limits, Arc::default());
    let (a, b) = (outbound(UDP, (5, 4000), (1, 80)), outbound(UDP, (5, 4000), (2, 80)));
    let (first, second) = (create(&table, &a), create(&table, &b));
    let other = create(&table, &outbound(UDP, (5, 4001), (1, 80)));
    let mapped = table.mapping_of(UDP, inside(&a), START);
    let next = Connections::new(words, 2, &limits, Arc::default());
    assert_eq!((next.len(), next.counters().recovered, next.counters().damaged), (5, 5, 0));
    assert_eq!(next.mapping_of(UDP, inside(&a), START), mapped);
    next.remove(first);
    next.remove(other);
    while !next.expire(at(419), 4) {}
    assert!(next.mapping_of(UDP, inside(&a), START).is_some() && next.state(second).is_none());
    // The quota counts what was found.
    assert!(next.create(&outbound(UDP, (5, 4002), (1, 80)), at(419)).is_ok());
    assert_balance(&next);
}

#[test]
fn connection_whose_mapping_was_lost_with_its_process_is_freed() {
    use std::sync::atomic::Ordering::Relaxed;
    let words = memory(32);
    let table = Connections::new(words, 1, &limits(32, 32, 0), Arc::default());
    let id = create(&table, &outbound(UDP, (5, 4000), (1, 80)));
    let stays = create(&table, &outbound(UDP, (5, 4001), (1, 80)));
    let mapping = table.mapping_of(UDP, (Ipv4Addr::new(10, 244, 0, 5), 4000), START).unwrap();
    table.memory.slot(mapping.id.slot).unwrap().state().store(0, Relaxed);
    let next = Connections::new(words, 2, &limits(32, 32, 0), Arc::default());
    assert_eq!((next.len(), next.counters().damaged, next.counters().recovered), (2, 2, 2));
    assert!(next.state(id).is_none() && next.state(stays).is_some());
    // Its slot and its port are free.
    create(&next, &outbound(UDP, (5, 4000), (1, 80)));
    assert_balance(&next);
}
