//! Writing an answer into a buffer that is used again, record by record, never beyond a limit.

use super::query::{Edns, Header};
use super::record::{CLASS_IN, Rcode, kind};
use super::{HEADER_BYTES, MAX_UDP_BYTES};

/// Bytes of an OPT record without options.
const OPT_BYTES: usize = 11;
/// Pointers have 14 bits.
const MAX_POINTER: usize = 0x3fff;

/// The owner of a record.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'n> {
    /// A name that was written at this place.
    At(u16),
    /// A name in full, in wire form.
    Name(&'n [u8]),
}

/// Which part of an answer a record is in; they are written in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who says so.
    Authority,
    /// What will be asked next.
    Additional,
}

/// An answer in the making.
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    header: Header,
    limit: usize,
    edns: Option<Edns>,
    counts: [u16; 3],
    truncated: bool,
}

impl<'b> Writer<'b> {
    /// Begins an answer of `limit` bytes at most, with the question as it was asked (none if empty).
    #[must_use]
    pub fn begin(
        out: &'b mut Vec<u8>,
        header: Header,
        question: &[u8],
        edns: Option<Edns>,
        limit: usize,
    ) -> Self {
        out.clear();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        out.extend_from_slice(question);
        if let Some(questions) = out.get_mut(5) {
            *questions = u8::from(!question.is_empty());
        }
        let limit = limit.saturating_sub(if edns.is_some() { OPT_BYTES } else { 0 });
        Self { out, header, limit, edns, counts: [0; 3], truncated: false }
    }

    /// Where the next byte goes, if a pointer can lead there.
    #[must_use]
    pub fn place(&self) -> Option<u16> {
        Some(self.out.len()).filter(|at| *at <= MAX_POINTER).and_then(|at| u16::try_from(at).ok())
    }

    /// Writes a record; `false` where it does not fit, and then nothing of it is there. An answer that does not fit is
    /// truncated; an additional record is not missed (RFC 2181 §9).
    pub fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        kind: u16,
        ttl: u32,
        data: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let before = self.out.len();
        match owner {
            Owner::At(place) => self.out.extend_from_slice(&(0xc000 | place).to_be_bytes()),
            Owner::Name(name) => self.out.extend_from_slice(name),
        }
        let [k0, k1] = kind.to_be_bytes();
        let [c0, c1] = CLASS_IN.to_be_bytes();
        let [t0, t1, t2, t3] = ttl.to_be_bytes();
        self.out.extend_from_slice(&[k0, k1, c0, c1, t0, t1, t2, t3, 0, 0]);
        let data_at = self.out.len();
        data(self.out);
        let len = u16::try_from(self.out.len() - data_at).ok();
        let [answers, authorities, additionals] = &mut self.counts;
        let count = match section {
            Section::Answer => answers,
            Section::Authority => authorities,
            Section::Additional => additionals,
        };
        let (Some(len), true, Some(next)) = (len, self.out.len() <= self.limit, count.checked_add(1)) else {
            self.out.truncate(before);
            self.truncated |= section != Section::Additional;
            return false;
        };
        *count = next;
        put(self.out, data_at - 2, len);
        true
    }

    /// Completes the answer. `authoritative` and `recursive` are what the header says of the server.
    pub fn finish(self, rcode: Rcode, authoritative: bool, recursive: bool) {
        let mut additional = self.counts[2];
        if let Some(edns) = self.edns {
            write_opt(self.out, rcode, edns.dnssec_ok);
            additional = additional.saturating_add(1);
        }
        let bit = |set: bool, at: u32| u16::from(set) << at;
        let flags = 0x8000
            | u16::from(self.header.opcode & 0xf) << 11
            | bit(authoritative, 10)
            | bit(self.truncated, 9)
            | bit(self.header.recursion_desired, 8)
            | bit(recursive, 7)
            | bit(self.header.checking_disabled, 4)
            | (rcode.0 & 0xf);
        put(self.out, 0, self.header.id);
        put(self.out, 2, flags);
        put(self.out, 6, self.counts[0]);
        put(self.out, 8, self.counts[1]);
        put(self.out, 10, additional);
    }
}

/// Writes an OPT record: our limit, the upper bits of the code, and DO as it was asked (RFC 3225 §3).
pub fn write_opt(out: &mut Vec<u8>, rcode: Rcode, dnssec_ok: bool) {
    let [k0, k1] = kind::OPT.to_be_bytes();
    let [s0, s1] = MAX_UDP_BYTES.to_be_bytes();
    let [high, _] = (rcode.0 << 4).to_be_bytes();
    out.extend_from_slice(&[0, k0, k1, s0, s1, high, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
}

/// Writes over a number that is there.
pub fn put(out: &mut [u8], at: usize, value: u16) {
    if let Some(place) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value.to_be_bytes();
    }
}
