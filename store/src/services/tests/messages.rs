//! Differences of services, as the datapath gets them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use protocol::ServiceId;
use protocol::codec;
use protocol::link::{
    BackendConfig, BackendState, ConfigDelta, Frontend, FrontendKind, MAX_MESSAGE_BYTES, ServiceConfig,
    Transport,
};

use super::*;

fn state(id: u32, tag: u8, backends: impl IntoIterator<Item = (u16, u16)>) -> Arc<ServiceState> {
    let frontend = Frontend { kind: FrontendKind::ClusterIp, address: ip("10.96.0.1"), port: 80 };
    let config = ServiceConfig {
        id: ServiceId(id),
        name: format!("default/{}:80", tag % 3),
        transport: Transport::Tcp,
        frontends: vec![frontend; usize::from(tag / 3)],
        scheduler: Scheduler::Random,
        affinity_seconds: None,
        internal_policy: Default::default(),
        external_policy: Default::default(),
        source_ranges: Vec::new(),
    };
    let backend = |(port, weight): (u16, u16)| {
        let address = ip("10.244.0.2");
        let (state, is_local, is_preferred) = (BackendState::Ready, true, true);
        ((address, port), BackendConfig { address, port, weight, state, is_local, is_preferred })
    };
    Arc::new(ServiceState { config, backends: backends.into_iter().map(backend).collect() })
}

/// As the datapath applies them.
fn apply(services: &mut Services, delta: &ConfigDelta) {
    for id in &delta.forget_services {
        services.remove(*id);
    }
    for config in &delta.services {
        let backends = services.get(config.id).map(|old| old.backends.clone()).unwrap_or_default();
        services.insert(config.id, Arc::new(ServiceState { config: config.clone(), backends }));
    }
    for changes in &delta.backends {
        let mut state = (**services.get(changes.service).expect("backends of no service")).clone();
        for key in &changes.remove {
            assert!(state.backends.remove(key).is_some(), "removed what was not there");
        }
        state.backends.extend(changes.put.iter().map(|backend| ((backend.address, backend.port), *backend)));
        services.insert(changes.service, Arc::new(state));
    }
}

fn size(delta: &ConfigDelta) -> usize {
    codec::encode(delta, usize::MAX).unwrap().len()
}

fn any_services() -> impl Strategy<Value = Services> {
    let backends = prop::collection::btree_map(1u16..6, 0u16..3, 0..5);
    // Numbers of several pages.
    let number = (0u32..4, 0u32..3).prop_map(|(page, slot)| page * 64 + slot);
    prop::collection::btree_map(number, (0u8..9, backends), 0..6).prop_map(|all| {
        all.into_iter().map(|(id, (tag, backends))| (ServiceId(id), state(id, tag, backends))).collect()
    })
}

proptest! {
    #[test]
    fn the_difference_leads_from_one_to_the_other(active in any_services(), wanted in any_services()) {
        let mut result = active.clone();
        for delta in diff(&active, &wanted).in_messages() {
            prop_assert!(!delta.commit);
            apply(&mut result, &delta);
        }
        prop_assert_eq!(&result, &wanted);
        prop_assert_eq!(diff(&wanted, &wanted), ServiceChanges::default());
    }
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u32, u8),
    Remove(u32),
}

fn any_op() -> impl Strategy<Value = Op> {
    let number = (0u32..5, 0u32..3).prop_map(|(page, slot)| page * 64 + slot * 31);
    prop_oneof![
        (number.clone(), 0u8..9).prop_map(|(id, tag)| Op::Insert(id, tag)),
        number.prop_map(Op::Remove),
    ]
}

proptest! {
    /// Against an ordinary map; an earlier copy does not see what comes later.
    #[test]
    fn the_map_is_a_map(before in prop::collection::vec(any_op(), 0..20), after in prop::collection::vec(any_op(), 0..20)) {
        let (mut ours, mut theirs) = (Services::new(), BTreeMap::new());
        let mut run = |ours: &mut Services, ops: Vec<Op>| {
            for op in ops {
                let same = match op {
                    Op::Insert(id, tag) => {
                        let new = state(id, tag, []);
                        ours.insert(ServiceId(id), Arc::clone(&new)) == theirs.insert(ServiceId(id), new)
                    }
                    Op::Remove(id) => ours.remove(ServiceId(id)) == theirs.remove(&ServiceId(id)),
                };
                assert!(same);
            }
            theirs.clone()
        };
        let first = run(&mut ours, before);
        let copy = ours.clone();
        let second = run(&mut ours, after);
        for (ours, theirs) in [(&copy, &first), (&ours, &second)] {
            prop_assert!(ours.iter().eq(theirs.iter().map(|(id, state)| (*id, state))));
            prop_assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
            prop_assert!(theirs.iter().all(|(id, state)| ours.get(*id) == Some(state)));
            let anew: Services = theirs.iter().map(|(id, state)| (*id, Arc::clone(state))).collect();
            prop_assert_eq!(ours, &anew);
        }
        for (id, old, new) in copy.changes(&ours) {
            prop_assert_eq!((old, new), (first.get(&id), second.get(&id)));
        }
        let numbers: std::collections::BTreeSet<_> = copy.changes(&ours).map(|(id, ..)| id).collect();
        for id in (0..400).map(ServiceId).filter(|id| !numbers.contains(id)) {
            prop_assert_eq!(copy.get(id), ours.get(id));
        }
    }
}

#[test]
fn large_changes_are_cut_into_messages() {
    let many: Services = (0..3000).map(|id| (ServiceId(id), state(id, 250, [(1, 1)]))).collect();
    let wide: Services =
        std::iter::once((ServiceId(60_000), state(60_000, 4, (1..=20_000).map(|port| (port, 65_535)))))
            .collect();
    let none = Services::new();
    for (active, wanted) in [(&none, &many), (&many, &none), (&none, &wide), (&wide, &none), (&many, &wide)] {
        let mut result = active.clone();
        for delta in diff(active, wanted).in_messages() {
            assert!(size(&delta) <= MAX_MESSAGE_BYTES * 3 / 4, "{} bytes", size(&delta));
            apply(&mut result, &delta);
        }
        assert_eq!(&result, wanted);
    }
    // All backends of one service go while it stays.
    let empty: Services = std::iter::once((ServiceId(60_000), state(60_000, 4, []))).collect();
    let mut result = wide.clone();
    let deltas = diff(&wide, &empty).in_messages();
    assert!(deltas.len() > 1);
    deltas.iter().for_each(|delta| apply(&mut result, delta));
    assert_eq!(result, empty);
}

#[test]
fn one_change_costs_its_own_size() {
    let many: Services =
        (0..10_000).map(|id| (ServiceId(id), state(id, 4, (1..=10).map(|p| (p, 1))))).collect();
    let mut wanted = many.clone();
    wanted.insert(ServiceId(77), state(77, 4, (2..=10).map(|p| (p, 1))));
    let deltas = diff(&many, &wanted).in_messages();
    assert_eq!(deltas.len(), 1);
    assert!(size(&deltas[0]) < 64);
}
