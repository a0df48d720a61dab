//! Each scheduler chooses as it is described, and never whom it was told not to.

use protocol::link::{BackendConfig, Scheduler, ServiceConfig};

use super::bed::*;
use crate::service::NoBackend;

/// Backends 1, 2, … of these weights.
fn weighted(scheduler: Scheduler, weights: &[u16]) -> Bed {
    let backends =
        (1..).zip(weights).map(|(host, weight)| BackendConfig { weight: *weight, ..backend(host) });
    Bed::with(ServiceConfig { scheduler, ..web() }, backends.collect())
}

/// How often each of backends 1 to `n` is in `hosts`.
fn shares(hosts: &[u8], n: u8) -> Vec<usize> {
    (1..=n).map(|host| hosts.iter().filter(|h| **h == host).count()).collect()
}

#[test]
fn random_gives_each_the_same() {
    let mut bed = weighted(Scheduler::Random, &[1; 10]);
    let shares = shares(&bed.hosts(100_000), 10);
    // Standard deviation 95.
    assert!(shares.iter().all(|share| share.abs_diff(10_000) < 500), "{shares:?}");
}

#[test]
fn round_robin_goes_around_whatever_the_weights() {
    let mut bed = weighted(Scheduler::RoundRobin, &[1, 0, 9]);
    assert_eq!(bed.hosts(7), [1, 2, 3, 1, 2, 3, 1]);
    bed.apply(put(WEB, vec![backend(4)]));
    assert_eq!(bed.hosts(5), [2, 3, 4, 1, 2], "goes on after a change");
    bed.apply(remove(WEB, &[2, 3, 4]));
    assert_eq!(bed.hosts(2), [1, 1]);
}

#[test]
fn weighted_round_robin_spreads_each_ones_share() {
    // nginx's example of smooth weighted round robin.
    let mut bed = weighted(Scheduler::WeightedRoundRobin, &[5, 1, 1]);
    assert_eq!(bed.hosts(14), [1, 1, 2, 1, 3, 1, 1, 1, 1, 2, 1, 3, 1, 1]);
    let mut bed = weighted(Scheduler::WeightedRoundRobin, &[4, 3, 2, 0]);
    assert_eq!(shares(&bed.hosts(90), 4), [40, 30, 20, 0]);
    let mut bed = weighted(Scheduler::WeightedRoundRobin, &[65_535, 1]);
    assert_eq!(shares(&bed.hosts(65_536), 2), [65_535, 1]);
}

#[test]
fn least_connections_fills_up_evenly() {
    let mut bed = weighted(Scheduler::LeastConnections, &[9, 1, 0]);
    assert_eq!(bed.hosts_opened(6), [1, 2, 3, 1, 2, 3]);
    let second = bed.slot(2);
    bed.services().shared().active.closed(second);
    bed.services().shared().active.closed(second);
    assert_eq!(bed.hosts_opened(3), [2, 2, 3]);
}

#[test]
fn connections_that_end_at_once_do_not_all_go_to_the_first() {
    let mut bed = weighted(Scheduler::LeastConnections, &[1, 1, 1]);
    assert_eq!(bed.hosts(4), [1, 2, 3, 1]);
}

#[test]
fn weighted_least_connections_compares_fractions() {
    let mut bed = weighted(Scheduler::WeightedLeastConnections, &[2, 1, 0]);
    // 0/2 0/1 → 1/2 0/1 → 1/2 1/1 → 2/2 1/1 (equal: in turn) → 2/2 2/1 → 3/2 2/1
    assert_eq!(bed.hosts_opened(6), [1, 2, 1, 2, 1, 1]);
    assert_eq!(shares(&bed.hosts_opened(294), 3).iter().sum::<usize>(), 294);
    let active = |host| bed.services().shared().active.of(bed.slot(host));
    assert_eq!([active(1), active(2), active(3)], [200, 100, 0]);
}

#[test]
fn shortest_expected_delay_counts_the_new_connection() {
    let mut bed = weighted(Scheduler::ShortestExpectedDelay, &[3, 1, 0]);
    // (0+1)/3 against (0+1)/1, and so on; at 3/3 and 1/1 it is the other's turn.
    assert_eq!(bed.hosts_opened(8), [1, 1, 2, 1, 1, 1, 2, 1]);
}

#[test]
fn never_queue_takes_an_idle_one_first() {
    let mut bed = weighted(Scheduler::NeverQueue, &[3, 1, 0]);
    assert_eq!(bed.hosts_opened(2), [1, 2], "2 is idle, although 1 would be faster");
    // Until (5+1)/3 is no less than (1+1)/1.
    assert_eq!(bed.hosts_opened(5), [1, 1, 1, 1, 2]);
    let second = bed.slot(2);
    for _ in 0..2 {
        bed.services().shared().active.closed(second);
    }
    assert_eq!(bed.hosts_opened(1), [2]);
}

