//! `bandwidth`: how much a pod may receive and send (CONVENTIONS, "bandwidth limits").
//!
//! Directions are the pod's: ingress is what comes to it. Rates are bits per second and bursts bits, which is what makes
//! people write eight times too little.

use serde_json::{Map, Value};

use crate::json::{Node, Problems};

/// Most bits of a burst: 4 GB, as the reference plugin has it, whose kernel counts a burst's bytes in 32 bits.
pub const MAX_BURST_BITS: u64 = 8 * (u32::MAX as u64);

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Bits per second; not 0.
    pub bits_per_second: u64,
    /// Bits that may pass at once after a rest; not 0, at most [`MAX_BURST_BITS`].
    pub burst_bits: u64,
}

impl Rate {
    /// The rate as the switch counts, in bytes per second, at least 1.
    #[must_use]
    pub const fn bytes_per_second(self) -> u64 {
        self.bits_per_second.div_ceil(8)
    }

    /// The burst as the switch counts, in bytes, at least 1.
    #[must_use]
    pub const fn burst_bytes(self) -> u64 {
        self.burst_bits.div_ceil(8)
    }
}

/// Limits of a pod; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bandwidth {
    /// To the pod.
    pub ingress: Option<Rate>,
    /// From the pod.
    pub egress: Option<Rate>,
}

pub(super) fn read(node: &Node<'_>, problems: &mut Problems) -> Bandwidth {
    let Some(map) = node.object(problems) else { return Bandwidth::default() };
    Bandwidth {
        ingress: rate(node, map, ["ingressRate", "ingressBurst"], problems),
        egress: rate(node, map, ["egressRate", "egressBurst"], problems),
    }
}

/// 0 is no limit, and one of the two is not enough.
fn rate(
    node: &Node<'_>,
    map: &Map<String, Value>,
    [rate_key, burst_key]: [&str; 2],
    problems: &mut Problems,
) -> Option<Rate> {
    let number = |key: &str, most: u64, problems: &mut Problems| match Node::of(map, &node.path, key) {
        Some(field) => field.number(0..=most, problems),
        None => Some(0),
    };
    let bits_per_second = number(rate_key, u64::MAX, problems);
    let burst_bits = number(burst_key, MAX_BURST_BITS, problems);
    match (bits_per_second?, burst_bits?) {
        (0, 0) => None,
        (_, 0) => {
            problems.invalid(node, format!("{rate_key} needs a {burst_key} (bits)"));
            None
        }
        (0, _) => {
            problems.invalid(node, format!("{burst_key} needs a {rate_key} (bits per second)"));
            None
        }
        (bits_per_second, burst_bits) => Some(Rate { bits_per_second, burst_bits }),
    }
}
