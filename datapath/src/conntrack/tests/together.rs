//! Several workers at once, with real threads.

use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::*;

/// A and AAAA of one resolver: two packets of one new connection, at two workers, again and again. Both end up in
/// the same, and neither is lost.
#[test]
fn workers_that_create_the_same_connection_agree() {
    const ROUNDS: u16 = 5000;
    let table = table(u32::from(ROUNDS));
    let barrier = Barrier::new(2);
    let worker = |server: u8| {
        let (table, barrier) = (&table, &barrier);
        move || {
            let make = |n| {
                barrier.wait();
                let new = connection(UDP, (5, n), (1, 53), server);
                table.create(&new, START).unwrap()
            };
            (0..ROUNDS).map(make).collect::<Vec<_>>()
        }
    };
    let (ours, theirs) = std::thread::scope(|scope| {
        let other = scope.spawn(worker(8));
        (worker(9)(), other.join().unwrap())
    });
    for (a, b) in ours.iter().zip(&theirs) {
        assert_eq!(a.hit(), b.hit());
        let is_new = |created: &Created| matches!(created, Created::New(_));
        assert!(is_new(a) != is_new(b), "exactly one made it");
    }
    assert_eq!((table.len(), table.counters().created), (ROUNDS.into(), ROUNDS.into()));
}

/// While connections come and go, in few slots: whoever looks one up gets it as it is, never a mixture of two, and
/// one that stays is found every time.
#[test]
fn readers_beside_a_writer_see_whole_connections() {
    let table = table(8);
    let staying = connection(TCP, (1, 1), (1, 80), 1);
    let stays = create(&table, &staying);
    let is_over = AtomicBool::new(false);
    let (table, is_over) = (&table, &is_over);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..200_000u32 {
                let n = (n % 251) as u8;
                let new = connection(UDP, (n, n.into()), (n, n.into()), n);
                let id = table.create(&new, START).unwrap().hit().id;
                table.track(id, Direction::Reply, None, START);
                assert!(table.remove(id));
            }
            is_over.store(true, Relaxed);
        });
        let mut found = 0u32;
        let mut n = 0u8;
        while !is_over.load(Relaxed) {
            n = (n + 1) % 251;
            let new = connection(UDP, (n, n.into()), (n, n.into()), n);
            if let Some(hit) = table.lookup(&key(&new)) {
                if let Some(translation) = table.translation(hit.id, Direction::Original) {
                    let to =
                        Tuple { destination: new.server.0, destination_port: new.server.1, ..new.original };
                    assert_eq!(translation, Translation::new(&new.original, to));
                    found += 1;
                }
                table.track(hit.id, Direction::Original, None, START);
            }
            assert_eq!(table.lookup(&key(&staying)).map(|hit| hit.id), Some(stays));
            for (_, row) in table.rows_from(0) {
                let tuple = row.original().tuple();
                assert!(tuple.source.octets()[3] == tuple.destination.octets()[3]);
            }
        }
        assert!(found > 0);
    });
    assert_eq!((table.len(), table.state(stays)), (1, Some(State::SynSent)));
}
