//! The words that outlive a process: a header, and one entry a slot.
//!
//! ```text
//! header                    entry, first cache line: all a packet needs      second: the rest
//! 0 magic                   0 sequence: generation : 32, phase : 2           8 owner : 32  kind : 32
//! 1 version, words/entry    1 state: generation : 32, see `state` : 32       9 created
//! 2 slots                   2 last seen, nanoseconds              10 backend slot and one more, or 0
//! 3 slots ever used         3, 4 original key                     11, 12 mappings of client and server
//!                           5, 6 reply key                        13 connections that hold the mapping
//!                           7 what translation adds to checksums  14 of use until, nanoseconds
//!                                                                 15 zero
//! ```
//!
//! Words 11 and 12 are those of connections, `generation : 32, slot : 32` or 0; 13 and 14 are those of mappings.
//!
//! An entry is written behind its sequence (a seqlock): `WRITING`, then the words, then `LIVE`. A reader compares the sequence before and after, so it
//! never sees half an entry, nor one of another generation; a successor finds `WRITING` where a writer died, and
//! frees the slot. The generation grows when an entry goes, so whoever remembers a connection by slot and generation learns
//! that it is gone. The state word holds the generation as well: a change of state (compare and swap) cannot hit
//! the slot's next entry.
//!
//! Times are nanoseconds of the machine's monotonic clock, the same to every process until the machine restarts, when
//! the memory is gone.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use protocol::PortId;

use super::key::{Direction, Key};
use super::mapping::End;
use super::{ConnectionId, Kind};
use crate::rewrite::{Translation, Tuple};
use crate::time::Instant;

/// Words of an entry, and of the header.
pub(super) const ENTRY_WORDS: usize = 16;

/// "vpodconn"
const MAGIC: u64 = 0x7670_6f64_636f_6e6e;
/// Another for every change of the layout or of what its numbers mean.
const VERSION: u64 = 2 << 32 | ENTRY_WORDS as u64;

const PHASE_BITS: u32 = 2;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;
const VACANT: u64 = 0;
const WRITING: u64 = 1;
const LIVE: u64 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    header: &'static Words,
    entries: &'static [Words],
}

type Words = [AtomicU64; ENTRY_WORDS];

/// A slot's words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(&'static Words);

/// What does not change while a connection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) original: Key,
    pub(super) reply: Key,
    pub(super) changes: u64,
    pub(super) owner: PortId,
    pub(super) kind: Kind,
    pub(super) created: Instant,
    /// Whose connections it is one of; not a successor's, which numbers backends anew.
    pub(super) backend: Option<u32>,
    pub(super) mappings: Mappings,
}

/// The mappings a connection goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mappings {
    /// By which its packets go out.
    pub(super) client: Option<ConnectionId>,
    /// Which let it in.
    pub(super) server: Option<ConnectionId>,
}

/// Stands in where the memory has no room for a header: a table without slots.
static NO_HEADER: Words = [const { AtomicU64::new(0) }; ENTRY_WORDS];

impl Memory {
    /// Words for `slots` slots.
    pub(super) const fn words(slots: u32) -> usize {
        (slots as usize + 1) * ENTRY_WORDS
    }

    /// Over memory as a predecessor left it, or, if that is not this layout, as if nothing were in it.
    pub(super) fn new(words: &'static [AtomicU64], max_slots: u32) -> Self {
        let (chunks, _) = words.as_chunks::<ENTRY_WORDS>();
        let Some((header, entries)) = chunks.split_first() else {
            return Self { header: &NO_HEADER, entries: &[] };
        };
        let entries = entries.get(..max_slots as usize).unwrap_or(entries);
        let memory = Self { header, entries };
        let [magic, version, slots, used, ..] = header;
        let slots_now = memory.entries.len() as u64;
        let found = (magic.load(Acquire), version.load(Relaxed), slots.load(Relaxed));
        if found != (MAGIC, VERSION, slots_now) {
            magic.store(0, Release);
            version.store(VERSION, Relaxed);
            slots.store(slots_now, Relaxed);
            used.store(0, Relaxed);
            magic.store(MAGIC, Release);
        }
        memory
    }

    #[expect(clippy::cast_possible_truncation, reason = "slots are numbered with 31 bits")]
    pub(super) const fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(super) fn slot(&self, slot: u32) -> Option<Slot> {
        self.entries.get(slot as usize).map(Slot)
    }

    /// Slots from here on were never used.
    pub(super) fn used(&self) -> u32 {
        let [_, _, _, used, ..] = self.header;
        u32::try_from(used.load(Acquire)).unwrap_or(u32::MAX).min(self.capacity())
    }

    /// Before an entry beyond is written.
    pub(super) fn set_used(&self, slots: u32) {
        let [_, _, _, used, ..] = self.header;
        used.store(slots.into(), Release);
    }
}

