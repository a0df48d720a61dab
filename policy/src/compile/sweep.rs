//! Overlapping ranges, each of a rank, into disjoint ones with the ranks that cover them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::model::Block;
use protocol::link::policy::address_key;

/// From the first to the last, both included.
pub(super) type Range = (u128, u128);

/// Ranks that cover a point, with how often.
pub(super) type Covering = BTreeMap<u32, u32>;

/// What covers the numbers from here to the next entry, as `reduce` has it. Before the first entry there is nothing.
pub(super) fn sweep<V: PartialEq + Default>(
    ranges: impl IntoIterator<Item = (Range, u32)>,
    reduce: impl Fn(&Covering) -> V,
) -> Vec<(u128, V)> {
    let mut events: Vec<(u128, bool, u32)> = Vec::new();
    for ((first, last), rank) in ranges {
        events.push((first, true, rank));
        events.extend(last.checked_add(1).map(|end| (end, false, rank)));
    }
    events.sort_unstable();
    let mut covering = Covering::new();
    let mut swept: Vec<(u128, V)> = Vec::new();
    for same in events.chunk_by(|a, b| a.0 == b.0) {
        // Begins before ends, so that no count is taken below zero.
        for (_, begins, rank) in same.iter().rev() {
            let count = covering.entry(*rank).or_default();
            *count = if *begins { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                covering.remove(rank);
            }
        }
        let value = reduce(&covering);
        let is_news = swept.last().map_or(value != V::default(), |(_, last)| *last != value);
        if is_news && let Some((at, _, _)) = same.first() {
            swept.push((*at, value));
        }
    }
    swept
}

/// What an `ipBlock` covers, in the order of [`address_key`].
pub(super) fn block_ranges(block: &Block) -> Vec<Range> {
    /// Where IPv4 is mapped to, which no IPv6 block means.
    const MAPPED: Range = (0xffff_0000_0000, 0xffff_ffff_ffff);
    let mut ranges = vec![range(&block.cidr)];
    for except in &block.except {
        ranges = without(&ranges, range(except));
    }
    match block.cidr {
        IpNet::V4(_) => ranges,
        IpNet::V6(_) => without(&ranges, MAPPED),
    }
}

fn range(net: &IpNet) -> Range {
    (address_key(net.network()), address_key(net.broadcast()))
}

fn without(ranges: &[Range], (cut_first, cut_last): Range) -> Vec<Range> {
    let mut rest = Vec::new();
    for &(first, last) in ranges {
        if cut_last < first || last < cut_first {
            rest.push((first, last));
            continue;
        }
        rest.extend(cut_first.checked_sub(1).filter(|end| *end >= first).map(|end| (first, end)));
        rest.extend(cut_last.checked_add(1).filter(|start| *start <= last).map(|start| (start, last)));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swept(ranges: &[(Range, u32)]) -> Vec<(u128, Vec<u32>)> {
        sweep(ranges.iter().copied(), |covering| covering.keys().copied().collect())
    }

    #[test]
    fn ranges_become_disjoint() {
        let all = (0, u128::MAX);
        assert_eq!(swept(&[]), []);
        assert_eq!(swept(&[(all, 3)]), [(0, vec![3])]);
        assert_eq!(
            swept(&[((5, 9), 1), ((7, 20), 0)]),
            [(5, vec![1]), (7, vec![0, 1]), (10, vec![0]), (21, vec![])]
        );
        // One rank over itself, and end to end.
        assert_eq!(swept(&[((5, 9), 1), ((6, 7), 1), ((10, 12), 1)]), [(5, vec![1]), (13, vec![])]);
    }

    #[test]
    fn blocks_leave_out_their_exceptions() {
        let block = |cidr: &str, except: &[&str]| {
            let except = except.iter().map(|net| net.parse().unwrap()).collect();
            block_ranges(&Block { cidr: cidr.parse().unwrap(), except })
        };
        let v4 = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(
            block("10.0.0.0/24", &["10.0.0.0/25", "10.0.0.0/26", "10.0.0.192/27"]),
            [(v4("10.0.0.128"), v4("10.0.0.191")), (v4("10.0.0.224"), v4("10.0.0.255"))]
        );
        assert_eq!(block("10.0.0.0/31", &["10.0.0.0/32", "10.0.0.1/32"]), []);
        assert_eq!(
            block("::/0", &[]),
            [(0, v4("0.0.0.0") - 1), (v4("255.255.255.255") + 1, u128::MAX)],
            "IPv4 is no part of ::/0"
        );
        assert_eq!(block("0.0.0.0/0", &[]), [(v4("0.0.0.0"), v4("255.255.255.255"))]);
    }
}
