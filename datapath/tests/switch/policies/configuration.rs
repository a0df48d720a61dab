//! What control says of policies: refused whole if it does not fit together, and the same for all workers.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use datapath::{ConfigError, Limits, Shared, Switch, SwitchOptions};
use protocol::link::policy::{
    Action, Assigned, More, Owner, PortMap, Rows, Span, Table, TableChange, TableRule,
};
use protocol::link::{ConfigDelta, PolicyChange};

use super::bed::*;
use crate::common::*;

fn table() -> Table {
    Table {
        rules: vec![TableRule { tier: 49, action: Action::Deny, policy: 3, index: Some(0) }],
        anyone: 1,
        identities: vec![(1, 0), (2, 1)],
        blocks: vec![(0, 0)],
        maps: vec![PortMap::default(), PortMap(vec![Span { from: 0, ranks: vec![0] }])],
    }
}

fn whole(table: Table) -> PolicyChange {
    PolicyChange { tables: vec![(1, TableChange::Whole(table))], ..PolicyChange::default() }
}

#[track_caller]
fn problem(h: &mut Harness, policies: PolicyChange) -> String {
    let delta = ConfigDelta { epoch: h.switch.epoch() + 1, policies, commit: true, ..ConfigDelta::default() };
    match h.switch.apply(&delta, h.now) {
        Err(ConfigError::BadPolicies(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_does_not_fit_together_is_refused_by_name_and_changes_nothing() {
    let mut world = World::new();
    world.isolate("b", &peers(&["c"]));
    let mut h = asking(&mut world);
    let epoch = h.switch.epoch();
    let change = |id, change| PolicyChange { tables: vec![(id, change)], ..PolicyChange::default() };
    let rows = |at| Rows { maps: vec![(at, PortMap::default())], ..Rows::default() };
    let rule = table().rules[0];
    for (change, wanted) in [
        (change(9999, TableChange::Gone), "there is no table 9999"),
        (change(9999, TableChange::More(More::default())), "there is no table 9999"),
        (change(9999, TableChange::Rows(Rows::default())), "there is no table 9999"),
        (change(0, TableChange::Rows(rows(u32::MAX))), "table 0: map 4294967295 is beyond the last, 8388607"),
        (whole(Table { anyone: 2, ..table() }), "table 1: there is no map 2, only 2"),
        (
            whole(Table { identities: vec![(2, 0), (2, 1)], ..table() }),
            "table 1: its identities are not sorted",
        ),
        (
            whole(Table { blocks: vec![(2, 0), (1, 1)], ..table() }),
            "table 1: its address ranges are not sorted",
        ),
        (
            whole(Table { rules: vec![rule, TableRule { tier: 1, ..rule }], ..table() }),
            "table 1: its rules are not sorted by tier",
        ),
        (whole(Table { rules: vec![], ..table() }), "table 1: map 1: there is no rule 0, only 0"),
        (
            whole(Table { rules: vec![TableRule { policy: 1 << 16, ..rule }], ..table() }),
            "table 1: policy 65536 is beyond the last, 65535",
        ),
        (
            PolicyChange {
                identities: vec![(77, Some(Assigned { ingress: 0, egress: 500 }))],
                ..<_>::default()
            },
            "identity 77: there is no table 500",
        ),
        (
            PolicyChange {
                addresses: vec![(ip(A_IP), Some(Owner::Pod { pod: 1, identity: 88, node: None }))],
                ..<_>::default()
            },
            "address 10.244.0.2: there is no identity 88",
        ),
    ] {
        assert_eq!(problem(&mut h, change), wanted);
    }
    assert_eq!(h.switch.epoch(), epoch);
    h.assert_dropped(A, &udp(direct(A_IP, B_IP), 5, 6, b""), "policy_denied_ingress");
}

#[test]
fn pieces_take_effect_together() {
    let mut world = World::new();
    let mut h = asking(&mut world);
    world.isolate("b", &peers(&["c"]));
    let epoch = h.switch.epoch() + 1;
    for policies in world.compiler.commit().pieces() {
        h.switch.apply(&ConfigDelta { epoch, policies, ..ConfigDelta::default() }, h.now).unwrap();
    }
    passes(&mut h, A, &udp(direct(A_IP, B_IP), 5, 6, b""), B);
    h.switch.apply(&ConfigDelta { epoch, commit: true, ..ConfigDelta::default() }, h.now).unwrap();
    h.assert_dropped(A, &udp(direct(A_IP, B_IP), 5, 6, b""), "policy_denied_ingress");
}

#[test]
fn workers_share_tables_connections_and_notes() {
    let limits = Limits { connections: 1 << 10, connection_reserve: 0, ..Limits::default() };
    let words: Vec<_> =
        std::iter::repeat_with(|| AtomicU64::new(0)).take(Shared::connection_words(&limits)).collect();
    let shared = Arc::new(Shared::new(Box::leak(words.into_boxed_slice()), 1, &limits));
    let mut workers = [0, 1].map(|worker| {
        let mut h = Harness::bare(limits);
        let options = SwitchOptions { seed: 1, limits, has_peers: true, worker };
        h.switch = Switch::sharing(options, Arc::clone(&shared));
        h.apply(ConfigDelta { node: Some(node()), attach: standard_ports(), ..ConfigDelta::default() });
        h
    });
    let mut world = World::new();
    world.isolate("b", &peers(&["a"]));
    world.confine("b", &serde_json::Value::Null);
    for h in &mut workers {
        world.tell_all(h, node());
        h.deltas();
    }
    let [one, two] = &mut workers;
    passes(one, A, &udp(direct(A_IP, B_IP), 5, 6, b""), B);
    passes(two, B, &udp(direct(B_IP, A_IP), 6, 5, b""), A);
    one.assert_dropped(VM, &udp(direct(VM_IP, B_IP), 5, 6, b""), "policy_denied_ingress");
    assert_eq!(one.switch.denials(0, 9), two.switch.denials(0, 9));
    assert_eq!(two.switch.denials(0, 9).0.len(), 1);
    assert_eq!(one.switch.policies_page(0, 9), two.switch.policies_page(0, 9));
    // Prepared by all, and committed by all.
    world.isolate("b", &peers(&["c"]));
    let pieces = world.compiler.commit().pieces();
    for h in [&mut *one, &mut *two] {
        commit(h, ConfigDelta::default(), pieces.clone());
    }
    two.assert_dropped(B, &udp(direct(B_IP, A_IP), 6, 5, b""), "policy_denied_ingress");
    one.assert_dropped(A, &udp(direct(A_IP, B_IP), 5, 6, b""), "policy_denied_ingress");
}
