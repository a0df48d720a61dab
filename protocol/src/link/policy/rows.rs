//! What a datapath says about policies.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::addr::PortId;
use crate::object::PolicyDirection;

/// What became of packets at one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyCounts {
    /// Its number.
    pub policy: u32,
    /// Packets that one of its rules denied, or that nothing allowed where it isolates.
    pub denied: u64,
    /// Connections that one of its rules allowed at one end, when they began; and decisions about packets of none.
    pub allowed: u64,
}

/// What denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeniedBy {
    /// The number of the policy; of the first that isolates, if it was no rule.
    pub policy: u32,
    /// Which of its rules. None: the pod is isolated, and nothing allowed the packet.
    pub rule: Option<u32>,
}

/// A flow that was denied, as its first packet would have said it after a service's address became a backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedFlow {
    /// Grows with each denial that is noted.
    pub number: u64,
    /// Nanoseconds of the machine's `CLOCK_MONOTONIC`, of the first packet.
    pub at_nanos: u64,
    /// Who began it.
    pub source: Ipv4Addr,
    /// Whom it is for.
    pub destination: Ipv4Addr,
    /// In the IP header.
    pub protocol: u8,
    /// 0 where the protocol has none.
    pub source_port: u16,
    /// 0 where the protocol has none.
    pub destination_port: u16,
    /// Whose table denied it.
    pub direction: PolicyDirection,
    /// None: no policies are known of the pod (yet).
    pub by: Option<DeniedBy>,
    /// Where the packet came in.
    pub ingress: PortId,
    /// Packets of the flow, one after the other, that this row stands for.
    pub packets: u64,
}
