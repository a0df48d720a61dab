//! Which address a pod gets.
//!
//! INVARIANT: an address is in at most one of `used` and `cooling`, and both hold only addresses
//! of the range that are neither its first (network), second (gateway) nor last (broadcast).
//!
//! Free addresses are given out round-robin from the last one, so that an address rests as long as
//! possible; one that was released is not given out for [`COOL_DOWN`], not even by name, because
//! peers may still hold its neighbour entry and connections to it. [`Ipam::allocate_again`] is the exception: what peers
//! hold then is of the one who gets it.
//!
//! Time is whatever monotonic clock the caller passes as a `Duration` since its own start.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

/// How long a released address rests (as the AWS VPC CNI plugin does).
pub const COOL_DOWN: Duration = Duration::from_secs(30);

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Not of the node's range, or of the wrong family.
    #[error("address {ip} is not in this node's Pod CIDR {cidr}")]
    OutsideRange {
        /// What was asked for.
        ip: IpAddr,
        /// The range.
        cidr: IpNet,
    },
    /// One of the addresses no pod may have.
    #[error("address {ip} is the {role} address of {cidr}; choose another")]
    Reserved {
        /// What was asked for.
        ip: IpAddr,
        /// "network", "gateway" or "broadcast".
        role: &'static str,
        /// The range.
        cidr: IpNet,
    },
    /// Somebody has it.
    #[error("address {ip} is in use by {owner}")]
    InUse {
        /// What was asked for.
        ip: IpAddr,
        /// Who has it.
        owner: String,
    },
    /// It was released a moment ago.
    #[error("address {ip} was released a moment ago and may be used again in {seconds} s")]
    Cooling {
        /// What was asked for.
        ip: IpAddr,
        /// Until it is free.
        seconds: u64,
    },
    /// No address left.
    #[error(
        "no free address in {cidr}: {used} in use, {cooling} cooling down{}",
        next_free.map(|s| format!(" (the next is free in {s} s)")).unwrap_or_default()
    )]
    Exhausted {
        /// The range.
        cidr: IpNet,
        /// Addresses in use.
        used: usize,
        /// Addresses that were released less than [`COOL_DOWN`] ago.
        cooling: usize,
        /// Seconds until the first of those is free.
        next_free: Option<u64>,
    },
}

/// The addresses of one range.
#[derive(Debug, Clone)]
pub struct Ipam {
    cidr: IpNet,
    /// Address → owner.
    used: BTreeMap<IpAddr, String>,
    cooling: BTreeMap<IpAddr, Cooling>,
    /// Last one given out by rotation; the search for the next starts behind it.
    last: IpAddr,
}

/// An address that rests.
#[derive(Debug, Clone)]
struct Cooling {
    free_at: Duration,
    /// Who had it; unknown if that was before a start.
    last_owner: Option<String>,
}

impl Ipam {
    /// All addresses of `cidr` are free.
    #[must_use]
    pub fn new(cidr: IpNet) -> Self {
        let cidr = cidr.trunc();
        Self { cidr, used: BTreeMap::new(), cooling: BTreeMap::new(), last: gateway_of(cidr) }
    }

