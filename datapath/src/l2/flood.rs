//! Which ports get a copy of a frame that is for everybody, or for somebody unknown.
//!
//! Broadcast and multicast go to every other port. A frame for an unknown station goes only where
//! unknown stations can be: to ports that learn. A pod with port security never sees a frame for
//! somebody else. All of it is under one token bucket per ingress port, so that a pod's storm costs
//! everybody else a bounded number of frames (`Limits::flood_per_second`).

use protocol::link::PortConfig;
use protocol::object::{PortKind, PortState};

use crate::verdict::DropReason;

/// Who gets a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every other port.
    Everybody,
    /// Every other port that learns stations.
    LearningPorts,
    /// Pods only: what another node sent goes no further.
    Pods,
}

/// A flood, and the verdict if it finds no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flood {
    pub(crate) scope: Scope,
    pub(crate) nobody: DropReason,
}

impl Scope {
    /// Whether `port`, not the one the frame came from, gets a copy.
    pub(crate) fn includes(self, port: &PortConfig) -> bool {
        let forwards = match port.state {
            PortState::Active => true,
            PortState::Closed | PortState::Detached | PortState::Quarantined => false,
        };
        // Peers are not ports; they get their copies from a budget of their own (`overlay`).
        forwards
            && match (port.kind, self) {
                (PortKind::Tunnel | PortKind::Uplink, _) => false,
                (PortKind::Pod, Self::Pods) | (_, Self::Everybody) => true,
                (PortKind::Gateway, Self::Pods) => false,
                (_, Self::LearningPorts) => !port.port_security,
            }
    }
}
