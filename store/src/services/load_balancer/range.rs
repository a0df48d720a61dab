//! A range of addresses: `192.0.2.0/24`, `192.0.2.10-192.0.2.20`, or one address.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Addresses from one to another, both included.
///
/// INVARIANT: `first` is not after `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Neither form.
    #[error("\"{0}\" is not a range such as 192.0.2.0/24 or 192.0.2.10-192.0.2.20")]
    Text(String),
    /// Its last address is before the first.
    #[error("\"{0}\" ends before it begins")]
    Backwards(String),
    /// It has bits behind its prefix length.
    #[error("\"{text}\" has bits behind its prefix length; did you mean {meant}?")]
    HostBits {
        /// As given.
        text: String,
        /// Without those bits.
        meant: Ipv4Net,
    },
}

impl AddressRange {
    /// All addresses of a network, the first and the last included.
    #[must_use]
    pub fn of(net: Ipv4Net) -> Self {
        Self { first: net.network(), last: net.broadcast() }
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&ip)
    }

    /// Whether they have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Every address, in order.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (self.first.to_bits()..=self.last.to_bits()).map(Ipv4Addr::from_bits)
    }

    /// As a network, if it is one.
    fn net(&self) -> Option<Ipv4Net> {
        let differing = (self.first.to_bits() ^ self.last.to_bits()).leading_zeros();
        let len = u8::try_from(differing).ok()?;
        Ipv4Net::new(self.first, len).ok().filter(|net| Self::of(*net) == *self)
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let unreadable = || RangeError::Text(text.to_owned());
        if let Some((first, last)) = text.split_once('-') {
            let address = |part: &str| part.trim().parse::<Ipv4Addr>().map_err(|_| unreadable());
            let (first, last) = (address(first)?, address(last)?);
            if last < first {
                return Err(RangeError::Backwards(text.to_owned()));
            }
            return Ok(Self { first, last });
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self { first: ip, last: ip });
        }
        let net: Ipv4Net = text.parse().map_err(|_| unreadable())?;
        if net.trunc() != net {
            return Err(RangeError::HostBits { text: text.to_owned(), meant: net.trunc() });
        }
        Ok(Self::of(net))
    }
}

impl TryFrom<String> for AddressRange {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    /// As it would be written; a network as such.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.net() {
            Some(net) if net.prefix_len() < 32 => net.fmt(f),
            Some(_) => self.first.fmt(f),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}
