//! Reading a query: a header, one question, perhaps an OPT record; everything else is refused here, by name.
//!
//! Bounds: a query has one question, no answers or authorities, and at most [`MAX_ADDITIONAL`] additional records, which are
//! skipped but for OPT. Names in the question are not compressed (there is nothing before them to point to), so there is no
//! pointer to follow anywhere.

use super::HEADER_BYTES;
use super::name::QueryName;
use super::record::{Rcode, kind};

/// OPT, a signature (TSIG, SIG(0)) and one to spare.
pub const MAX_ADDITIONAL: u16 = 3;

/// A query that can be answered.
#[derive(Debug, Clone)]
pub struct Query<'m> {
    /// What an answer to it begins with.
    pub header: Header,
    /// Name, type and class as they were asked, to be echoed: a client may check the case (draft-vixie-dnsext-dns0x20).
    pub question: &'m [u8],
    /// The name in lower case.
    pub name: QueryName,
    /// The type.
    pub kind: u16,
    /// The class.
    pub class: u16,
    /// What an OPT record said.
    pub edns: Option<Edns>,
}

/// What of a query's header an answer repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its number.
    pub id: u16,
    /// Its opcode.
    pub opcode: u8,
    /// Recursion desired.
    pub recursion_desired: bool,
    /// Checking disabled.
    pub checking_disabled: bool,
}

/// EDNS (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest answer that the client takes over UDP.
    pub udp_bytes: u16,
    /// The client wants signatures (DO).
    pub dnssec_ok: bool,
}

/// Why a message is no query that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Too short to have an id, or itself an answer: silence, else two servers could talk for ever.
    Ignore,
    /// Answered with a header of this code, and an OPT record where `edns`.
    Refuse {
        /// Of the query.
        header: Header,
        /// Why.
        rcode: Rcode,
        /// Whether the answer needs an OPT record to say it.
        edns: bool,
    },
}

/// Reads a query.
///
/// # Errors
/// What to do instead of answering it.
pub fn read(message: &[u8]) -> Result<Query<'_>, Unreadable> {
    let mut reader = Reader { rest: message };
    let (header, counts) = read_header(&mut reader).ok_or(Unreadable::Ignore)?;
    let refuse = |rcode| Unreadable::Refuse { header, rcode, edns: false };
    if header.opcode != 0 {
        return Err(refuse(Rcode::NOT_IMPLEMENTED));
    }
    let [1, 0, 0, additional @ 0..=MAX_ADDITIONAL] = counts else {
        return Err(refuse(Rcode::FORMAT_ERROR));
    };
    let bad = || refuse(Rcode::FORMAT_ERROR);
    let (name, len) = QueryName::read(reader.rest).ok_or_else(bad)?;
    let question = reader.take(len + 4).ok_or_else(bad)?;
    let mut fields = Reader { rest: question.get(len..).unwrap_or_default() };
    let (kind, class) = (fields.u16().ok_or_else(bad)?, fields.u16().ok_or_else(bad)?);
    let edns = read_additional(&mut reader, additional).ok_or_else(bad)?;
    if edns.is_some_and(|(version, _)| version > 0) {
        return Err(Unreadable::Refuse { header, rcode: Rcode::BAD_VERSION, edns: true });
    }
    Ok(Query { header, question, name, kind, class, edns: edns.map(|(_, edns)| edns) })
}

fn read_header(reader: &mut Reader<'_>) -> Option<(Header, [u16; 4])> {
    if reader.rest.len() < HEADER_BYTES {
        return None;
    }
    let id = reader.u16()?;
    let [high, low] = reader.u16()?.to_be_bytes();
    let header = Header {
        id,
        opcode: high >> 3 & 0xf,
        recursion_desired: high & 1 != 0,
        checking_disabled: low & 0x10 != 0,
    };
    let is_query = high & 0x80 == 0;
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    is_query.then_some((header, counts))
}

/// The OPT record among `count` records that end the message: its version and what it says.
fn read_additional(reader: &mut Reader<'_>, count: u16) -> Option<Option<(u8, Edns)>> {
    let mut edns = None;
    for _ in 0..count {
        let (name, len) = QueryName::read(reader.rest)?;
        reader.take(len)?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        let [_, version, flags, _] = reader.u32()?.to_be_bytes();
        let len = reader.u16()?;
        let data = reader.take(usize::from(len))?;
        if kind != kind::OPT {
            continue;
        }
        if edns.is_some() || name.labels() != 0 || !are_options(data) {
            return None;
        }
        edns = Some((version, Edns { udp_bytes: class, dnssec_ok: flags & 0x80 != 0 }));
    }
    reader.rest.is_empty().then_some(edns)
}

/// Whether EDNS options fill `data` exactly.
fn are_options(data: &[u8]) -> bool {
    let mut reader = Reader { rest: data };
    while !reader.rest.is_empty() {
        let whole = (|| {
            reader.u16()?;
            let len = reader.u16()?;
            reader.take(usize::from(len))
        })();
        if whole.is_none() {
            return false;
        }
    }
    true
}

/// What is left of a message.
struct Reader<'m> {
    rest: &'m [u8],
}

impl<'m> Reader<'m> {
    fn take(&mut self, len: usize) -> Option<&'m [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*taken))
    }

    fn u32(&mut self) -> Option<u32> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*taken))
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
