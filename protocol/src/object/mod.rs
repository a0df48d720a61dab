//! Objects as users see them: Kubernetes-shaped, camelCase in JSON and YAML.
//!
//! Only what bincode and postcard can carry without self-description: no `flatten`, no untagged
//! or internally tagged enums, no skipped fields, no recursion.

mod bandwidth;
mod dns;
mod pod;
mod programming;
mod service;
mod tables;
mod trace;
mod traffic;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::{Namespace, ObjectName};

pub use bandwidth::{Bandwidth, Rate};
pub use dns::{DnsOption, DnsPolicy, PodDns};
pub use pod::{
    Container, ContainerState, ContainerStatus, Exit, Pod, PodPhase, PodSpec, PodStatus, Resources,
    RestartPolicy,
};
pub use programming::{NodeProgramming, Programming};
pub use service::{Check, ContainerPort, Document, Probe, Serving};
pub use tables::{
    ConnTuple, Connection, DropCount, DropEntry, FdbEntry, Flow, NeighborEntry, Node, Peer, PeerHealth,
    PeerOrigin, Port, PortCounters, PortKind, PortState, Route, RouteVia,
};
pub use trace::{Trace, TraceStep};
pub use traffic::{Backend, ServiceCounters, Traffic};

/// Wall-clock time in whole seconds since the Unix epoch; RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The last second RFC 3339 can write: the end of the year 9999.
    const LAST_WRITABLE: u64 = 253_402_300_799;

    /// The system clock, for stamps only: every timer runs on the monotonic clock.
    #[must_use]
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }

    /// Time from `self` to `later`, zero if the clock went backwards.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A peer's number must not make printing it fail: `to_string` panics on an error.
        let seconds = self.0.min(Self::LAST_WRITABLE);
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(serde::de::Error::custom)?;
        Ok(Self(since.as_secs()))
    }
}

/// What every object has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Unique within its namespace and kind.
    pub name: ObjectName,
    /// The Kubernetes namespace it lives in.
    pub namespace: Namespace,
    /// Unique in time as well: a pod created again under the same name has another one.
    pub uid: String,
    /// Free key/value pairs that selectors match.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub creation_timestamp: Timestamp,
    /// Grows with every write to the store.
    pub resource_version: u64,
}

impl ObjectMeta {
    /// `namespace/name`, as errors and logs name an object.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_in_json_and_any_number_can_be_printed() {
        let json = serde_json::to_string(&Timestamp(1_700_000_000)).unwrap();
        assert_eq!(json, "\"2023-11-14T22:13:20Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), Timestamp(1_700_000_000));
        assert!(serde_json::from_str::<Timestamp>("\"yesterday\"").is_err());
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_clock_that_went_backwards_makes_no_age() {
        assert_eq!(Timestamp(10).until(Timestamp(4)), Duration::ZERO);
        assert_eq!(Timestamp(4).until(Timestamp(10)), Duration::from_secs(6));
    }
}
