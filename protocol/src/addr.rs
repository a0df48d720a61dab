//! Address types that cannot hold a wrong value.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IEEE 802 MAC-48 address. Six octets on the wire, text in JSON and YAML.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All ones: every station on the segment (IEEE 802.3 §3.2.3).
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The pod address that belongs to `ip`: `0a:58` followed by the last four octets of the
    /// address, as the CNI reference plugins derive theirs. Locally administered, unicast.
    #[must_use]
    pub const fn for_pod(ip: IpAddr) -> Self {
        let [a, b, c, d] = low_octets(ip);
        Self([0x0a, 0x58, a, b, c, d])
    }

    /// The address of the switch's own router for the gateway address `ip`; what pods resolve
    /// their default gateway to. Same derivation as a pod's.
    #[must_use]
    pub const fn for_router(ip: IpAddr) -> Self {
        Self::for_pod(ip)
    }

    /// The address of the gateway TAP (`vpod0`) itself, distinct from the router's so that the
    /// node's kernel can send frames to the router.
    #[must_use]
    pub const fn for_gateway_tap(ip: IpAddr) -> Self {
        let [a, b, c, d] = low_octets(ip);
        Self([0x0e, 0x58, a, b, c, d])
    }

    /// Group bit set: broadcast or multicast.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// May be the source of a frame: not a group address and not all zeroes.
    #[must_use]
    pub fn is_valid_source(self) -> bool {
        !self.is_multicast() && self.0 != [0; 6]
    }

    /// The six octets as the low 48 bits of a number, for packed table keys.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let m = self.0;
        u64::from_be_bytes([0, 0, m[0], m[1], m[2], m[3], m[4], m[5]])
    }
}

const fn low_octets(ip: IpAddr) -> [u8; 4] {
    match ip {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let o = v6.octets();
            [o[12], o[13], o[14], o[15]]
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a MAC address: want six two-digit hexadecimal octets joined by ':'")]
pub struct ParseMacError(String);

impl FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseMacError(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or_else(fail)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(fail());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| fail())?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(fail()),
        }
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 6]>::deserialize(deserializer).map(Self);
        }
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An attachment to the switch (a pod's TAP, the gateway). Never a TCP or UDP number.
///
/// The control process hands out the lowest free one, so it is a small index; a number is reused
/// after its port is gone, and whatever was cached about the old port is invalidated by the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortId(pub u32);

impl PortId {
    /// How many ports one switch can have; bounds every per-port table.
    pub const MAX_PORTS: u32 = 4096;

    /// As an index into per-port tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Another node of the cluster, as this one's datapath knows it. Chosen by the control process of each
/// node for itself; never on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerId(pub u32);

impl PeerId {
    /// How many peers one switch can have; bounds every per-peer table.
    pub const MAX_PEERS: u32 = 8192;

    /// As an index into per-peer tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One port of a Service, as this node's datapath knows it. Chosen by the control process of each node for
/// itself; never on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceId(pub u32);

impl ServiceId {
    /// How many service ports one switch can have; bounds every per-service table.
    pub const MAX_SERVICES: u32 = 1 << 16;

    /// As an index into per-service tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a device does for us when a frame is *written* to it, and leaves undone in what it hands
/// us: the `TUN_F_*` bits of `linux/if_tun.h`, same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Offloads(pub u32);

impl Offloads {
    /// No offload: every frame has complete checksums and at most the port's MTU.
    pub const NONE: Self = Self(0);
    /// Partial checksums (`TUN_F_CSUM`).
    pub const CSUM: Self = Self(0x01);
    /// TCP over IPv4 segmentation (`TUN_F_TSO4`).
    pub const TSO4: Self = Self(0x02);
    /// TCP over IPv6 segmentation (`TUN_F_TSO6`).
    pub const TSO6: Self = Self(0x04);
    /// UDP over IPv4 segmentation (`TUN_F_USO4`, Linux 6.2); the kernel takes USO4 and USO6 together only.
    pub const USO4: Self = Self(0x20);
    /// UDP over IPv6 segmentation (`TUN_F_USO6`).
    pub const USO6: Self = Self(0x40);

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All of `other` is in `self`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Offloads, &str); 5] = [
            (Offloads::CSUM, "csum"),
            (Offloads::TSO4, "tso4"),
            (Offloads::TSO6, "tso6"),
            (Offloads::USO4, "uso4"),
            (Offloads::USO6, "uso6"),
        ];
        if *self == Self::NONE {
            return f.write_str("none");
        }
        let mut separator = "";
        for (bit, name) in NAMES {
            if self.contains(bit) {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_six_two_digit_octets() {
        for (text, octets) in [
            ("0a:58:0a:f4:00:02", [0x0a, 0x58, 0x0a, 0xf4, 0, 2]),
            ("FF:ff:Ff:fF:00:99", [0xff, 0xff, 0xff, 0xff, 0, 0x99]),
        ] {
            assert_eq!(text.parse(), Ok(Mac(octets)), "{text}");
            assert_eq!(Mac(octets).to_string(), text.to_lowercase());
        }
        for text in [
            "",
            ":",
            "0a:58:0a:f4:00",
            "0a:58:0a:f4:00:02:03",
            "0a:58:0a:f4:00:2",
            "0a:58:0a:f4:00:002",
            "0a-58-0a-f4-00-02",
            "0a:58:0a:f4:00:0g",
            "+a:58:0a:f4:00:02",
            "0a:58:0a:f4:00:02 ",
            "０a:58:0a:f4:00:02",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn derived_macs_are_local_unicast_and_distinct_by_role() {
        let ip = "10.244.0.1".parse().unwrap();
        assert_eq!(Mac::for_pod(ip).to_string(), "0a:58:0a:f4:00:01");
        assert_ne!(Mac::for_router(ip), Mac::for_gateway_tap(ip));
        for mac in [Mac::for_pod(ip), Mac::for_router(ip), Mac::for_gateway_tap(ip)] {
            assert!(mac.is_valid_source());
            assert_eq!(mac.0[0] & 2, 2, "{mac} is not locally administered");
        }
        assert_eq!(Mac::for_pod("fd00::102:304".parse().unwrap()).to_string(), "0a:58:01:02:03:04");
    }

    #[test]
    fn group_and_zero_macs_are_no_sources() {
        assert!(!Mac::BROADCAST.is_valid_source() && Mac::BROADCAST.is_multicast());
        assert!(!Mac([0; 6]).is_valid_source());
        assert!(!Mac([0x01, 0, 0x5e, 0, 0, 1]).is_valid_source());
        assert_eq!(Mac([1, 2, 3, 4, 5, 6]).to_u64(), 0x0102_0304_0506);
    }

    #[test]
    fn macs_are_text_in_json() {
        let mac = Mac([0x0a, 0x58, 10, 244, 0, 2]);
        let text = serde_json::to_string(&mac).unwrap();
        assert_eq!(text, "\"0a:58:0a:f4:00:02\"");
        assert_eq!(serde_json::from_str::<Mac>(&text).unwrap(), mac);
        assert!(serde_json::from_str::<Mac>("\"0a:58\"").is_err());
    }

    #[test]
    fn offloads_print_by_name() {
        assert_eq!(Offloads::NONE.to_string(), "none");
        assert_eq!(Offloads(0x67).to_string(), "csum,tso4,tso6,uso4,uso6");
        assert!(Offloads(0x67).contains(Offloads::CSUM.union(Offloads::USO6)));
        assert!(!Offloads::CSUM.contains(Offloads::TSO4));
    }
}
