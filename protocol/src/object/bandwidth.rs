//! How much a pod may send and receive.

use serde::{Deserialize, Serialize};

/// Limits of a pod's traffic; a direction without a rate has no limit.
///
/// Directions are the pod's, as with Kubernetes and the CNI bandwidth plugin: ingress comes to it, egress leaves it. Rates are
/// bits per second and bursts bits, of IP packets as they are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bandwidth {
    /// What may come to the pod, in bits per second.
    pub ingress_rate: Option<u64>,
    /// What may come at once after a rest, in bits; [`Rate::default_burst`] without.
    pub ingress_burst: Option<u64>,
    /// What the pod may send, in bits per second.
    pub egress_rate: Option<u64>,
    /// What it may send at once after a rest, in bits; [`Rate::default_burst`] without.
    pub egress_burst: Option<u64>,
}

/// The limit of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Not 0.
    pub bits_per_second: u64,
    /// Not 0.
    pub burst_bits: u64,
}

impl Rate {
    /// Lowest rate: below it a packet takes longer than connections live. As Kubernetes' annotations have it.
    pub const MIN: u64 = 1_000;
    /// Highest rate, far above what any link does. As Kubernetes' annotations have it.
    pub const MAX: u64 = 1_000_000_000_000_000;
    /// Most bits of a burst: 4 GB, as the CNI bandwidth plugin has it, whose kernel counts its bytes in 32 bits.
    pub const MAX_BURST: u64 = 8 * (u32::MAX as u64);

    /// The burst of a limit that names none: what 20 ms let pass, but a superframe at least.
    #[must_use]
    pub const fn default_burst(bits_per_second: u64) -> u64 {
        let (least, wanted) = (8 * 64 * 1024, bits_per_second / 50);
        if wanted < least {
            least
        } else if wanted > Self::MAX_BURST {
            Self::MAX_BURST
        } else {
            wanted
        }
    }

    fn of(rate: Option<u64>, burst: Option<u64>) -> Option<Self> {
        let bits_per_second = rate?;
        let burst_bits = burst.unwrap_or(Self::default_burst(bits_per_second));
        Some(Self { bits_per_second, burst_bits })
    }
}

impl Bandwidth {
    /// The limit of what comes to the pod.
    #[must_use]
    pub fn ingress(&self) -> Option<Rate> {
        Rate::of(self.ingress_rate, self.ingress_burst)
    }

    /// The limit of what the pod sends.
    #[must_use]
    pub fn egress(&self) -> Option<Rate> {
        Rate::of(self.egress_rate, self.egress_burst)
    }

    /// Whether the limits can be kept for packets of at most `ip_mtu` bytes.
    ///
    /// # Errors
    /// Says what is wrong, naming the field.
    pub fn check(&self, ip_mtu: u16) -> Result<(), String> {
        check("ingress", self.ingress_rate, self.ingress_burst, ip_mtu)?;
        check("egress", self.egress_rate, self.egress_burst, ip_mtu)
    }
}

fn check(direction: &str, rate: Option<u64>, burst: Option<u64>, ip_mtu: u16) -> Result<(), String> {
    match rate {
        Some(0) => {
            return Err(format!(
                "{direction} rate 0 would stop everything; leave it out for no limit, or use a network policy"
            ));
        }
        Some(rate) if rate < Rate::MIN => {
            return Err(format!("{direction} rate {rate} bit/s is below the least, {} bit/s", Rate::MIN));
        }
        Some(rate) if rate > Rate::MAX => {
            return Err(format!("{direction} rate {rate} bit/s is above the most, {} bit/s", Rate::MAX));
        }
        Some(_) => {}
        None if burst.is_some() => return Err(format!("{direction} burst without {direction} rate")),
        None => {}
    }
    let Some(burst) = burst else { return Ok(()) };
    let least = 8 * u64::from(ip_mtu);
    if burst < least {
        return Err(format!(
            "{direction} burst {burst} bits is less than one full packet, {least} bits ({ip_mtu} bytes)"
        ));
    }
    if burst > Rate::MAX_BURST {
        return Err(format!(
            "{direction} burst {burst} bits is above the most, {} bits (4 GB)",
            Rate::MAX_BURST
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingress(rate: Option<u64>, burst: Option<u64>) -> Bandwidth {
        Bandwidth { ingress_rate: rate, ingress_burst: burst, ..Bandwidth::default() }
    }

    #[test]
    fn limits_that_cannot_be_kept_are_refused_by_their_field() {
        for (rate, burst, wanted) in [
            (Some(0), None, "ingress rate 0 would stop everything"),
            (Some(999), None, "ingress rate 999 bit/s is below the least"),
            (Some(Rate::MAX + 1), None, "is above the most"),
            (None, Some(1 << 20), "ingress burst without ingress rate"),
            (Some(10_000_000), Some(11_999), "less than one full packet, 12000 bits (1500 bytes)"),
            (Some(10_000_000), Some(Rate::MAX_BURST + 1), "(4 GB)"),
        ] {
            let problem = ingress(rate, burst).check(1500).unwrap_err();
            assert!(problem.contains(wanted), "{problem}");
            let Bandwidth { ingress_rate, ingress_burst, .. } = ingress(rate, burst);
            let other =
                Bandwidth { egress_rate: ingress_rate, egress_burst: ingress_burst, ..ingress(None, None) };
            assert!(other.check(1500).unwrap_err().contains("egress"));
        }
    }

    #[test]
    fn each_direction_is_optional_and_bounds_are_inclusive() {
        for bandwidth in [
            Bandwidth::default(),
            ingress(Some(Rate::MIN), Some(12_000)),
            ingress(Some(Rate::MAX), Some(Rate::MAX_BURST)),
            Bandwidth { egress_rate: Some(1_000_000), ..Bandwidth::default() },
        ] {
            assert_eq!(bandwidth.check(1500), Ok(()));
        }
    }

    #[test]
    fn burst_of_a_limit_without_one_follows_its_rate() {
        for (rate, burst) in [
            (1_000, 524_288),
            (10_000_000, 524_288),
            (1_000_000_000, 20_000_000),
            (Rate::MAX, Rate::MAX_BURST),
        ] {
            assert_eq!(ingress(Some(rate), None).ingress().unwrap().burst_bits, burst);
        }
        assert_eq!(ingress(Some(5_000), Some(99)).ingress().unwrap().burst_bits, 99);
        assert_eq!(ingress(Some(5_000), None).egress(), None);
    }
}
