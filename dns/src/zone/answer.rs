//! From what was located, and the type that was asked for, to the records of the answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::locate::{Located, Node, PortFilter, locate};
use super::names::Pointer;
use super::service::{Hosts, Service};
use super::{Names, Zone};
use crate::wire::name::{Name, QueryName};
use crate::wire::record::kind;

/// What a question is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'n> {
    /// IPv4 addresses; there are some.
    V4(&'n [Ipv4Addr]),
    /// IPv6 addresses; there are some.
    V6(&'n [Ipv6Addr]),
    /// The address that a pod's name says.
    Pod(IpAddr),
    /// Ports of a service, all or those of one name, with the addresses of their hosts; there are some.
    Ports(&'n Service, &'n Hosts, Option<PortFilter>),
    /// Names of an address; there are some.
    Pointers(&'n [Pointer]),
    /// Another name, and what that is answered with.
    Alias(&'n Name),
    /// The version of the specification.
    Version,
    /// The zone's SOA record.
    Authority,
    /// The zone's name server, with its addresses.
    Server(Option<&'n Hosts>),
    /// There is the name: HINFO instead of everything (RFC 8482).
    Anything,
    /// There is the name, but nothing of the type.
    NoData,
    /// There is no such name.
    NoName,
    /// Whole zones are not given away.
    Refused,
}

/// An answer, and where in the question's name the zone begins, in labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<'n> {
    /// The answer.
    pub answer: Answer<'n>,
    /// Labels before the zone.
    pub apex: usize,
}

/// Answers a question of class IN; `None` if it is not for this server to say.
#[must_use]
pub fn answer<'n>(zone: &Zone, names: &'n Names, name: &QueryName, kind: u16) -> Option<Answered<'n>> {
    let Located { node, apex } = locate(zone, names, name)?;
    let answer = match kind {
        kind::AXFR | kind::IXFR => Answer::Refused,
        _ => node.select(names, kind),
    };
    Some(Answered { answer, apex })
}

impl<'n> Node<'n> {
    /// Its records of a type.
    #[must_use]
    pub fn select(self, names: &'n Names, kind: u16) -> Answer<'n> {
        if kind == kind::ANY {
            return match self {
                Self::Missing => Answer::NoName,
                Self::Empty => Answer::NoData,
                _ => Answer::Anything,
            };
        }
        match (self, kind) {
            (Self::Missing, _) => Answer::NoName,
            (Self::Apex, kind::SOA) => Answer::Authority,
            (Self::Apex, kind::NS) => {
                Answer::Server(names.service(super::DNS_SERVICE).and_then(Service::hosts))
            }
            (Self::Version, kind::TXT) => Answer::Version,
            (Self::Server(Some(hosts)), kind::A | kind::AAAA) => addresses(&hosts.v4, &hosts.v6, kind),
            (Self::Service(_, hosts), kind::A | kind::AAAA) => addresses(&hosts.v4, &hosts.v6, kind),
            (Self::Service(service, hosts), kind::SRV) if !hosts.ports.is_empty() => {
                Answer::Ports(service, hosts, None)
            }
            (Self::Port(service, hosts, filter), kind::SRV) => Answer::Ports(service, hosts, Some(filter)),
            (Self::Endpoint(host), kind::A | kind::AAAA) => addresses(&host.v4, &host.v6, kind),
            (Self::Pod(address @ IpAddr::V4(_)), kind::A) => Answer::Pod(address),
            (Self::Pod(address @ IpAddr::V6(_)), kind::AAAA) => Answer::Pod(address),
            (Self::Pointers(pointers), kind::PTR) => Answer::Pointers(pointers),
            // An alias is the answer to every type (RFC 1034 §3.6.2).
            (Self::Alias(target), _) => Answer::Alias(target),
            _ => Answer::NoData,
        }
    }
}

fn addresses<'n>(v4: &'n [Ipv4Addr], v6: &'n [Ipv6Addr], kind: u16) -> Answer<'n> {
    match (kind, v4, v6) {
        (kind::A, [_, ..], _) => Answer::V4(v4),
        (kind::AAAA, _, [_, ..]) => Answer::V6(v6),
        _ => Answer::NoData,
    }
}
