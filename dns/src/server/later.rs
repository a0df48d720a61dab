//! Answers that have to wait for another server: names outside, and what an alias in the zone stands for.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name as LibraryName, RData, Record};
use tokio::sync::mpsc;

use super::Shared;
use super::respond::{Summary, limit, write_code};
use super::shares::Place;
use crate::encode::{Source, encode};
use crate::forward::Question;
use crate::metrics::{Counters, Family, Observation, Plugin, Protocol};
use crate::wire::MAX_MESSAGE_BYTES;
use crate::wire::name::{Name, QueryName};
use crate::wire::query::{self, Query};
use crate::wire::record::{Rcode, label};
use crate::zone::{Answer, Names, answer};

/// Aliases that are followed, as CoreDNS does.
const MAX_ALIASES: usize = 8;

/// A query over UDP that has to wait.
pub struct Job {
    message: Vec<u8>,
    client: SocketAddr,
    socket: Arc<UdpSocket>,
    begun: Instant,
    /// Held until it is answered.
    place: Place<IpAddr>,
}

impl Job {
    /// An answer goes to `client` by `socket`.
    #[must_use]
    pub fn new(
        message: Vec<u8>,
        client: SocketAddr,
        socket: Arc<UdpSocket>,
        begun: Instant,
        place: Place<IpAddr>,
    ) -> Self {
        Self { message, client, socket, begun, place }
    }
}

/// Does jobs until all who give them are gone. How many there are at one time is bounded by the places that they hold.
pub async fn serve(shared: Arc<Shared>, counters: Arc<Counters>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        let (shared, counters) = (Arc::clone(&shared), Arc::clone(&counters));
        tokio::spawn(async move {
            let mut out = Vec::with_capacity(512);
            let Some(summary) = complete(&shared, &job.message, false, &mut out).await else { return };
            // A datagram that cannot be sent is lost, as datagrams may be.
            let _ = job.socket.send_to(&out, job.client);
            let seen = observation(&summary, Protocol::Udp, &job.client, job.message.len(), out.len());
            finish(&shared, &counters, &job.message, &job.client, &seen, job.begun);
            drop(job.place);
        });
    }
}

/// What to count for an answer.
#[must_use]
pub fn observation(
    summary: &Summary,
    protocol: Protocol,
    client: &SocketAddr,
    request_bytes: usize,
    response_bytes: usize,
) -> Observation {
    let Summary { kind, rcode, plugin, ours, dnssec_ok } = *summary;
    let family = Family::of(client);
    Observation { protocol, family, kind, ours, rcode, plugin, dnssec_ok, request_bytes, response_bytes }
}

/// Counts an answer, and logs it if that is wanted.
pub fn finish(
    shared: &Shared,
    counters: &Counters,
    message: &[u8],
    client: &SocketAddr,
    seen: &Observation,
    begun: Instant,
) {
    counters.observe(seen);
    counters.took(begun.elapsed(), [u64::from(!seen.ours), u64::from(seen.ours)]);
    if shared.log_queries.load(std::sync::atomic::Ordering::Relaxed) {
        log(message, client, seen);
    }
}

/// A line of the query log.
pub fn log(message: &[u8], client: &SocketAddr, seen: &Observation) {
    let name = query::read(message).map_or_else(|_| "?".to_owned(), |query| query.name.to_string());
    tracing::info!(
        target: "vpod_dns::query",
        %client, name, kind = label(seen.kind), rcode = seen.rcode.label(), bytes = seen.response_bytes, "query"
    );
}

