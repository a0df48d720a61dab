//! Questions about single packets, and about what services have to do.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::addr::{PortId, ServiceId};
use crate::object::ServiceCounters;

/// A packet that the datapath is to describe the way of, as if the station behind `port` had just sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePacket {
    /// Where it comes in: a pod's port.
    pub port: PortId,
    /// Which protocol: a connection's first packet, or an echo request.
    pub protocol: TraceProtocol,
    /// Whom it is from; the first address of the port without.
    pub source: Option<Ipv4Addr>,
    /// Source port, or the identifier of an echo request.
    pub source_port: u16,
    /// Whom it is for.
    pub destination: Ipv4Addr,
    /// Destination port; none of an echo request.
    pub destination_port: u16,
    /// Bytes from the IP header on; as few as there can be if that is more.
    pub size: u16,
}

/// Protocols of a [`TracePacket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceProtocol {
    /// A SYN.
    Tcp,
    /// A datagram.
    Udp,
    /// An echo request.
    Icmp,
}

/// What was counted of a service, or of one of its backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Which service.
    pub service: ServiceId,
    /// Which backend, by address and port; `None`: all there are and were.
    pub backend: Option<(IpAddr, u16)>,
    /// What was counted.
    pub counters: ServiceCounters,
}
