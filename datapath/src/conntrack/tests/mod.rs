//! What the table promises; the parts have tests of their own.

mod mappings;
mod mappings_model;
mod model;
mod replace;
mod successor;
mod tcp;
mod timeouts;
mod together;
mod translation;

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use protocol::PortId;

use super::*;
use crate::time::Instant;
use crate::wire::l4::TcpFlags;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const SYN_ACK: TcpFlags = SYN.and(ACK);
const FIN: TcpFlags = TcpFlags::FIN.and(ACK);

const START: Instant = Instant::from_nanos(1_000_000_000_000);

fn memory(slots: u32) -> &'static [AtomicU64] {
    let words = (0..Memory::words(slots)).map(|_| AtomicU64::new(0));
    Box::leak(words.collect::<Vec<_>>().into_boxed_slice())
}

fn limits(connections: u32, connections_per_port: u32, connection_reserve: u32) -> Limits {
    Limits { connections, connections_per_port, connection_reserve, ..Limits::default() }
}

fn table(slots: u32) -> Connections {
    Connections::new(memory(slots), 7, &limits(slots, slots, 0), Arc::default())
}

fn at(seconds: u64) -> Instant {
    START + Duration::from_secs(seconds)
}

/// From client 10.0.0.`client` to service 10.96.0.`service`, backend 10.0.1.`server`:8080.
fn connection(protocol: u8, client: (u8, u16), service: (u8, u16), server: u8) -> NewConnection {
    NewConnection {
        backend: None,
        protocol,
        original: Tuple {
            source: Ipv4Addr::new(10, 0, 0, client.0),
            destination: Ipv4Addr::new(10, 96, 0, service.0),
            source_port: client.1,
            destination_port: service.1,
        },
        server: (Ipv4Addr::new(10, 0, 1, server), 8080),
        client: Client::Kept,
        owner: PortId(client.0.into()),
        kind: Kind { is_service: true, is_hairpin: false, ..Kind::default() },
        ports: 1024..=u16::MAX,
    }
}

fn key(new: &NewConnection) -> Key {
    Key::new(new.protocol, &new.original)
}

#[track_caller]
fn create(table: &Connections, new: &NewConnection) -> ConnectionId {
    match table.create(new, START) {
        Ok(Created::New(id)) => id,
        other => panic!("{other:?}"),
    }
}

/// Through the handshake, or, if it is not TCP, an answer.
fn establish(table: &Connections, id: ConnectionId, now: Instant) {
    let is_tcp = table.rows_from(id.slot).next().unwrap().1.original().is_tcp();
    let steps: &[_] = if is_tcp {
        &[(Direction::Reply, Some(SYN_ACK)), (Direction::Original, Some(ACK))]
    } else {
        &[(Direction::Reply, None)]
    };
    for (direction, flags) in steps {
        assert_eq!(table.track(id, *direction, *flags, now), Tracked::Forward);
    }
    assert!(matches!(table.state(id), Some(State::Established | State::Replied)));
}

#[test]
fn both_directions_are_found_and_translated_into_each_other() {
    let table = table(16);
    let new = connection(TCP, (5, 40_000), (1, 80), 9);
    let id = create(&table, &new);
    let hit = |direction| Some(Hit { id, direction });
    assert_eq!(table.lookup(&key(&new)), hit(Direction::Original));
    let translated =
        Tuple { destination: Ipv4Addr::new(10, 0, 1, 9), destination_port: 8080, ..new.original };
    let reply = Key::new(TCP, &translated.reversed());
    assert_eq!(table.lookup(&reply), hit(Direction::Reply));
    let expected = |from: Tuple, to| Some(Translation::new(&from, to));
    assert_eq!(table.translation(id, Direction::Original), expected(new.original, translated));
    assert_eq!(
        table.translation(id, Direction::Reply),
        expected(translated.reversed(), new.original.reversed())
    );
    assert_eq!(table.tuple(id, Direction::Reply), Some(translated.reversed()));
    // A packet like it of another protocol is another connection's.
    assert_eq!(table.lookup(&Key::new(UDP, &new.original)), None);
    let mut probe = table.probe(&reply);
    table.touch_bucket(&probe);
    table.find_candidate(&mut probe);
    assert_ne!(table.touch_candidate(&probe), 0);
    assert_eq!(table.lookup_probe(&probe), hit(Direction::Reply));

    assert!(table.remove(id) && !table.remove(id));
    assert_eq!((table.lookup(&key(&new)), table.lookup(&reply)), (None, None));
    assert_eq!(table.translation(id, Direction::Original), None);
    assert_eq!(table.track(id, Direction::Original, Some(ACK), START), Tracked::Gone);
    // The slot's next connection is not this one.
    let next = create(&table, &connection(TCP, (5, 40_001), (1, 80), 9));
    assert_eq!(next.slot, id.slot);
    assert_eq!(table.tuple(id, Direction::Original), None);
    assert_eq!(table.state(id), None);
}