impl Slot {
    /// The connection in it.
    pub(super) fn live(self) -> Option<NonZeroU32> {
        let sequence = self.sequence().load(Acquire);
        if sequence & PHASE_MASK == LIVE { generation(sequence >> PHASE_BITS) } else { None }
    }

    pub(super) fn is_vacant(self) -> bool {
        self.sequence().load(Acquire) & PHASE_MASK == VACANT
    }

    /// The key of one direction and the connection, read without a lock.
    pub(super) fn key(self, direction: Direction) -> Option<(NonZeroU32, Key)> {
        let generation = self.live()?;
        let key = self.raw_key(direction);
        self.still(generation).then_some((generation, key))
    }

    /// What becomes of the packets of one direction, if the connection is still `generation`.
    pub(super) fn translation(self, generation: NonZeroU32, direction: Direction) -> Option<Translation> {
        if self.live()? != generation {
            return None;
        }
        let other = self.raw_key(direction.reversed());
        let [_, _, _, _, _, _, _, changes, ..] = self.0;
        let changes = changes.load(Relaxed);
        self.still(generation)
            .then(|| Translation::with_changes(other.tuple().reversed(), unpack_changes(changes, direction)))
    }

    /// Everything, if the connection is still `generation`.
    pub(super) fn read(self, generation: NonZeroU32) -> Option<Entry> {
        if self.live()? != generation {
            return None;
        }
        let [_, _, _, _, _, _, _, changes, owner, created, ..] = self.0;
        let owner = owner.load(Relaxed);
        let entry = Entry {
            original: self.raw_key(Direction::Original),
            reply: self.raw_key(Direction::Reply),
            changes: changes.load(Relaxed),
            owner: PortId((owner >> 32) as u32),
            kind: Kind::from_bits(owner),
            created: Instant::from_nanos(created.load(Relaxed)),
            backend: self.backend(),
            mappings: self.mappings(),
        };
        self.still(generation).then_some(entry)
    }

    /// Puts a connection in; gives its generation. The caller holds the lock, and the slot is free.
    pub(super) fn occupy(self, entry: &Entry, condition: u32, now: Instant) -> NonZeroU32 {
        let old = self.sequence().load(Relaxed) >> PHASE_BITS;
        let generation = generation(old).unwrap_or(NonZeroU32::MIN);
        let sequence = u64::from(generation.get()) << PHASE_BITS;
        self.sequence().store(sequence | WRITING, Relaxed);
        // Nobody sees a word of it before `WRITING`.
        fence(Release);
        let [
            _,
            state,
            seen,
            o0,
            o1,
            r0,
            r1,
            changes,
            owner,
            created,
            backend,
            client,
            server,
            held,
            until,
            _,
        ] = self.0;
        let (Key([a, b]), Key([c, d])) = (entry.original, entry.reply);
        for (word, value) in [(o0, a), (o1, b), (r0, c), (r1, d), (changes, entry.changes)] {
            word.store(value, Relaxed);
        }
        owner.store(u64::from(entry.owner.0) << 32 | entry.kind.bits(), Relaxed);
        created.store(entry.created.as_nanos(), Relaxed);
        backend.store(entry.backend.map_or(0, |slot| u64::from(slot) + 1), Relaxed);
        client.store(pack_id(entry.mappings.client), Relaxed);
        server.store(pack_id(entry.mappings.server), Relaxed);
        held.store(0, Relaxed);
        until.store(now.as_nanos(), Relaxed);
        seen.store(now.as_nanos(), Relaxed);
        state.store(with_generation(generation, condition), Relaxed);
        self.sequence().store(sequence | LIVE, Release);
        generation
    }

    /// Takes whatever is in it out. The caller holds the lock.
    pub(super) fn vacate(self) {
        let old = self.sequence().load(Relaxed) >> PHASE_BITS;
        self.state().store(0, Relaxed);
        let next = u64::from(NonZeroU32::new(low(old).wrapping_add(1)).unwrap_or(NonZeroU32::MIN).get());
        self.sequence().store(next << PHASE_BITS | VACANT, Release);
    }

