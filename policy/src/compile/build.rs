//! One table: all of it, or the rows of some identities.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bits::Bits;
use super::groups::Groups;
use super::identities::{Identity, IdentityKey};
use super::interner::Interner;
use super::policies::{ALL_PORTS, CompiledPolicy, CompiledRule, TableKey};
use super::sweep::{Covering, Range, sweep};
use crate::cluster::NamedPort;
use crate::model::{Action, Direction, Place, PolicyName};
use protocol::link::policy::Rows;
use protocol::link::policy::{PortMap, Span, Table, TableRule};

/// What has to be known of a table in order to change it.
#[derive(Debug)]
pub(super) struct BuiltTable {
    direction: Direction,
    ranked: Vec<Ranked>,
    maps: Interner<MapKey, PortMap>,
}

/// A rule of the table, by rank.
#[derive(Debug)]
struct Ranked {
    rule: TableRule,
    /// None: the end of the `NetworkPolicy` objects, which is a rule for everyone and everything.
    source: Option<Arc<CompiledRule>>,
    /// With the pod's own named ports, if they are what the rule means.
    ports: Vec<Range>,
}

/// What a map follows from.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct MapKey {
    ranks: Vec<u32>,
    /// The peer's, where a rule names its ports.
    ports: BTreeSet<NamedPort>,
}

/// What tables are made from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'c> {
    pub(super) policies: &'c Interner<PolicyName, CompiledPolicy>,
    pub(super) groups: &'c Groups,
    pub(super) identities: &'c Interner<IdentityKey, Identity>,
}

impl BuiltTable {
    /// Makes a table.
    pub(super) fn new(key: &TableKey, sources: Sources<'_>) -> (Self, Table) {
        let ranked = ranked(key, sources.policies);
        let mut built = Self { direction: key.direction, ranked, maps: Interner::default() };
        let mut table =
            Table { rules: built.ranked.iter().map(|ranked| ranked.rule).collect(), ..Table::default() };
        built.maps.acquire(MapKey::default(), PortMap::default);
        let everyone = (0..).zip(&built.ranked).filter(|(_, ranked)| ranked.is_for_anyone());
        table.anyone = built.map(everyone.map(|(rank, _)| rank).collect(), None);
        table.identities = built.all_rows(sources);
        let blocks = sweep(built.blocks(), |covering| covering.keys().copied().collect::<Vec<u32>>());
        table.blocks = blocks.into_iter().map(|(first, ranks)| (first, built.map(ranks, None))).collect();
        table.maps = (0..).map_while(|id| built.maps.key(id).and(built.maps.get(id)).cloned()).collect();
        (built, table)
    }

    fn all_rows(&mut self, sources: Sources<'_>) -> Vec<(u32, u32)> {
        let mut matches: Vec<(u32, u32)> = Vec::new();
        for (rank, ranked) in (0..).zip(&self.ranked) {
            for group in ranked.groups().iter().filter_map(|group| sources.groups.get(*group)) {
                matches.extend(group.members.iter().map(|identity| (identity, rank)));
            }
        }
        matches.sort_unstable();
        matches.dedup();
        let rows = matches.chunk_by(|a, b| a.0 == b.0).filter_map(|same| {
            let (identity, _) = *same.first()?;
            let ranks = same.iter().map(|(_, rank)| *rank).collect();
            Some((identity, self.map(ranks, sources.identities.key(identity))))
        });
        rows.collect()
    }

    /// What changes in the table by identities that came to groups or left them.
    pub(super) fn rows(
        &mut self,
        table: &Table,
        identities: &BTreeSet<u32>,
        memberships: &BTreeMap<u32, Bits>,
        sources: Sources<'_>,
    ) -> Option<Rows> {
        let mut changed = Rows::default();
        for identity in identities {
            let groups = memberships.get(identity);
            let is_member = |ranked: &Ranked| {
                groups.is_some_and(|groups| ranked.groups().iter().any(|group| groups.contains(*group)))
            };
            let ranks = (0..).zip(&self.ranked).filter(|(_, ranked)| is_member(ranked));
            let ranks = ranks.map(|(rank, _)| rank).collect();
            let map = self.map(ranks, sources.identities.key(*identity));
            let old = table.map_of(Some(*identity));
            self.release(if map == old { map } else { old });
            if map != old {
                changed.rows.push((*identity, map));
                let is_known = table.maps.get(map as usize) == self.maps.get(map);
                changed
                    .maps
                    .extend(self.maps.get(map).filter(|_| !is_known).map(|ports| (map, ports.clone())));
            }
        }
        self.maps.reclaim();
        (!changed.rows.is_empty()).then_some(changed)
    }

