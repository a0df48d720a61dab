//! An answer from the zone as a message, written straight from the tables into a buffer that is used again.
//!
//! Owner names are pointers to the question, so they have its case, as CoreDNS keeps it. Targets of SRV are in full
//! (RFC 2782 forbids compressing them), and the addresses that go with them point there. Lists of addresses begin at another
//! place each time, `turn`, so that clients that take the first spread over all.

use std::net::IpAddr;

use crate::wire::QUESTION_AT;
use crate::wire::query::Query;
use crate::wire::record::{Rcode, kind};
use crate::wire::writer::{Owner, Section, Writer};
use crate::zone::answer::Answered;
use crate::zone::service::{Host, HostPort, Hosts, Service};
use crate::zone::{Answer, Names, Zone};

/// The version of Kubernetes' DNS specification that is kept.
const SCHEMA_VERSION: &[u8] = b"1.1.0";
/// Seconds that it may be kept, as CoreDNS has it.
const VERSION_TTL: u32 = 28_800;
/// Seconds that HINFO may be kept, as CoreDNS has it; the number of its RFC.
const HINFO_TTL: u32 = 8482;
/// Of the SOA record, as CoreDNS has them: seconds between refreshes and retries of a secondary, and until it gives up.
const SOA_TIMES: [u32; 3] = [7200, 1800, 86_400];

/// What an answer is made from, besides the question.
#[derive(Clone, Copy)]
pub struct Source<'n> {
    /// The zone.
    pub zone: &'n Zone,
    /// What is in it.
    pub names: &'n Names,
    /// Whether names outside are answered too (RA).
    pub recursive: bool,
}

/// Writes the answer to `query`, `limit` bytes at most; says its code.
pub fn encode(
    out: &mut Vec<u8>,
    query: &Query<'_>,
    answered: &Answered<'_>,
    source: Source<'_>,
    limit: usize,
    turn: usize,
) -> Rcode {
    let writer = Writer::begin(out, query.header, query.question, query.edns, limit);
    let mut encoder = Encoder { writer, query, source, apex: answered.apex, turn };
    let rcode = encoder.records(answered.answer);
    encoder.writer.finish(rcode, rcode != Rcode::REFUSED, source.recursive);
    rcode
}

struct Encoder<'b, 'q, 'n> {
    writer: Writer<'b>,
    query: &'q Query<'q>,
    source: Source<'n>,
    apex: usize,
    turn: usize,
}

