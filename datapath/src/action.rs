//! What the slow path decides; [`Forward`] is also what the flow table remembers.

use protocol::{Mac, PortId};

use crate::l2::flood::Flood;
use crate::rewrite::Rewrite;
use crate::verdict::DropReason;
use crate::wire::arp::Arp;
use crate::wire::icmp::IcmpError;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// One port gets it. `cacheable`: the same packet meets the same fate until the configuration
    /// changes.
    Forward { forward: Forward, cacheable: bool },
    /// Several ports get it.
    Flood(Flood),
    /// Back it goes as the reply that `mac` has the address asked for.
    AnswerArp { request: Arp, mac: Mac },
    /// Back it goes as the echo reply of `mac`.
    AnswerEcho { mac: Mac },
}

/// Where a frame goes, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) egress: PortId,
    /// Set when the router forwards; `None` leaves the frame as it is.
    pub(crate) rewrite: Option<Rewrite>,
}

impl Forward {
    /// At layer 2.
    pub(crate) const fn switched(egress: PortId) -> Self {
        Self { egress, rewrite: None }
    }

    /// At layer 3.
    pub(crate) const fn routed(egress: PortId, destination: Mac, source: Mac, counts_hop: bool) -> Self {
        Self { egress, rewrite: Some(Rewrite { destination, source, counts_hop, translation: None }) }
    }

    /// Whether the station `mac` behind `port` would get it.
    pub(crate) fn leads_back_to(&self, port: PortId, mac: Mac) -> bool {
        self.egress == port && self.rewrite.is_some_and(|rewrite| rewrite.destination == mac)
    }
}

/// A drop of which the sender may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    pub(crate) error: Option<IcmpError>,
}

impl Refusal {
    pub(crate) const fn with_error(reason: DropReason, error: IcmpError) -> Self {
        Self { reason, error: Some(error) }
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, error: None }
    }
}