    /// The state word; see `state` for its lower half.
    pub(super) const fn state(self) -> &'static AtomicU64 {
        let [_, state, ..] = self.0;
        state
    }

    pub(super) fn last_seen(self) -> Instant {
        let [_, _, seen, ..] = self.0;
        Instant::from_nanos(seen.load(Relaxed))
    }

    pub(super) fn set_last_seen(self, now: Instant) {
        let [_, _, seen, ..] = self.0;
        seen.store(now.as_nanos(), Relaxed);
    }

    /// When it was made; only as good as the caller's knowledge that it still is there.
    pub(super) fn created(self) -> Instant {
        let [_, _, _, _, _, _, _, _, _, created, ..] = self.0;
        Instant::from_nanos(created.load(Relaxed))
    }

    /// As [`Self::created`].
    pub(super) fn backend(self) -> Option<u32> {
        let [_, _, _, _, _, _, _, _, _, _, backend, ..] = self.0;
        backend.load(Relaxed).checked_sub(1).and_then(|slot| u32::try_from(slot).ok())
    }

    /// What was a predecessor's to know: the number of the backend, and who holds it.
    pub(super) fn forget_process(self) {
        let [_, _, _, _, _, _, _, _, _, _, backend, _, _, held, ..] = self.0;
        backend.store(0, Relaxed);
        held.store(0, Relaxed);
    }

    /// As [`Self::created`].
    pub(super) fn mappings(self) -> Mappings {
        let [_, _, _, _, _, _, _, _, _, _, _, client, server, ..] = self.0;
        Mappings { client: unpack_id(client.load(Relaxed)), server: unpack_id(server.load(Relaxed)) }
    }

    /// Connections through the mapping; changed by those who hold the lock.
    pub(super) const fn held(self) -> &'static AtomicU64 {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, held, ..] = self.0;
        held
    }

    /// Until when the mapping is of use although no connection holds it; as [`Self::held`].
    pub(super) fn until(self) -> Instant {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, until, _] = self.0;
        Instant::from_nanos(until.load(Relaxed))
    }

    pub(super) fn set_until(self, until: Instant) {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, word, _] = self.0;
        word.store(until.as_nanos(), Relaxed);
    }

    /// As [`Self::created`].
    pub(super) fn raw_key(self, direction: Direction) -> Key {
        let [_, _, _, o0, o1, r0, r1, ..] = self.0;
        let words = match direction {
            Direction::Original => [o0, o1],
            Direction::Reply => [r0, r1],
        };
        Key(words.map(|word| word.load(Relaxed)))
    }

    /// Whether what was read since [`Self::live`] is all of that connection.
    fn still(self, generation: NonZeroU32) -> bool {
        fence(Acquire);
        self.sequence().load(Relaxed) == u64::from(generation.get()) << PHASE_BITS | LIVE
    }

    const fn sequence(self) -> &'static AtomicU64 {
        let [sequence, ..] = self.0;
        sequence
    }
}

impl Entry {
    /// With what its translations add to checksums.
    pub(super) fn new(original: Key, reply: Key, owner: PortId, kind: Kind, created: Instant) -> Self {
        Self {
            original,
            reply,
            changes: changes(&original, &reply),
            owner,
            kind,
            created,
            backend: None,
            mappings: Mappings::default(),
        }
    }

    /// It has no destination.
    pub(super) fn is_mapping(&self) -> bool {
        self.original.is_to_nobody() && self.reply.reversed().is_to_nobody()
    }

    /// Of a mapping: whose it is.
    pub(super) const fn inside(&self) -> End {
        let Tuple { source, source_port, .. } = self.original.tuple();
        (source, source_port)
    }

    /// Of a mapping: what that appears as.
    pub(super) const fn outside(&self) -> End {
        let Tuple { destination, destination_port, .. } = self.reply.tuple();
        (destination, destination_port)
    }

    /// Whether it says of itself what its keys say: a damaged one would spoil packets.
    pub(super) fn is_consistent(&self) -> bool {
        let protocols = (self.original.protocol(), self.reply.protocol());
        protocols.0 == protocols.1
            && self.owner.0 < PortId::MAX_PORTS
            && self.changes == changes(&self.original, &self.reply)
    }
}

/// Changes of addresses and of all, of the original direction and of the replies, 16 bits each.
fn changes(original: &Key, reply: &Key) -> u64 {
    let of = |from: &Key, to: &Key| Translation::new(&from.tuple(), to.tuple().reversed()).changes();
    let ((a, b), (c, d)) = (of(original, reply), of(reply, original));
    u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d)
}

#[expect(clippy::cast_possible_truncation, reason = "unpacks fields at their widths")]
const fn unpack_changes(changes: u64, direction: Direction) -> (u16, u16) {
    match direction {
        Direction::Original => ((changes >> 48) as u16, (changes >> 32) as u16),
        Direction::Reply => ((changes >> 16) as u16, changes as u16),
    }
}

fn pack_id(id: Option<ConnectionId>) -> u64 {
    id.map_or(0, |id| u64::from(id.generation.get()) << 32 | u64::from(id.slot))
}

fn unpack_id(word: u64) -> Option<ConnectionId> {
    Some(ConnectionId { generation: NonZeroU32::new(low(word >> 32))?, slot: low(word) })
}

/// A state word.
pub(super) fn with_generation(generation: NonZeroU32, condition: u32) -> u64 {
    u64::from(generation.get()) << 32 | u64::from(condition)
}

/// The lower half of a state word, if it is of connection `id`.
pub(super) fn condition_of(word: u64, id: ConnectionId) -> Option<u32> {
    (word >> 32 == u64::from(id.generation.get())).then_some(low(word))
}

const fn generation(number: u64) -> Option<NonZeroU32> {
    NonZeroU32::new(low(number))
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(word: u64) -> u32 {
    word as u32
}