impl Encoder<'_, '_, '_> {
    fn records(&mut self, answer: Answer<'_>) -> Rcode {
        let ttl = self.source.zone.ttl;
        match answer {
            Answer::V4(addresses) => {
                for address in turned(addresses, self.turn) {
                    self.answer(kind::A, ttl, &address.octets());
                }
            }
            Answer::V6(addresses) => {
                for address in turned(addresses, self.turn) {
                    self.answer(kind::AAAA, ttl, &address.octets());
                }
            }
            Answer::Pod(IpAddr::V4(address)) => self.answer(kind::A, ttl, &address.octets()),
            Answer::Pod(IpAddr::V6(address)) => self.answer(kind::AAAA, ttl, &address.octets()),
            Answer::Ports(service, hosts, filter) => {
                let query = self.query;
                let wanted = move |port: &&HostPort| {
                    filter.is_none_or(|filter| filter.matches(&query.name, &port.name, port.transport))
                };
                self.ports(service, hosts, &wanted, filter.is_none());
            }
            Answer::Pointers(pointers) => {
                for pointer in pointers {
                    self.answer(kind::PTR, ttl, pointer.target.as_wire());
                }
            }
            Answer::Alias(target) => self.answer(kind::CNAME, ttl, target.as_wire()),
            Answer::Version => {
                let len = u8::try_from(SCHEMA_VERSION.len()).unwrap_or_default();
                self.answer(kind::TXT, VERSION_TTL, &[&[len], SCHEMA_VERSION].concat());
            }
            Answer::Authority => self.authority(Section::Answer),
            Answer::Server(hosts) => self.server(hosts),
            Answer::Anything => self.answer(kind::HINFO, HINFO_TTL, b"\x07RFC8482\0"),
            Answer::NoData => self.authority(Section::Authority),
            Answer::NoName => {
                self.authority(Section::Authority);
                return Rcode::NAME_ERROR;
            }
            Answer::Refused => return Rcode::REFUSED,
        }
        Rcode::NO_ERROR
    }

    fn answer(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        let owner = Owner::At(QUESTION_AT);
        self.writer.record(Section::Answer, owner, kind, ttl, |out| out.extend_from_slice(data));
    }

    fn authority(&mut self, section: Section) {
        let zone = self.source.zone;
        let start = u16::try_from(self.query.name.start(self.apex)).unwrap_or_default();
        let numbers = [self.source.names.serial].into_iter().chain(SOA_TIMES).chain([zone.ttl]);
        self.writer.record(section, Owner::At(QUESTION_AT + start), kind::SOA, zone.ttl, |out| {
            out.extend_from_slice(zone.server().as_wire());
            out.extend_from_slice(zone.mailbox().as_wire());
            for number in numbers {
                out.extend_from_slice(&number.to_be_bytes());
            }
        });
    }

    fn server(&mut self, hosts: Option<&Hosts>) {
        let zone = self.source.zone;
        let place = self.writer.place();
        self.answer(kind::NS, zone.ttl, zone.server().as_wire());
        let host = hosts.and_then(|hosts| hosts.hosts.first());
        if let (Some(place), Some(host)) = (place, host) {
            self.addresses(host, place + RECORD_BYTES);
        }
    }

    /// One record per port and host, then the hosts' addresses.
    fn ports(&mut self, service: &Service, hosts: &Hosts, wanted: &dyn Fn(&&HostPort) -> bool, any: bool) {
        let addresses: usize =
            hosts.ports.iter().filter(wanted).map(|port| usize::from(port.addresses)).sum();
        let weight = u16::try_from(100 / addresses.max(1)).unwrap_or(1).max(1);
        let (ttl, origin) = (self.source.zone.ttl, self.source.zone.origin());
        // Where the name of the first host is written, for each in the order of the records.
        let mut targets: Vec<(usize, u16)> = Vec::new();
        for port in turned(&hosts.ports, self.turn).filter(wanted).filter(|port| port.first || !any) {
            let Some(host) = hosts.hosts.get(port.host) else { continue };
            let place = self.writer.place();
            let fits = self.writer.record(Section::Answer, Owner::At(QUESTION_AT), kind::SRV, ttl, |out| {
                for number in [0, weight, port.number] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
                out.extend_from_slice(&host.label);
                out.extend_from_slice(&service.key);
                out.extend_from_slice(b"\x03svc");
                out.extend_from_slice(origin.as_wire());
            });
            if !fits {
                break;
            }
            let known = targets.last().is_some_and(|(last, _)| *last == port.host);
            if let (Some(place), false) = (place, known) {
                targets.push((port.host, place + RECORD_BYTES + SRV_NUMBERS));
            }
        }
        targets.sort_unstable();
        targets.dedup_by_key(|(host, _)| *host);
        for (host, place) in targets {
            if let Some(host) = hosts.hosts.get(host) {
                self.addresses(host, place);
            }
        }
    }

    fn addresses(&mut self, host: &Host, place: u16) {
        let ttl = self.source.zone.ttl;
        let owner = if place < 0x4000 { Owner::At(place) } else { return };
        for address in &host.v4 {
            self.writer.record(Section::Additional, owner, kind::A, ttl, |out| {
                out.extend_from_slice(&address.octets())
            });
        }
        for address in &host.v6 {
            self.writer.record(Section::Additional, owner, kind::AAAA, ttl, |out| {
                out.extend_from_slice(&address.octets());
            });
        }
    }
}

/// From the beginning of a record whose owner is a pointer to its data.
const RECORD_BYTES: u16 = 12;
/// Priority, weight and port, before the target.
const SRV_NUMBERS: u16 = 6;

/// All of `items`, from another one first each time.
fn turned<T>(items: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let at = turn.checked_rem(items.len()).unwrap_or_default();
    let (before, from) = items.split_at_checked(at).unwrap_or((items, &[]));
    from.iter().chain(before)
}
