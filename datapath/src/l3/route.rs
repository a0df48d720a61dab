//! Longest-prefix match for IPv4.
//!
//! One sorted list per prefix length in use, longest first. A node has a few lengths (its
//! pods' /32s, the Pod CIDRs of nodes), so a lookup is that many binary searches, of 13 steps with 5,000
//! nodes; the flow
//! table sees most frames anyway. Built anew with each configuration, never changed in place.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use protocol::{PeerId, PortId};

/// Where a prefix leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The station configured behind this port.
    Port(PortId),
    /// The router's own address.
    Router,
    /// The node, through the gateway port.
    Node,
    /// Another node.
    Peer(PeerId),
    /// This node's Pod CIDR: a learned neighbour, or nobody.
    Connected,
    /// Outside the cluster.
    Uplink,
    /// The cluster's, but nobody's: never sent outside.
    Nowhere,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Longest prefix first; each list sorted by network.
    lengths: Vec<(u8, Vec<(Ipv4Addr, Target)>)>,
}

impl Routes {
    /// A table of these routes; of two for one prefix, the first counts.
    pub(crate) fn new(routes: impl IntoIterator<Item = (Ipv4Net, Target)>) -> Self {
        let mut lengths: Vec<(u8, Vec<(Ipv4Addr, Target)>)> = Vec::new();
        for (prefix, target) in routes {
            let row = (prefix.network(), target);
            match lengths.iter_mut().find(|(len, _)| *len == prefix.prefix_len()) {
                Some((_, rows)) => rows.push(row),
                None => lengths.push((prefix.prefix_len(), vec![row])),
            }
        }
        lengths.sort_unstable_by_key(|(len, _)| std::cmp::Reverse(*len));
        for (_, rows) in &mut lengths {
            rows.sort_by_key(|(network, _)| *network);
            rows.dedup_by_key(|(network, _)| *network);
        }
        Self { lengths }
    }

    /// Where `destination` leads.
    pub(crate) fn lookup(&self, destination: Ipv4Addr) -> Option<Target> {
        self.lengths.iter().find_map(|(len, rows)| {
            let network = Ipv4Addr::from_bits(destination.to_bits() & mask(*len));
            let position = rows.binary_search_by_key(&network, |(network, _)| *network).ok()?;
            rows.get(position).map(|(_, target)| *target)
        })
    }
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few bits, so that prefixes nest and destinations hit.
    fn prefix() -> impl Strategy<Value = Ipv4Net> {
        (0..64u32, 0..=32u8).prop_map(|(bits, len)| {
            Ipv4Net::new(Ipv4Addr::from_bits(bits << 26 | bits), len).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn lookup_equals_a_linear_scan(
            prefixes in proptest::collection::vec(prefix(), 0..40),
            destinations in proptest::collection::vec((0..64u32, 0..64u32), 1..40),
        ) {
            let routes: Vec<_> =
                (0u32..).zip(prefixes).map(|(n, prefix)| (prefix, Target::Port(PortId(n)))).collect();
            let table = Routes::new(routes.iter().copied());
            for (high, low) in destinations {
                let destination = Ipv4Addr::from_bits(high << 26 | low);
                let wanted = routes
                    .iter()
                    .filter(|(prefix, _)| prefix.contains(&destination))
                    // Of equal lengths the first: `max_by_key` takes the last, hence reversed.
                    .rev()
                    .max_by_key(|(prefix, _)| prefix.prefix_len())
                    .map(|(_, target)| *target);
                prop_assert_eq!(table.lookup(destination), wanted);
            }
        }
    }

    #[test]
    fn default_route_matches_everything_and_loses_to_all() {
        let table = Routes::new([
            ("0.0.0.0/0".parse().unwrap(), Target::Node),
            ("10.244.0.0/24".parse().unwrap(), Target::Connected),
            ("10.244.0.5/32".parse().unwrap(), Target::Port(PortId(5))),
        ]);
        assert_eq!(table.lookup([10, 244, 0, 5].into()), Some(Target::Port(PortId(5))));
        assert_eq!(table.lookup([10, 244, 0, 6].into()), Some(Target::Connected));
        assert_eq!(table.lookup([10, 245, 0, 6].into()), Some(Target::Node));
        assert_eq!(Routes::default().lookup([10, 244, 0, 5].into()), None);
    }
}
