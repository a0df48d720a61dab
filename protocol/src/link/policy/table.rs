//! A decision table: what the policies of one direction that select a pod come to. Plain data; pods that are selected by the
//! same policies share one.
//!
//! How it works: a table's rules are numbered by rank, in the order in which they are asked. Three looks find the ranks that match
//! a packet: those for whoever the peer is, those for the peer's identity (binary search), those for its address (binary
//! search among disjoint ranges). Each yields a [`PortMap`], in which a binary search finds the ranks for protocol and port: at most one
//! per tier, the first that matches there. Walking the three short lists in order of rank is the decision. So it depends on the
//! number of tiers (a constant's bound) and the logarithm of the table's size, not on how many policies there are.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// Lets it through; nothing after it is asked.
    Allow,
    /// Drops it; nothing after it is asked.
    Deny,
    /// The rest of this tier is not asked, the next tier is.
    Pass,
}

/// A decision table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// By rank. INVARIANT: tiers never go down.
    pub rules: Vec<TableRule>,
    /// In `maps`: whoever the peer is.
    pub anyone: u32,
    /// Identity, and in `maps`. INVARIANT: sorted, each identity once.
    pub identities: Vec<(u32, u32)>,
    /// First address ([`address_key`]) and in `maps`; each range ends where the next begins. INVARIANT: sorted.
    pub blocks: Vec<(u128, u32)>,
    /// The ranks by protocol and port. INVARIANT: the first is empty.
    pub maps: Vec<PortMap>,
}

/// The next part of a table that is larger than a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct More {
    /// What follows in each of its lists; `anyone` says nothing.
    pub table: Table,
    /// The first of its maps goes on with the last one that was told.
    pub joins: bool,
}

/// A rule, or what ends the `NetworkPolicy` objects of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRule {
    /// Of its policy, lower first.
    pub tier: u16,
    /// What becomes of what it matches.
    pub action: Action,
    /// The number of its policy; of the first that isolates, if it is no rule.
    pub policy: u32,
    /// Which of the policy's rules. None: the pod is isolated, and nothing has allowed the packet.
    pub index: Option<u32>,
}

/// Ranks by protocol and port. INVARIANT: sorted by `from`; each span ends where the next begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortMap(pub Vec<Span>);

/// Protocols and ports with the same ranks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first ([`port_key`]).
    pub from: u32,
    /// At most one per tier. INVARIANT: sorted.
    pub ranks: Vec<u32>,
}

/// Protocol, by its number in the IP header, and port as one number.
#[must_use]
pub fn port_key(protocol: u8, port: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(port)
}

/// An address as one number, those of IPv4 where RFC 4291 §2.5.5.2 maps them. Nothing on the wire has a mapped address.
#[must_use]
pub fn address_key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    }
}

impl TableRule {
    /// Whether what it decides may go.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.action == Action::Allow
    }
}

impl PortMap {
    fn ranks(&self, key: u32) -> &[u32] {
        let after = self.0.partition_point(|span| span.from <= key);
        after.checked_sub(1).and_then(|at| self.0.get(at)).map_or(&[], |span| &span.ranks)
    }
}

impl Table {
    /// The rule that decides, if any does. Without one the packet may go.
    #[must_use]
    pub fn lookup(
        &self,
        address: IpAddr,
        identity: Option<u32>,
        protocol: u8,
        port: u16,
    ) -> Option<&TableRule> {
        let key = port_key(protocol, port);
        let ranks = |map: u32| self.maps.get(map as usize).map_or(&[][..], |map| map.ranks(key));
        let mut lists = [ranks(self.anyone), ranks(self.map_of(identity)), ranks(self.map_at(address))];
        let mut passed = None;
        while let Some(rank) = lists.iter().filter_map(|list| list.first().copied()).min() {
            for list in &mut lists {
                if let Some((first, rest)) = list.split_first()
                    && *first == rank
                {
                    *list = rest;
                }
            }
            let rule = self.rules.get(rank as usize)?;
            match rule.action {
                _ if passed == Some(rule.tier) => {}
                Action::Allow | Action::Deny => return Some(rule),
                Action::Pass => passed = Some(rule.tier),
            }
        }
        None
    }

    /// In `maps`: the ranks for an identity; 0 for nothing of its own.
    #[must_use]
    pub fn map_of(&self, identity: Option<u32>) -> u32 {
        let Some(identity) = identity else { return 0 };
        let found = self.identities.binary_search_by_key(&identity, |(identity, _)| *identity);
        found.ok().and_then(|at| self.identities.get(at)).map_or(0, |(_, map)| *map)
    }

    fn map_at(&self, address: IpAddr) -> u32 {
        let key = address_key(address);
        let after = self.blocks.partition_point(|(first, _)| *first <= key);
        after.checked_sub(1).and_then(|at| self.blocks.get(at)).map_or(0, |(_, map)| *map)
    }

    /// Whether it decides nothing, whatever comes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Goes on with a table that was told in parts.
    pub fn append(&mut self, more: &More) {
        self.rules.extend(&more.table.rules);
        self.identities.extend(&more.table.identities);
        self.blocks.extend(&more.table.blocks);
        let mut maps = more.table.maps.iter();
        if more.joins
            && let (Some(last), Some(rest)) = (self.maps.last_mut(), maps.next())
        {
            last.0.extend(rest.0.iter().cloned());
        }
        self.maps.extend(maps.cloned());
    }

    /// Goes on with a map that was told in parts.
    pub fn append_map(&mut self, at: u32, more: &PortMap) {
        if let Some(map) = self.maps.get_mut(at as usize) {
            map.0.extend(more.0.iter().cloned());
        }
    }

    /// Changes what is decided for an identity; 0 for nothing of its own.
    pub fn set_row(&mut self, identity: u32, map: u32) {
        match self.identities.binary_search_by_key(&identity, |(identity, _)| *identity) {
            Ok(at) if map == 0 => {
                self.identities.remove(at);
            }
            Ok(at) => {
                if let Some((_, old)) = self.identities.get_mut(at) {
                    *old = map;
                }
            }
            Err(_) if map == 0 => {}
            Err(at) => self.identities.insert(at, (identity, map)),
        }
    }

    /// Puts a map into its place.
    pub fn set_map(&mut self, at: u32, map: PortMap) {
        let at = at as usize;
        if self.maps.len() <= at {
            self.maps.resize(at + 1, PortMap::default());
        }
        if let Some(old) = self.maps.get_mut(at) {
            *old = map;
        }
    }
}