/// Answers `message`, which [`super::respond`] has put off, into `out`.
pub async fn complete(shared: &Shared, message: &[u8], tcp: bool, out: &mut Vec<u8>) -> Option<Summary> {
    let query = query::read(message).ok()?;
    let limit = limit(&query, tcp);
    let names = shared.names.load_full();
    let alias = names.as_deref().and_then(|names| {
        match answer::answer(&shared.zone, names, &query.name, query.kind)?.answer {
            Answer::Alias(target) => Some((names, target)),
            _ => None,
        }
    });
    let summary = |rcode, plugin, ours| Some(Summary::of(&query, rcode, plugin, ours));
    if let Some((names, target)) = alias {
        let rcode = follow(shared, names, target, &query, message, limit, out)
            .await
            .unwrap_or_else(|| write_code(out, &query, Rcode::SERVER_FAILURE, true));
        return summary(rcode, Plugin::Kubernetes, true);
    }
    match shared.outside.resolve(&Question::of(&query)).await {
        Ok(found) => summary(found.write(&query, limit, out), found.plugin, false),
        Err(rcode) => summary(write_code(out, &query, rcode, true), Plugin::Forward, false),
    }
}

/// Answers with the alias, those it leads to, and what the last stands for; `None` if that cannot be known.
async fn follow(
    shared: &Shared,
    names: &Names,
    target: &Name,
    query: &Query<'_>,
    message: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Option<Rcode> {
    let asked = Message::from_vec(message).ok()?;
    let mut answer = Message::new(query.header.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = query.header.recursion_desired;
    answer.metadata.recursion_available = shared.outside.is_there();
    answer.metadata.authoritative = true;
    let mut owner = asked.queries.first()?.name.clone();
    answer.queries = asked.queries;
    let mut target = target.clone();
    for _ in 0..MAX_ALIASES {
        let next = library_name(&target)?;
        answer.answers.push(Record::from_rdata(owner, shared.zone.ttl, RData::CNAME(CNAME(next.clone()))));
        owner = next;
        match step(shared, names, &target, query).await? {
            Step::Alias(next) => target = next,
            Step::Last(last) => {
                answer.metadata.response_code = last.metadata.response_code;
                answer.answers.extend(last.answers);
                answer.authorities = last.authorities;
                return write(answer, query, limit, out);
            }
        }
    }
    None
}

enum Step {
    Alias(Name),
    Last(Box<Message>),
}

/// What `target` stands for.
async fn step(shared: &Shared, names: &Names, target: &Name, query: &Query<'_>) -> Option<Step> {
    let name = QueryName::of(target)?;
    let question = [target.as_wire(), &query.kind.to_be_bytes(), &query.class.to_be_bytes()].concat();
    let asked = Query { question: &question, name, edns: None, ..query.clone() };
    let mut out = Vec::with_capacity(512);
    match answer::answer(&shared.zone, names, &asked.name, asked.kind) {
        Some(answered) => {
            if let Answer::Alias(next) = answered.answer {
                return Some(Step::Alias(next.clone()));
            }
            let source = Source { zone: &shared.zone, names, recursive: true };
            encode(&mut out, &asked, &answered, source, MAX_MESSAGE_BYTES, 0);
        }
        None => {
            let mut question = Question::of(&asked);
            question.dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
            shared.outside.resolve(&question).await.ok()?.write(&asked, MAX_MESSAGE_BYTES, &mut out);
        }
    }
    Message::from_vec(&out).ok().map(|message| Step::Last(Box::new(message)))
}

fn library_name(name: &Name) -> Option<LibraryName> {
    let mut decoder = hickory_proto::serialize::binary::BinDecoder::new(name.as_wire());
    hickory_proto::serialize::binary::BinDecodable::read(&mut decoder).ok()
}

fn write(mut answer: Message, query: &Query<'_>, limit: usize, out: &mut Vec<u8>) -> Option<Rcode> {
    if let Some(edns) = query.edns {
        let mut ours = hickory_proto::op::Edns::new();
        ours.set_max_payload(crate::wire::MAX_UDP_BYTES).set_dnssec_ok(edns.dnssec_ok);
        answer.set_edns(ours);
    }
    let mut bytes = answer.to_vec().ok()?;
    if bytes.len() > limit {
        bytes = answer.truncate().to_vec().ok()?;
    }
    out.clear();
    out.extend_from_slice(&bytes);
    Some(match answer.metadata.response_code {
        ResponseCode::NoError => Rcode::NO_ERROR,
        ResponseCode::NXDomain => Rcode::NAME_ERROR,
        _ => Rcode::SERVER_FAILURE,
    })
}
