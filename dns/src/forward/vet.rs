//! What of a stranger's answer is believed.
//!
//! It is read by the library, and what is kept is written anew, so that no byte of it reaches a client that was not understood. Kept
//! are records of the name that was asked for and of the aliases it leads to, in the answer section; of the authority section what says
//! that there is nothing (SOA, and its proofs where they were asked for); nothing additional. No address in the cluster's networks:
//! a name outside that leads inside is an attack on who trusts the name (rebinding).

use std::net::IpAddr;
use std::time::Instant;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ipnet::IpNet;

use super::Question;
use crate::cache::{Entry, MIN_TTL, NEGATIVE_TTL, POSITIVE_TTL};
use crate::wire::record::Rcode;

/// Aliases in one answer.
const MAX_ALIASES: usize = 16;
/// RRSIG, NSEC and NSEC3.
const PROOFS: [u16; 3] = [46, 47, 50];

/// What is kept of `answer`; `None` if it cannot be read.
pub(super) fn vet(question: &Question, answer: &[u8], cluster: &[IpNet], now: Instant) -> Option<Entry> {
    let theirs = Message::from_vec(answer).ok()?;
    let asked = theirs.queries.first()?.name.to_lowercase();
    let rcode = match theirs.metadata.response_code {
        ResponseCode::NoError => Rcode::NO_ERROR,
        ResponseCode::NXDomain => Rcode::NAME_ERROR,
        ResponseCode::Refused => Rcode::REFUSED,
        // What is wrong between two servers is none of the client's.
        _ => Rcode::SERVER_FAILURE,
    };
    let mut ours = Message::new(0, MessageType::Response, OpCode::Query);
    ours.metadata.response_code = ResponseCode::from_low(u8::try_from(rcode.0).ok()?);
    ours.queries.push(Query::query(asked.clone(), RecordType::from(question.kind)));
    let mut ttl = MIN_TTL;
    if matches!(rcode, Rcode::NO_ERROR | Rcode::NAME_ERROR) {
        let chain = aliases(&asked, &theirs.answers);
        ours.answers = theirs
            .answers
            .into_iter()
            .filter(|record| is_answer(record, &chain, question.dnssec_ok) && !leads_inside(record, cluster))
            .collect();
        let last = chain.last()?;
        let is_complete =
            ours.answers.iter().any(|r| r.name == *last && r.record_type() != RecordType::CNAME);
        if rcode == Rcode::NAME_ERROR || !is_complete {
            ours.authorities = denial(theirs.authorities, last, question.dnssec_ok);
        }
        ttl = bound_ttls(&mut ours, is_complete && rcode == Rcode::NO_ERROR);
    }
    Entry::new(ours.to_vec().ok()?, rcode, ttl, now)
}

/// The name and those it is an alias of, in order.
fn aliases(asked: &Name, answers: &[Record]) -> Vec<Name> {
    let mut chain = vec![asked.clone()];
    while chain.len() <= MAX_ALIASES {
        let Some(last) = chain.last() else { break };
        let next = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *last => Some(target.0.clone()),
            _ => None,
        });
        match next {
            Some(next) if !chain.contains(&next) => chain.push(next),
            _ => break,
        }
    }
    chain
}

fn is_answer(record: &Record, chain: &[Name], dnssec_ok: bool) -> bool {
    let is_proof = PROOFS.contains(&u16::from(record.record_type()));
    record.dns_class == DNSClass::IN && chain.contains(&record.name) && (dnssec_ok || !is_proof)
}

fn leads_inside(record: &Record, cluster: &[IpNet]) -> bool {
    let address = match &record.data {
        RData::A(address) => IpAddr::V4(address.0),
        RData::AAAA(address) => IpAddr::V6(address.0),
        _ => return false,
    };
    cluster.iter().any(|net| net.contains(&address))
}

/// What says that there is nothing: the SOA record of a zone that the name is in, and proofs from that zone.
fn denial(authorities: Vec<Record>, name: &Name, dnssec_ok: bool) -> Vec<Record> {
    let zone = authorities
        .iter()
        .find(|record| record.record_type() == RecordType::SOA && record.name.zone_of(name))
        .map(|record| record.name.clone());
    let Some(zone) = zone else { return Vec::new() };
    let keep = |record: &Record| {
        let is_proof = dnssec_ok && PROOFS.contains(&u16::from(record.record_type()));
        let is_soa = record.record_type() == RecordType::SOA && record.name == zone;
        record.dns_class == DNSClass::IN && zone.zone_of(&record.name) && (is_soa || is_proof)
    };
    authorities.into_iter().filter(keep).collect()
}

/// Brings all times within ours; says how long the whole is good (RFC 2308 §5).
fn bound_ttls(message: &mut Message, positive: bool) -> u32 {
    let limit = if positive { POSITIVE_TTL } else { NEGATIVE_TTL };
    let mut shortest = limit;
    for record in message.answers.iter_mut().chain(&mut message.authorities) {
        let minimum = match &record.data {
            RData::SOA(soa) if !positive => soa.minimum,
            _ => u32::MAX,
        };
        record.ttl = record.ttl.min(minimum).clamp(MIN_TTL, limit);
        shortest = shortest.min(record.ttl);
    }
    // "There is none" that does not say for how long is not kept for long.
    if message.answers.is_empty() && message.authorities.is_empty() { MIN_TTL } else { shortest }
}

#[cfg(test)]
#[path = "vet_tests.rs"]
mod tests;