    /// The second address of the range: the pods' default gateway.
    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        gateway_of(self.cidr)
    }

    /// Gives `owner` the address `wanted`, or the next free one.
    ///
    /// # Errors
    /// Why there is none; nothing was changed.
    pub fn allocate(
        &mut self,
        owner: &str,
        wanted: Option<IpAddr>,
        now: Duration,
    ) -> Result<IpAddr, IpamError> {
        self.expire(now);
        let ip = match wanted {
            Some(ip) => {
                self.check_free(ip, now)?;
                ip
            }
            None => {
                let ip = self.next_free().ok_or_else(|| self.exhausted(now))?;
                self.last = ip;
                ip
            }
        };
        self.used.insert(ip, owner.to_owned());
        Ok(ip)
    }

    /// As [`Ipam::allocate`] of `wanted`, which need not have rested if it was `owner` who had it.
    ///
    /// # Errors
    /// Why not; nothing was changed.
    pub fn allocate_again(
        &mut self,
        owner: &str,
        wanted: IpAddr,
        now: Duration,
    ) -> Result<IpAddr, IpamError> {
        let had = |rest: &Cooling| rest.last_owner.as_deref() == Some(owner);
        if self.cooling.get(&wanted).is_some_and(had) {
            self.cooling.remove(&wanted);
        }
        self.allocate(owner, Some(wanted), now)
    }

    /// Gives `owner` the next free address of the first of `ranges` (first and last address) that has one.
    ///
    /// # Errors
    /// Why there is none; nothing was changed.
    pub fn allocate_within(
        &mut self,
        owner: &str,
        ranges: &[(IpAddr, IpAddr)],
        now: Duration,
    ) -> Result<IpAddr, IpamError> {
        self.expire(now);
        let found = ranges.iter().find_map(|range| self.next_free_in(*range));
        let ip = found.ok_or_else(|| self.exhausted(now))?;
        self.last = ip;
        self.used.insert(ip, owner.to_owned());
        Ok(ip)
    }

    /// Marks an address as taken by a pod that exists already, at start.
    ///
    /// # Errors
    /// When it cannot belong to a pod of this node, or somebody has it.
    pub fn adopt(&mut self, owner: &str, ip: IpAddr) -> Result<(), IpamError> {
        self.check_usable(ip)?;
        if let Some(owner) = self.used.get(&ip) {
            return Err(IpamError::InUse { ip, owner: owner.clone() });
        }
        self.cooling.remove(&ip);
        self.used.insert(ip, owner.to_owned());
        Ok(())
    }

    /// Takes an address back; it rests for [`COOL_DOWN`]. No effect if it is not in use.
    pub fn release(&mut self, ip: IpAddr, now: Duration) {
        if let Some(owner) = self.used.remove(&ip) {
            self.cooling.insert(ip, Cooling { free_at: now + COOL_DOWN, last_owner: Some(owner) });
        }
    }

    /// Takes back an address that no frame can have carried: it is free at once. No effect if it is
    /// not in use.
    pub fn abandon(&mut self, ip: IpAddr) {
        self.used.remove(&ip);
    }

    /// Continues a rest that began `ago` before `now`, at start.
    pub fn resume_cooling(&mut self, ip: IpAddr, ago: Duration, now: Duration) {
        let remaining = COOL_DOWN.saturating_sub(ago);
        if !remaining.is_zero() && !self.used.contains_key(&ip) && self.check_usable(ip).is_ok() {
            self.cooling.insert(ip, Cooling { free_at: now + remaining, last_owner: None });
        }
    }

    /// Who has `ip`.
    #[must_use]
    pub fn owner(&self, ip: IpAddr) -> Option<&str> {
        self.used.get(&ip).map(String::as_str)
    }

    /// Addresses in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.len()
    }

    /// Addresses in use and at rest.
    #[must_use]
    pub fn held(&self) -> usize {
        self.used.len() + self.cooling.len()
    }

    fn expire(&mut self, now: Duration) {
        self.cooling.retain(|_, rest| rest.free_at > now);
    }

    fn check_usable(&self, ip: IpAddr) -> Result<(), IpamError> {
        let cidr = self.cidr;
        if !cidr.contains(&ip) {
            return Err(IpamError::OutsideRange { ip, cidr });
        }
        let role = if ip == cidr.network() {
            "network"
        } else if ip == self.gateway() {
            "gateway"
        } else if ip == cidr.broadcast() {
            "broadcast"
        } else {
            return Ok(());
        };
        Err(IpamError::Reserved { ip, role, cidr })
    }

    fn check_free(&self, ip: IpAddr, now: Duration) -> Result<(), IpamError> {
        self.check_usable(ip)?;
        if let Some(owner) = self.used.get(&ip) {
            return Err(IpamError::InUse { ip, owner: owner.clone() });
        }
        match self.cooling.get(&ip) {
            Some(rest) => Err(IpamError::Cooling { ip, seconds: whole_seconds(rest.free_at, now) }),
            None => Ok(()),
        }
    }

    /// At most one step more than there are addresses in `used` and `cooling`.
    fn next_free(&self) -> Option<IpAddr> {
        let first = successor(self.gateway());
        let mut ip = successor(self.last);
        for _ in 0..=self.used.len() + self.cooling.len() + 1 {
            if self.check_usable(ip).is_err() {
                ip = first;
            }
            if self.check_usable(ip).is_err() {
                return None;
            }
            if !self.used.contains_key(&ip) && !self.cooling.contains_key(&ip) {
                return Some(ip);
            }
            ip = successor(ip);
        }
        None
    }

    /// Behind the last one given out, then from the beginning. What is skipped is in use, resting or reserved, so there are no more
    /// steps than that.
    fn next_free_in(&self, (start, end): (IpAddr, IpAddr)) -> Option<IpAddr> {
        let (start, end) = (start.max(self.cidr.network()), end.min(self.cidr.broadcast()));
        let is_free = |ip: IpAddr| {
            self.check_usable(ip).is_ok() && !self.used.contains_key(&ip) && !self.cooling.contains_key(&ip)
        };
        let first_free = |from: IpAddr, to: IpAddr| {
            let mut ip = from;
            while ip <= to {
                if is_free(ip) {
                    return Some(ip);
                }
                if ip == to {
                    return None;
                }
                ip = successor(ip);
            }
            None
        };
        let behind = successor(self.last);
        if start < behind && behind <= end {
            return first_free(behind, end).or_else(|| first_free(start, self.last));
        }
        first_free(start, end)
    }

    /// Whether another address could be given out.
    ///
    /// # Errors
    /// Why none.
    pub fn has_free(&mut self, now: Duration) -> Result<(), IpamError> {
        self.expire(now);
        self.next_free().map(drop).ok_or_else(|| self.exhausted(now))
    }

    fn exhausted(&self, now: Duration) -> IpamError {
        IpamError::Exhausted {
            cidr: self.cidr,
            used: self.used.len(),
            cooling: self.cooling.len(),
            next_free: self
                .cooling
                .values()
                .map(|rest| rest.free_at)
                .min()
                .map(|free_at| whole_seconds(free_at, now)),
        }
    }
}

/// The address after the network's own.
fn gateway_of(cidr: IpNet) -> IpAddr {
    successor(cidr.network())
}

fn successor(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(1)).into(),
    }
}

/// Rounded up, so that waiting that long is enough.
fn whole_seconds(until: Duration, now: Duration) -> u64 {
    until.saturating_sub(now).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
