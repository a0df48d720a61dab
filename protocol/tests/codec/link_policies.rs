//! Sample messages about decision tables.

use protocol::PortId;
use protocol::link::policy::{
    Action, Assigned, DeniedBy, DeniedFlow, More, Owner, PortMap, Rows, Span, Table, TableChange, TableRule,
};
use protocol::link::{PolicyChange, PolicyCounts};
use protocol::object::PolicyDirection;

/// A change with everything that one can say.
pub(crate) fn change() -> PolicyChange {
    let table = Table {
        rules: vec![
            TableRule { tier: 49, action: Action::Pass, policy: 300, index: Some(2) },
            TableRule { tier: 50, action: Action::Deny, policy: 7, index: None },
        ],
        anyone: 1,
        identities: vec![(4, 2), (70_000, 1)],
        blocks: vec![(0, 0), (0xffff_0a00_0000, 2), (u128::MAX, 0)],
        maps: vec![PortMap::default(), map(), map()],
    };
    let more = More { table: table.clone(), joins: true };
    let rows = Rows { maps: vec![(3, map())], more: vec![(3, map())], rows: vec![(4, 3), (5, 0)] };
    PolicyChange {
        tables: vec![
            (1, TableChange::Whole(table)),
            (1, TableChange::More(more)),
            (2, TableChange::Rows(rows)),
            (3, TableChange::Gone),
        ],
        identities: vec![(4, Some(Assigned { ingress: 1, egress: 2 })), (5, None)],
        addresses: vec![
            ("10.244.0.2".parse().unwrap(), Some(Owner::Pod { pod: 9, identity: 4, node: Some(1) })),
            ("192.0.2.1".parse().unwrap(), Some(Owner::Node(1))),
            ("fd00::1".parse().unwrap(), None),
        ],
        gone: vec![8],
    }
}

fn map() -> PortMap {
    PortMap(vec![Span { from: 6 << 16 | 80, ranks: vec![0, 1] }, Span { from: 6 << 16 | 81, ranks: vec![] }])
}

pub(crate) fn counts() -> PolicyCounts {
    PolicyCounts { policy: 7, denied: 1_000, allowed: 3 }
}

pub(crate) fn denial() -> DeniedFlow {
    DeniedFlow {
        number: 78,
        at_nanos: 1_234_567_890_123,
        source: "10.244.0.2".parse().unwrap(),
        destination: "10.244.1.9".parse().unwrap(),
        protocol: 6,
        source_port: 40_000,
        destination_port: 8080,
        direction: PolicyDirection::Ingress,
        by: Some(DeniedBy { policy: 7, rule: None }),
        ingress: PortId(4),
        packets: 12,
    }
}
