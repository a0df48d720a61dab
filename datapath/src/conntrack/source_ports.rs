//! Which source ports to try for a translated packet, in which order.
//!
//! First those like the client's own: of its class (below 1024 or not, RFC 4787 REQ-3a: a server may trust one and not the
//! other) and parity (REQ-4: RTP and RTCP), then less like it. Each list is walked round from a random start (RFC 6056), so ports cannot be
//! guessed and full stretches are not walked again and again.

use std::ops::RangeInclusive;

/// Ports of each list that are tried at most. With a share `f` of a large range free, all of them are taken with
/// probability `(1 - f)^1024`: one in 30,000 where one port in a hundred is free. A list no longer is tried to its end.
const TRIES: u32 = 1024;

const CLASS_SIZE: u16 = 1024;

/// Candidates in `range` in place of `port`, which is not among them.
pub(super) fn candidates(port: u16, range: RangeInclusive<u16>, random: u64) -> impl Iterator<Item = u16> {
    let classes = if port < CLASS_SIZE { [LOW, HIGH] } else { [HIGH, LOW] };
    let lists = classes.into_iter().flat_map(move |class| [(class, port & 1), (class, port & 1 ^ 1)]);
    lists
        .flat_map(move |((first, last), parity)| {
            let (first, last) = (first.max(*range.start()), last.min(*range.end()));
            round(first, last, parity, random)
        })
        .filter(move |other| *other != port)
}

const LOW: (u16, u16) = (1, CLASS_SIZE - 1);
const HIGH: (u16, u16) = (CLASS_SIZE, u16::MAX);

/// Ports from `first` to `last` of one parity, each once, from a random one on.
fn round(first: u16, last: u16, parity: u16, random: u64) -> impl Iterator<Item = u16> {
    let (first, last) = (u32::from(first), u32::from(last));
    let first = first + (first & 1 ^ u32::from(parity));
    let count = if first > last { 0 } else { (last - first) / 2 + 1 };
    let start = random.checked_rem(count.into()).and_then(|start| u32::try_from(start).ok()).unwrap_or(0);
    (0..count.min(TRIES)).filter_map(move |step| {
        let position = (start + step) % count;
        u16::try_from(first + position * 2).ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_other_port_of_a_small_range_comes_once_likest_first(
            port: u16,
            first in 1u16..=u16::MAX,
            len in 0u16..2000,
            random: u64,
        ) {
            let range = first..=first.saturating_add(len);
            let ports: Vec<u16> = candidates(port, range.clone(), random).collect();
            let mut sorted = ports.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, range.filter(|other| *other != port).collect::<Vec<_>>());
            let unlike = |other: &u16| ((*other < 1024) != (port < 1024), (other ^ port) & 1);
            prop_assert!(ports.is_sorted_by_key(unlike));
        }

        #[test]
        fn work_is_bounded(port: u16, random: u64) {
            prop_assert!(candidates(port, 1..=u16::MAX, random).count() <= 4 * TRIES as usize);
            let none = RangeInclusive::new(9, 3);
            prop_assert_eq!(candidates(port, none, random).count(), 0);
            prop_assert!(candidates(port, 0..=u16::MAX, random).all(|other| other != 0));
        }
    }
}