#[test]
fn icmp_errors_find_the_connection_of_the_packet_they_quote() {
    let table = table(16);
    let new = connection(UDP, (5, 40_000), (1, 53), 9);
    let id = create(&table, &new);
    let translated =
        Tuple { destination: Ipv4Addr::new(10, 0, 1, 9), destination_port: 8080, ..new.original };
    // A router near the server got the request, translated.
    let hit = table.lookup_embedded(&Key::new(UDP, &translated)).unwrap();
    assert_eq!(hit, Hit { id, direction: Direction::Original });
    assert_eq!(table.tuple(id, hit.direction), Some(new.original), "what the client knows of");
    // The client's host got the answer, translated back.
    let answer = Key::new(UDP, &new.original.reversed());
    let hit = table.lookup_embedded(&answer).unwrap();
    assert_eq!(hit, Hit { id, direction: Direction::Reply });
    assert_eq!(table.tuple(id, hit.direction), Some(translated.reversed()));
    // What was not translated was not seen by anybody who could send an error about it.
    assert_eq!(table.lookup_embedded(&key(&new)), None);
}

#[test]
fn two_services_with_one_backend_do_not_collide() {
    let table = table(16);
    let first = connection(TCP, (5, 40_000), (1, 80), 9);
    let second = connection(TCP, (5, 40_000), (2, 80), 9);
    let (a, b) = (create(&table, &first), create(&table, &second));
    let port = |id| table.tuple(id, Direction::Reply).unwrap().destination_port;
    assert_eq!(port(a), 40_000, "the client's own while it is free");
    assert_ne!(port(b), 40_000);
    assert_eq!(port(b) % 2, 0, "RFC 4787 REQ-4");
    assert_eq!(table.translation(b, Direction::Reply).unwrap(), {
        let reply = table.tuple(b, Direction::Reply).unwrap();
        Translation::new(&reply, second.original.reversed())
    });
}

#[test]
fn packet_that_came_too_late_to_make_a_connection_joins_it_whichever_way_it_goes() {
    let table = table(16);
    let new = connection(UDP, (5, 40_000), (1, 53), 9);
    let id = create(&table, &new);
    let again = table.create(&connection(UDP, (5, 40_000), (1, 53), 77), START);
    assert_eq!(again, Ok(Created::Existing(Hit { id, direction: Direction::Original })));
    let reply = table.tuple(id, Direction::Reply).unwrap();
    let back = table.create(&NewConnection { original: reply, ..new }, START).unwrap();
    assert_eq!(back.hit(), Hit { id, direction: Direction::Reply });
    assert_eq!((table.len(), table.counters().created), (1, 1));
}

#[test]
fn nearly_full_port_range_still_gives_its_last_port_and_then_refuses() {
    let table = table(4096);
    let with = |service: u8, ports| NewConnection { ports, ..connection(UDP, (5, 2000), (service, 53), 9) };
    let mut taken = vec![2000];
    create(&table, &with(0, 2000..=2009));
    for service in 1..10 {
        let id = create(&table, &with(service, 2000..=2009));
        taken.push(table.tuple(id, Direction::Reply).unwrap().destination_port);
    }
    assert!(taken[1..5].iter().all(|port| port % 2 == 0), "parity as long as there are such");
    taken.sort_unstable();
    assert_eq!(taken, (2000..=2009).collect::<Vec<_>>());
    assert_eq!(table.create(&with(10, 2000..=2009), START), Err(Refused::PortPoolExhausted));
    assert_eq!(table.counters().refused_port_pool_exhausted, 1);
    assert_eq!(table.len(), 10);
    // Another server's are others.
    create(&table, &NewConnection { server: (Ipv4Addr::new(10, 0, 1, 8), 8080), ..with(10, 2000..=2009) });
}

#[test]
fn large_port_range_that_is_all_but_full_still_gives_ports() {
    let table = table(1 << 16);
    let new = |n: u32, ports| {
        let mut new = connection(UDP, (5, 5000), (1, 53), 9);
        new.original.destination = Ipv4Addr::from_bits(0x0a60_0000 | n);
        NewConnection { ports, ..new }
    };
    // All but one in a hundred.
    create(&table, &new(0, 1024..=u16::MAX));
    for port in (1024u16..=u16::MAX).filter(|port| *port != 5000 && port % 100 != 0) {
        create(&table, &new(port.into(), port..=port));
    }
    for n in 0..100 {
        let id = create(&table, &new(1 << 16 | n, 1024..=u16::MAX));
        assert_eq!(table.tuple(id, Direction::Reply).unwrap().destination_port % 100, 0);
    }
}

