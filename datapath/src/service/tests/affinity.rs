//! A client keeps its backend as long as Kubernetes says, and no longer.

use std::net::Ipv4Addr;
use std::sync::Arc;

use protocol::link::{BackendConfig, BackendState, ConfigDelta, ServiceConfig};

use super::bed::*;
use crate::{Limits, Shared, Switch, SwitchOptions};

fn sticky(seconds: u32) -> ServiceConfig {
    ServiceConfig { affinity_seconds: Some(seconds), ..web() }
}

fn ten() -> Vec<BackendConfig> {
    (1..=10).map(backend).collect()
}

/// Slots chosen for 40 new clients, of which not all can be one by chance.
fn strangers(bed: &mut Bed, at: u32) -> Vec<u32> {
    (0..40).map(|n| bed.choose_for(((at + n).into(), 1), &[]).unwrap().slot).collect()
}

#[test]
fn a_client_keeps_its_backend_until_the_timeout_after_its_last_connection() {
    let mut bed = Bed::with(sticky(100), ten());
    let mine = bed.choose().unwrap();
    for _ in 0..20 {
        bed.pass(99);
        assert_eq!(bed.choose_for((CLIENT.0, 7), &[]), Ok(mine), "each connection begins the time anew");
    }
    let first = strangers(&mut bed, 1000);
    assert!(first.iter().any(|slot| *slot != first[0]), "others have others");
    assert_eq!(strangers(&mut bed, 1000), first);
    bed.pass(100);
    assert_ne!(strangers(&mut bed, 1000), first, "forgotten");
}

#[test]
fn a_backend_that_is_gone_or_not_eligible_is_replaced() {
    let mut bed = Bed::with(sticky(100), ten());
    let mine = bed.choose().unwrap();
    let host = mine.address.octets()[3];
    bed.apply(put(WEB, vec![BackendConfig { state: BackendState::Draining, ..backend(host) }]));
    let second = bed.choose().unwrap();
    assert_ne!(second.slot, mine.slot, "others are ready");
    bed.apply(put(WEB, vec![backend(host)]));
    assert_eq!(bed.choose(), Ok(second), "and the new one is kept");
    bed.apply(remove(WEB, &[second.address.octets()[3]]));
    assert_ne!(bed.choose().unwrap().address, second.address);
    let third = bed.choose().unwrap();
    let other = bed.choose_for(CLIENT, &[third.slot]).unwrap();
    assert_ne!(other.slot, third.slot, "it has just refused");
    assert_eq!(bed.choose(), Ok(other));
}

#[test]
fn affinity_ends_with_the_setting() {
    let mut bed = Bed::with(sticky(100), ten());
    let first = strangers(&mut bed, 0);
    bed.apply(services(vec![web()]));
    assert_ne!(strangers(&mut bed, 0), first);
}

#[test]
fn all_workers_know_where_a_client_belongs() {
    let shared = Arc::new(Shared::alone(5, &Limits::default()));
    let mut beds = [Bed::new(), Bed::new()];
    for (worker, bed) in (0..).zip(&mut beds) {
        let options = SwitchOptions { seed: 1, worker, ..SwitchOptions::default() };
        bed.switch = Switch::sharing(options, Arc::clone(&shared));
        bed.rng = crate::service::Rng::new(worker.into());
        bed.apply(ConfigDelta { node: Some(node()), services: vec![sticky(10)], ..put(WEB, ten()) });
    }
    for client in 0..100u32 {
        let client = (Ipv4Addr::from(client), 1);
        let [one, other] = &mut beds;
        assert_eq!(one.choose_for(client, &[]), other.choose_for(client, &[]));
    }
}
