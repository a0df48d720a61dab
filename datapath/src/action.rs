//! What the slow path decides; [`Forward`] is also what the flow table remembers.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use protocol::{Mac, PeerId, PortId};

use crate::conntrack::Hit;
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
    /// One port gets it: an ICMP error about a packet of the connection.
    ForwardError(Forward),
    /// It waits for the first fragment of its datagram.
    Hold,
    /// Several ports get it.
    Flood(Flood),
    /// Back it goes as the reply that `mac` has the address asked for.
    AnswerArp { request: Arp, mac: Mac },
    /// Back it goes as the echo reply of `mac`.
    AnswerEcho { mac: Mac },
    /// It is for the uplink, and waits until the MAC of this next hop is known.
    Resolve { next_hop: Ipv4Addr },
}

impl Action {
    /// The same, of a connection whose packets stay as they are.
    #[must_use]
    pub(crate) const fn of_plain(self, connection: Hit) -> Self {
        match self {
            Self::Forward { forward, cacheable } => {
                Self::Forward { forward: forward.of_plain(connection), cacheable }
            }
            Self::ForwardError(_)
            | Self::Hold
            | Self::Flood(_)
            | Self::AnswerArp { .. }
            | Self::AnswerEcho { .. }
            | Self::Resolve { .. } => self,
        }
    }

    /// The connection whose packet is forwarded.
    pub(crate) fn connection(&self) -> Option<Hit> {
        match self {
            Self::Forward { forward, .. } => forward.connection(),
            Self::ForwardError(_)
            | Self::Hold
            | Self::Flood(_)
            | Self::AnswerArp { .. }
            | Self::AnswerEcho { .. }
            | Self::Resolve { .. } => None,
        }
    }
}

/// Where a frame goes, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) egress: PortId,
    /// Set when the router forwards; `None` leaves the frame as it is.
    pub(crate) rewrite: Option<Rewrite>,
    /// Whose packets these are.
    connection: Option<Hit>,
    /// By a translation that is the connection's; without it they stay as they are.
    is_translated: bool,
}

/// A flow's slot has room for no more.
const _: () = assert!(size_of::<Forward>() <= 40);

impl Forward {
    /// At layer 2.
    pub(crate) const fn switched(egress: PortId) -> Self {
        Self { egress, rewrite: None, connection: None, is_translated: false }
    }

    /// At layer 3.
    pub(crate) const fn routed(egress: PortId, destination: Mac, source: Mac, counts_hop: bool) -> Self {
        let rewrite = Rewrite { destination, source, peer: None, counts_hop };
        Self { rewrite: Some(rewrite), ..Self::switched(egress) }
    }

    /// To another node, by the tunnel port `egress`.
    pub(crate) fn tunnelled(
        egress: PortId,
        peer: PeerId,
        destination: Mac,
        source: Mac,
        counts_hop: bool,
    ) -> Self {
        const { assert!(PeerId::MAX_PEERS < 1 << 16) };
        let number = u16::try_from(peer.0 + 1).ok().and_then(NonZeroU16::new);
        let rewrite = Rewrite { destination, source, peer: number, counts_hop };
        Self { rewrite: Some(rewrite), ..Self::switched(egress) }
    }

    /// The node it goes to, if it leaves this one.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        self.rewrite?.peer.map(|number| PeerId(u32::from(number.get()) - 1))
    }

    /// The same, of a connection's packets, which are translated as it says at the time.
    #[must_use]
    pub(crate) const fn of_connection(self, connection: Hit) -> Self {
        Self { connection: Some(connection), is_translated: true, ..self }
    }

    /// The same, of a connection's packets, which stay as they are.
    #[must_use]
    pub(crate) const fn of_plain(self, connection: Hit) -> Self {
        Self { connection: Some(connection), is_translated: false, ..self }
    }

    /// The same, of what was translated already.
    #[must_use]
    pub(crate) const fn of_no_connection(self) -> Self {
        Self { connection: None, is_translated: false, ..self }
    }

    /// The connection whose packets these are.
    pub(crate) const fn connection(&self) -> Option<Hit> {
        self.connection
    }

    /// The connection whose translation they get.
    pub(crate) fn translating(&self) -> Option<Hit> {
        self.connection.filter(|_| self.is_translated)
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

    /// Nobody is at the address's port, as its host would say.
    pub(crate) const fn unreachable(reason: DropReason) -> Self {
        Self::with_error(reason, IcmpError::PortUnreachable)
    }
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, error: None }
    }
}