#[test]
fn hairpin_replaces_the_client_too() {
    let table = table(16);
    let gateway = Ipv4Addr::new(10, 0, 0, 1);
    let new = NewConnection {
        client: Client::Address(gateway),
        kind: Kind { is_service: true, is_hairpin: true, ..Kind::default() },
        server: (Ipv4Addr::new(10, 0, 0, 5), 8080),
        ..connection(TCP, (5, 40_000), (1, 80), 5)
    };
    let id = create(&table, &new);
    let reply = table.tuple(id, Direction::Reply).unwrap();
    assert_eq!((reply.source, reply.destination), (Ipv4Addr::new(10, 0, 0, 5), gateway));
    let row = table.rows_from(0).next().unwrap().1.object("pod".into(), at(3));
    assert!(row.is_hairpin && row.is_service);
    assert_eq!(
        (row.state.as_str(), row.age_ms, row.idle_ms, row.timeout_ms),
        ("SYN_SENT", 3000, 3000, 27_000)
    );
}

#[test]
fn port_with_its_share_loses_its_own_embryonic_ones_and_never_established_ones() {
    let table = Connections::new(memory(64), 7, &limits(64, 4, 0), Arc::default());
    let other = create(&table, &connection(TCP, (9, 1), (1, 80), 9));
    let ids: Vec<_> = (0..4).map(|n| create(&table, &connection(TCP, (5, 100 + n), (1, 80), 9))).collect();
    establish(&table, ids[0], START);
    let fifth = create(&table, &connection(TCP, (5, 104), (1, 80), 9));
    assert_eq!(table.state(ids[1]), None, "the oldest embryonic one");
    for id in [ids[0], ids[2], ids[3], fifth, other] {
        assert!(table.state(id).is_some());
    }
    for id in [ids[2], ids[3], fifth] {
        establish(&table, id, START);
    }
    let refused = table.create(&connection(TCP, (5, 105), (1, 80), 9), START);
    assert_eq!(refused, Err(Refused::PortShare));
    // What is over may go as well.
    table.track(ids[3], Direction::Reply, Some(RST), START);
    create(&table, &connection(TCP, (5, 105), (1, 80), 9));
    assert_eq!(table.state(ids[3]), None);
    let counters = table.counters();
    assert_eq!((counters.evicted_share, counters.refused_port_share, counters.created), (2, 1, 7));
}

#[test]
fn full_table_takes_from_the_fullest_and_keeps_a_reserve_for_the_quiet() {
    let table = Connections::new(memory(40), 7, &limits(40, 32, 8), Arc::default());
    let make = |client, n: u16| table.create(&connection(TCP, (client, 1000 + n), (1, 80), 9), START);
    let ids: Vec<_> = (0..30).map(|n| make(5, n).unwrap().hit().id).collect();
    make(6, 0).unwrap();
    make(6, 1).unwrap();
    // 32 of 40, and both have a sixteenth of their share: what is left is not for them.
    make(6, 2).unwrap();
    assert_eq!((table.len(), table.counters().evicted_full), (32, 1));
    assert_eq!(table.state(ids[0]), None, "the fullest port's oldest");
    for id in &ids[1..] {
        establish(&table, *id, START);
    }
    // Nothing of the fullest may go, so the newcomer's own oldest does.
    make(6, 3).unwrap();
    assert_eq!(table.lookup(&key(&connection(TCP, (6, 1000), (1, 80), 9))), None);
    for n in 1..4 {
        let hit = table.lookup(&key(&connection(TCP, (6, 1000 + n), (1, 80), 9))).unwrap();
        establish(&table, hit.id, START);
    }
    assert_eq!(make(6, 4), Err(Refused::TableFull));
    for client in 10..14 {
        make(client, 0).unwrap();
        make(client, 1).unwrap();
    }
    assert_eq!(table.len(), 40);
    // Now it is for nobody: the fullest port's are all established.
    assert_eq!(make(20, 0), Err(Refused::TableFull));
}

#[test]
fn table_takes_as_many_as_it_has_slots() {
    const SLOTS: u32 = 1 << 20;
    let table = table(SLOTS);
    for n in 0..SLOTS {
        let mut new = connection(TCP, (5, 1024 + (n & 0x7fff) as u16), (1, 80), 9);
        new.original.source = Ipv4Addr::from_bits(0x0af4_0000 | n >> 15);
        assert!(table.create(&new, START).is_ok(), "{n}: {:?}", table.counters());
    }
}

#[test]
fn memory_without_room_is_a_table_without_room() {
    for words in [0, 15, 16, 31] {
        let words: &'static [AtomicU64] = &memory(2)[..words];
        let table = Connections::new(words, 1, &limits(16, 16, 0), Arc::default());
        let new = connection(TCP, (5, 1), (1, 80), 9);
        assert!(matches!(table.create(&new, START), Err(Refused::PortShare | Refused::TableFull)));
        assert_eq!((table.lookup(&key(&new)), table.len()), (None, 0));
        assert!(table.expire(at(1), 10));
    }
}