    fn release(&mut self, map: u32) {
        if map != EMPTY {
            self.maps.release(map);
        }
    }

    /// The number of a map, for one more user.
    fn map(&mut self, ranks: Vec<u32>, identity: Option<&Arc<IdentityKey>>) -> u32 {
        if ranks.is_empty() {
            return EMPTY;
        }
        let names = |ranked: &Ranked| ranked.source.as_ref().is_some_and(|rule| !rule.named.is_empty());
        let has_names = self.direction == Direction::Egress
            && ranks.iter().filter_map(|rank| self.ranked.get(*rank as usize)).any(names);
        let ports = identity.filter(|_| has_names).map(|identity| identity.ports.clone());
        let key = MapKey { ranks, ports: ports.unwrap_or_default() };
        // Twice the key only where the map is new.
        if let Some(id) = self.maps.id(&key) {
            self.maps.acquire(key, PortMap::default);
            return id;
        }
        let map = self.port_map(&key);
        self.maps.acquire(key, || map).0
    }

    fn port_map(&self, key: &MapKey) -> PortMap {
        let ranges = key.ranks.iter().filter_map(|rank| Some((*rank, self.ranked.get(*rank as usize)?)));
        let ranges = ranges.flat_map(|(rank, ranked)| {
            let ranges = match &ranked.source {
                Some(rule) if !key.ports.is_empty() => rule.ports_with(Some(&key.ports)),
                Some(_) | None => ranked.ports.clone(),
            };
            ranges.into_iter().map(move |range| (range, rank))
        });
        let spans = sweep(ranges, |covering| self.first_per_tier(covering));
        let span = |(from, ranks)| Some(Span { from: u32::try_from(from).ok()?, ranks });
        PortMap(spans.into_iter().filter_map(span).collect())
    }

    /// The others of a tier are not reached, whether the first allows, denies or passes.
    fn first_per_tier(&self, covering: &Covering) -> Vec<u32> {
        let mut ranks = Vec::new();
        let mut next = 0;
        while let Some((rank, _)) = covering.range(next..).next() {
            ranks.push(*rank);
            let Some(tier) = self.ranked.get(*rank as usize).map(|ranked| ranked.rule.tier) else { break };
            let end = self.ranked.partition_point(|ranked| ranked.rule.tier <= tier);
            next = u32::try_from(end).unwrap_or(u32::MAX);
        }
        ranks
    }

    fn blocks(&self) -> impl Iterator<Item = (Range, u32)> {
        (0..).zip(&self.ranked).flat_map(|(rank, ranked)| {
            let blocks = ranked.source.iter().flat_map(|rule| &rule.blocks);
            blocks.map(move |range| (*range, rank))
        })
    }
}

/// The map without ranks: what an identity has that has no row. It stays, and its users are not counted.
const EMPTY: u32 = 0;

impl Ranked {
    fn is_for_anyone(&self) -> bool {
        self.source.as_ref().is_none_or(|rule| rule.anyone)
    }

    fn groups(&self) -> &[u32] {
        self.source.as_ref().map_or(&[], |rule| &rule.groups)
    }
}

/// The rules of the table's policies, in the order in which they are asked.
fn ranked(key: &TableKey, policies: &Interner<PolicyName, CompiledPolicy>) -> Vec<Ranked> {
    let names = (key.direction == Direction::Ingress).then_some(&key.ports);
    let mut all = Vec::new();
    let mut isolating = None;
    let mut selecting =
        key.policies.iter().filter_map(|id| policies.get(*id).map(|policy| (*id, policy))).peekable();
    while let Some((policy, compiled)) = selecting.next() {
        let place = compiled.policy.place;
        for rule in compiled.rules(key.direction).unwrap_or_default() {
            let action = rule.action;
            all.push(Ranked {
                rule: TableRule { tier: place.tier, action, policy, index: Some(rule.index) },
                source: Some(Arc::clone(rule)),
                ports: rule.ports_with(names),
            });
        }
        if place != Place::NETWORK_POLICIES {
            continue;
        }
        let policy = *isolating.get_or_insert(policy);
        if selecting.peek().is_none_or(|(_, next)| next.policy.place != Place::NETWORK_POLICIES) {
            all.push(Ranked {
                rule: TableRule { tier: place.tier, action: Action::Deny, policy, index: None },
                source: None,
                ports: vec![ALL_PORTS],
            });
        }
    }
    all
}
