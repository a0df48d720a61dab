//! What an entry of the table says, in one piece.

use protocol::PortId;

use super::key::Key;
use super::mapping::End;
use super::{ConnectionId, Kind};
use crate::rewrite::{Translation, Tuple};
use crate::time::Instant;

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
