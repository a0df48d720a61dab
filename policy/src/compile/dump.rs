//! For tests: tables without the numbers that depend on what came first.

use std::collections::BTreeMap;

use protocol::ObjectRef;

use super::Compiler;
use crate::model::Direction;
use protocol::link::policy::{PortMap, Table};

impl Compiler {
    /// Per pod and direction all that its table says, in names.
    pub(crate) fn dump(&self) -> BTreeMap<(ObjectRef, Direction), String> {
        let mut dump = BTreeMap::new();
        for (name, state) in &self.pods {
            for direction in [Direction::Ingress, Direction::Egress] {
                let table = self.tables.table_of(state.identity, direction).unwrap();
                let text = self.dump_table(self.tables.table(table).unwrap());
                dump.insert((name.clone(), direction), text);
            }
        }
        dump
    }

    fn dump_table(&self, table: &Table) -> String {
        let map = |id: u32| -> &PortMap { &table.maps[id as usize] };
        let rules: Vec<_> = table
            .rules
            .iter()
            .map(|rule| {
                (rule.tier, rule.action, self.tables.policy(rule.policy).unwrap().clone(), rule.index)
            })
            .collect();
        let row = |(identity, id): &(u32, u32)| {
            assert!(self.identities.get(*identity).is_some(), "a row of an identity that is gone");
            (format!("{:?}", self.identities.key(*identity)), map(*id))
        };
        let identities: BTreeMap<_, _> = table.identities.iter().map(row).collect();
        let blocks: Vec<_> = table.blocks.iter().map(|(first, id)| (first, map(*id))).collect();
        format!("{rules:?} {:?} {identities:?} {blocks:?}", map(table.anyone))
    }
}
