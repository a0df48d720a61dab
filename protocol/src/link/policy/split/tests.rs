use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::codec::{CodecId, encode_as};
use crate::link::policy::{Action, Assigned, Owner};
use crate::link::{ConfigDelta, Envelope, MAX_MESSAGE_BYTES, ToDatapath};

/// The greatest numbers there are, so that everything is as long as it can be.
fn map(spans: u32, ranks: u32) -> PortMap {
    let ranks: Vec<_> = (u32::MAX - ranks..u32::MAX).collect();
    PortMap((0..spans).map(|n| Span { from: u32::MAX - spans + n, ranks: ranks.clone() }).collect())
}

fn table(rules: u32, rows: u32, maps: u32, spans: u32) -> Table {
    let rule = TableRule { tier: u16::MAX, action: Action::Pass, policy: u32::MAX, index: Some(u32::MAX) };
    Table {
        rules: vec![rule; rules as usize],
        anyone: 7,
        identities: (0..rows).map(|n| (u32::MAX - rows + n, u32::MAX)).collect(),
        blocks: (0..rows).map(|n| (u128::MAX - u128::from(rows - n), u32::MAX)).collect(),
        maps: (0..maps).map(|at| map(spans * (at % 3), 3)).collect(),
    }
}

fn change() -> PolicyChange {
    let rows = Rows {
        maps: vec![(1, map(2, 2)), (4, map(9_000, 2)), (2, PortMap::default())],
        more: vec![(4, map(3, 1))],
        rows: (0..20_000).map(|n| (n, u32::MAX)).collect(),
    };
    PolicyChange {
        tables: vec![
            (1, TableChange::Whole(table(3, 3, 3, 1))),
            (2, TableChange::Whole(table(9_000, 9_000, 40, 300))),
            (1, TableChange::Rows(rows)),
            (3, TableChange::Gone),
            (4, TableChange::Whole(table(1, 0, 2, 20_000))),
            (5, TableChange::Whole(Table::default())),
        ],
        identities: (0..9_000).map(|n| (n, Some(Assigned { ingress: u32::MAX, egress: u32::MAX }))).collect(),
        addresses: (0..9_000)
            .map(|n| {
                let owner = Owner::Pod { pod: u32::MAX, identity: u32::MAX, node: Some(u32::MAX) };
                (IpAddr::V4(Ipv4Addr::from_bits(n)), Some(owner))
            })
            .collect(),
        gone: (0..20_000).collect(),
    }
}

type Tables = std::collections::BTreeMap<u32, Table>;

fn apply(tables: &mut Tables, change: &PolicyChange) {
    for (id, change) in &change.tables {
        if let Some(table) = change.applied(tables.remove(id)) {
            tables.insert(*id, table);
        }
    }
}

#[test]
fn pieces_come_to_the_same_and_each_fits_a_message() {
    let whole = change();
    let mut wanted = Tables::from([(3, Table::default())]);
    apply(&mut wanted, &whole);
    let pieces = whole.clone().pieces();
    assert!(pieces.len() > 10, "only {} pieces", pieces.len());
    let mut got = Tables::from([(3, Table::default())]);
    for piece in &pieces {
        let delta = ConfigDelta { epoch: u64::MAX, policies: piece.clone(), ..ConfigDelta::default() };
        let message = Envelope { id: u64::MAX, body: ToDatapath::Apply(delta) };
        for codec in [CodecId::Bincode, CodecId::Postcard] {
            assert!(
                encode_as(codec, &message, MAX_MESSAGE_BYTES).is_ok(),
                "a piece is too large for {codec:?}"
            );
        }
        apply(&mut got, piece);
    }
    assert!(wanted == got, "the pieces come to something else");
    let lists = |of: fn(&PolicyChange) -> usize| pieces.iter().map(of).sum::<usize>();
    assert_eq!(lists(|piece| piece.identities.len()), whole.identities.len());
    assert_eq!(lists(|piece| piece.addresses.len()), whole.addresses.len());
    assert_eq!(lists(|piece| piece.gone.len()), whole.gone.len());
}

#[test]
fn what_is_small_stays_one_piece_and_nothing_is_none() {
    let small = PolicyChange { tables: vec![(1, TableChange::Whole(table(3, 3, 3, 1)))], ..<_>::default() };
    assert_eq!(small.clone().pieces(), [small]);
    assert_eq!(PolicyChange::default().pieces(), []);
}
