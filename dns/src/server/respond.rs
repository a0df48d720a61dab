//! What becomes of a message: an answer at once, an answer later, or silence. No I/O.

use crate::encode::{Source, encode};
use crate::metrics::Plugin;
use crate::wire::query::{self, Query, Unreadable};
use crate::wire::record::{CLASS_IN, Rcode, kind};
use crate::wire::writer::Writer;
use crate::wire::{MAX_MESSAGE_BYTES, MAX_UDP_BYTES, PLAIN_UDP_BYTES};
use crate::zone::{Answer, Names, answer};

use super::Shared;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Silence,
    /// The answer is in the buffer.
    Answer(Summary),
    /// Somebody else has to be asked ([`super::later`]).
    Later,
}

/// An answer, for metrics and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The type that was asked for; zero if it could not be read.
    pub kind: u16,
    /// How it was answered.
    pub rcode: Rcode,
    /// By what.
    pub plugin: Plugin,
    /// The name is the cluster's.
    pub ours: bool,
    /// Signatures were wanted.
    pub dnssec_ok: bool,
}

impl Summary {
    /// Of the answer to `query`.
    #[must_use]
    pub fn of(query: &Query<'_>, rcode: Rcode, plugin: Plugin, ours: bool) -> Self {
        let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
        Self { kind: query.kind, rcode, plugin, ours, dnssec_ok }
    }
}

/// The largest answer to `query`.
#[must_use]
pub fn limit(query: &Query<'_>, tcp: bool) -> usize {
    if tcp {
        return MAX_MESSAGE_BYTES;
    }
    let asked = query.edns.map_or(PLAIN_UDP_BYTES, |edns| edns.udp_bytes);
    usize::from(asked.clamp(PLAIN_UDP_BYTES, MAX_UDP_BYTES))
}

/// Answers `message` into `out` if that is possible at once. `turn` decides which address is first.
pub fn respond(
    shared: &Shared,
    names: Option<&Names>,
    message: &[u8],
    tcp: bool,
    turn: usize,
    out: &mut Vec<u8>,
) -> Outcome {
    let query = match query::read(message) {
        Ok(query) => query,
        Err(unreadable) => return refuse(unreadable, out),
    };
    let limit = limit(&query, tcp);
    let summary = |rcode, plugin, ours| Summary::of(&query, rcode, plugin, ours);
    if query.class != CLASS_IN {
        return Outcome::Answer(summary(write_code(out, &query, Rcode::REFUSED, false), Plugin::None, false));
    }
    let Some(names) = names else {
        if shared.zone.contains(&query.name) {
            let rcode = write_code(out, &query, Rcode::SERVER_FAILURE, false);
            return Outcome::Answer(summary(rcode, Plugin::Kubernetes, true));
        }
        return outside(shared, &query, limit, out);
    };
    let recursive = shared.outside.is_there();
    match answer::answer(&shared.zone, names, &query.name, query.kind) {
        Some(answered) if needs_target(answered.answer, query.kind) => Outcome::Later,
        Some(answered) => {
            let source = Source { zone: &shared.zone, names, recursive };
            let rcode = encode(out, &query, &answered, source, limit, turn);
            Outcome::Answer(summary(rcode, Plugin::Kubernetes, true))
        }
        None => outside(shared, &query, limit, out),
    }
}

/// An alias is answered with what it stands for, but where the alias itself was asked for.
fn needs_target(answer: Answer<'_>, kind: u16) -> bool {
    matches!(answer, Answer::Alias(_)) && !matches!(kind, kind::CNAME | kind::ANY)
}

fn outside(shared: &Shared, query: &Query<'_>, limit: usize, out: &mut Vec<u8>) -> Outcome {
    let summary = |rcode, plugin| Outcome::Answer(Summary::of(query, rcode, plugin, false));
    let transfer = matches!(query.kind, kind::AXFR | kind::IXFR);
    if transfer || !shared.outside.serves(&query.name) {
        return summary(write_code(out, query, Rcode::REFUSED, false), Plugin::None);
    }
    match shared.outside.cached(query, limit, out) {
        Some(rcode) => summary(rcode, Plugin::Cache),
        None => Outcome::Later,
    }
}

/// Writes an answer without records; says its code.
pub fn write_code(out: &mut Vec<u8>, query: &Query<'_>, rcode: Rcode, recursive: bool) -> Rcode {
    let limit = usize::from(PLAIN_UDP_BYTES);
    Writer::begin(out, query.header, query.question, query.edns, limit).finish(rcode, false, recursive);
    rcode
}

/// Refuses a query that would have to wait, where as many wait as may.
pub fn refused(message: &[u8], out: &mut Vec<u8>) -> Option<Summary> {
    let query = query::read(message).ok()?;
    let rcode = write_code(out, &query, Rcode::REFUSED, true);
    Some(Summary::of(&query, rcode, Plugin::Forward, false))
}

fn refuse(unreadable: Unreadable, out: &mut Vec<u8>) -> Outcome {
    let Unreadable::Refuse { header, rcode, edns } = unreadable else { return Outcome::Silence };
    let edns = edns.then_some(query::Edns { udp_bytes: MAX_UDP_BYTES, dnssec_ok: false });
    Writer::begin(out, header, &[], edns, usize::from(PLAIN_UDP_BYTES)).finish(rcode, false, false);
    Outcome::Answer(Summary { kind: 0, rcode, plugin: Plugin::None, ours: false, dnssec_ok: false })
}
