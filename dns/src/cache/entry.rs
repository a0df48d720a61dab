//! One answer as it was, ready to be given again: its bytes, and where the seconds are that go down.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::wire::HEADER_BYTES;
use crate::wire::query::Query;
use crate::wire::record::Rcode;
use crate::wire::writer::{put, write_opt};

/// The longest that an answer with records is kept.
pub const POSITIVE_TTL: u32 = 3600;
/// The longest that "there is none" is kept.
pub const NEGATIVE_TTL: u32 = 1800;
/// The shortest that an answer is kept.
pub const MIN_TTL: u32 = 5;
/// Seconds that an answer which is too old may be kept by who gets it (RFC 8767 §5).
const STALE_TTL: u32 = 30;
/// Of its time that has to be left so that it is not asked for again before its end: a tenth.
const PREFETCH_SHARE: u32 = 10;
/// How often it has to have been asked for, to be worth that.
const PREFETCH_HITS: u32 = 3;
const OPT_BYTES: usize = 11;

/// Where a record's seconds are, and where it ends.
#[derive(Debug, Clone, Copy)]
struct Mark {
    ttl_at: usize,
    end: usize,
}

/// See the module's text.
pub struct Entry {
    /// A whole message with one question and no OPT record.
    message: Vec<u8>,
    question_end: usize,
    marks: Vec<Mark>,
    counts: [u16; 3],
    /// Its code.
    pub rcode: Rcode,
    /// Seconds that it is good for.
    pub ttl: u32,
    stored: Instant,
    hits: AtomicU32,
    /// Asked for since its place was last wanted for another.
    is_wanted: AtomicBool,
}

impl Entry {
    /// From a message that the library has written, good for `ttl` seconds from `now`.
    #[must_use]
    pub fn new(message: Vec<u8>, rcode: Rcode, ttl: u32, now: Instant) -> Option<Self> {
        let number =
            |at: usize| message.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u16::from_be_bytes(*b));
        let counts = [number(6)?, number(8)?, number(10)?];
        let question_end = skip_name(&message, HEADER_BYTES)? + 4;
        let mut marks = Vec::new();
        let mut at = question_end;
        for _ in 0..counts.iter().map(|count| usize::from(*count)).sum() {
            let ttl_at = skip_name(&message, at)? + 4;
            at = ttl_at + 6 + usize::from(number(ttl_at + 4)?);
            marks.push(Mark { ttl_at, end: at });
        }
        (at == message.len()).then_some(())?;
        let hits = AtomicU32::new(0);
        let is_wanted = AtomicBool::new(false);
        Some(Self { message, question_end, marks, counts, rcode, ttl, stored: now, hits, is_wanted })
    }

    /// Whether it says that there is nothing.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.rcode != Rcode::NO_ERROR || self.counts[0] == 0
    }

    /// Somebody asked for it.
    pub(super) fn want(&self) {
        // Read first: what is asked for often is not written to each time.
        if !self.is_wanted.load(Ordering::Relaxed) {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody asked for it since the last call.
    pub(super) fn was_wanted(&self) -> bool {
        self.is_wanted.swap(false, Ordering::Relaxed)
    }

    fn age(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.stored).as_secs()).unwrap_or(u32::MAX)
    }

    /// Whether it is good.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.ttl
    }

    /// Whether it was good no longer than `stale` ago.
    #[must_use]
    pub fn is_usable(&self, now: Instant, stale: Duration) -> bool {
        let limit = Duration::from_secs(self.ttl.into()) + stale;
        now.saturating_duration_since(self.stored) < limit
            && matches!(self.rcode, Rcode::NO_ERROR | Rcode::NAME_ERROR)
    }

    /// Counts a use; `true` once, when its time is nearly over and it is popular.
    #[must_use]
    pub fn wants_prefetch(&self, now: Instant) -> bool {
        let hits = self.hits.load(Ordering::Relaxed);
        if hits < PREFETCH_HITS {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // Beyond, the counter says that it has been asked for again.
        let late = self.ttl.saturating_sub(self.age(now)) <= self.ttl / PREFETCH_SHARE;
        late && self.hits.swap(u32::MAX, Ordering::Relaxed) != u32::MAX
    }

    /// Answers `query` with it, in at most `limit` bytes.
    pub fn write(&self, query: &Query<'_>, limit: usize, now: Instant, out: &mut Vec<u8>) -> Rcode {
        let room = limit.saturating_sub(if query.edns.is_some() { OPT_BYTES } else { 0 });
        let fitting = self.marks.iter().take_while(|mark| mark.end <= room).count();
        let end =
            fitting.checked_sub(1).and_then(|last| self.marks.get(last)).map_or(self.question_end, |m| m.end);
        out.clear();
        out.extend_from_slice(self.message.get(..end).unwrap_or_default());
        // The name is as long in any case, so pointers into it stay good.
        if let Some(question) = out.get_mut(HEADER_BYTES..self.question_end)
            && question.len() == query.question.len()
        {
            question.copy_from_slice(query.question);
        }
        let mut left = fitting;
        let counts = self.counts.map(|count| {
            let here = left.min(usize::from(count));
            left -= here;
            u16::try_from(here).unwrap_or_default()
        });
        let age = self.age(now);
        for mark in self.marks.iter().take(fitting) {
            let Some(place) = out.get_mut(mark.ttl_at..).and_then(|rest| rest.first_chunk_mut()) else {
                continue;
            };
            let ttl = u32::from_be_bytes(*place);
            *place = if age < self.ttl { ttl - ttl.min(age) } else { ttl.min(STALE_TTL) }.to_be_bytes();
        }
        if let Some(edns) = query.edns {
            write_opt(out, self.rcode, edns.dnssec_ok);
        }
        let bit = |set: bool, at: u32| u16::from(set) << at;
        let flags = 0x8080
            | bit(counts[0] < self.counts[0], 9)
            | bit(query.header.recursion_desired, 8)
            | bit(query.header.checking_disabled, 4)
            | (self.rcode.0 & 0xf);
        put(out, 0, query.header.id);
        put(out, 2, flags);
        put(out, 6, counts[0]);
        put(out, 8, counts[1]);
        put(out, 10, counts[2] + u16::from(query.edns.is_some()));
        self.rcode
    }
}

/// Behind the name at `at`.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            len => at += usize::from(len) + 1,
        }
    }
}