#[test]
fn hashes_stay_where_they_are_and_spread() {
    for scheduler in [Scheduler::SourceHash, Scheduler::Maglev] {
        let mut bed = weighted(scheduler, &[1; 10]);
        let clients: Vec<_> = (0..10_000u32).map(|n| ((0x0af4_0000 + n).into(), 40_000)).collect();
        let mut hosts = || -> Vec<u8> {
            clients.iter().map(|c| bed.choose_for(*c, &[]).unwrap().address.octets()[3]).collect()
        };
        let first = hosts();
        assert_eq!(first, hosts(), "{scheduler:?}");
        let shares = shares(&first, 10);
        assert!(shares.iter().all(|share| (700..1300).contains(share)), "{scheduler:?}: {shares:?}");
    }
    let mut bed = weighted(Scheduler::DestinationHash, &[1; 10]);
    assert_eq!(shares(&bed.hosts(100), 10).iter().max(), Some(&100));
}

#[test]
fn a_hashed_client_has_the_same_backend_whatever_order_they_came_in() {
    for scheduler in [Scheduler::SourceHash, Scheduler::DestinationHash, Scheduler::Maglev] {
        let mut forwards = weighted(scheduler, &[1; 5]);
        let mut backwards = Bed::with(ServiceConfig { scheduler, ..web() }, Vec::new());
        for host in (1..=5).rev() {
            backwards.apply(put(WEB, vec![backend(host)]));
        }
        for n in 0..100u32 {
            let client = (n.into(), 1);
            let chosen = forwards.choose_for(client, &[]).unwrap();
            assert_eq!(chosen.address, backwards.choose_for(client, &[]).unwrap().address, "{scheduler:?}");
        }
    }
}

#[test]
fn source_port_matters_to_maglev_alone() {
    let hosts = |scheduler| {
        let mut bed = weighted(scheduler, &[1; 10]);
        let choose = |port| bed.choose_for((CLIENT.0, port), &[]).unwrap().slot;
        let mut slots: Vec<_> = (0..1000).map(choose).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.len()
    };
    assert_eq!((hosts(Scheduler::SourceHash), hosts(Scheduler::Maglev)), (1, 10));
}

#[test]
fn removing_one_of_ten_moves_few_maglev_clients() {
    let mut bed = weighted(Scheduler::Maglev, &[1; 10]);
    let choose = |bed: &mut Bed| -> Vec<u8> {
        (0..10_000u32).map(|n| bed.choose_for((n.into(), 1), &[]).unwrap().address.octets()[3]).collect()
    };
    let before = choose(&mut bed);
    bed.apply(remove(WEB, &[4]));
    let moved = before.iter().zip(choose(&mut bed)).filter(|(old, new)| **old != 4 && *old != new).count();
    assert!(moved < 2_000, "{moved} of 9,000 moved without need");
}

#[test]
fn excluded_backends_are_not_chosen_until_none_is_left() {
    for scheduler in Scheduler::ALL {
        let mut bed = weighted(scheduler, &[1, 2, 3]);
        let mut exclude = Vec::new();
        for round in 0..3 {
            for client in 0..50u32 {
                let chosen = bed.choose_for((client.into(), 9), &exclude).unwrap();
                assert!(!exclude.contains(&chosen.slot), "{scheduler:?}");
            }
            exclude.push(bed.choose_for(CLIENT, &exclude).unwrap().slot);
            assert_eq!(exclude.len(), round + 1);
        }
        assert_eq!(bed.choose_for(CLIENT, &exclude), Err(NoBackend::None), "{scheduler:?}");
        // And those that refuse do not lose their turn for ever.
        assert!(bed.choose().is_ok(), "{scheduler:?}");
    }
}

#[test]
fn weight_zero_gets_nothing_from_weighted_schedulers() {
    use Scheduler as S;
    for scheduler in Scheduler::ALL {
        let is_weighted = matches!(
            scheduler,
            S::WeightedRoundRobin
                | S::WeightedLeastConnections
                | S::ShortestExpectedDelay
                | S::NeverQueue
                | S::Maglev
        );
        let mut bed = weighted(scheduler, &[0, 0]);
        assert_eq!(bed.choose().is_err(), is_weighted, "{scheduler:?}");
        let changed = BackendConfig { weight: 1, ..backend(2) };
        bed.apply(put(WEB, vec![changed]));
        if is_weighted {
            assert_eq!(shares(&bed.hosts(10), 2), [0, 10], "{scheduler:?}");
        }
    }
}
