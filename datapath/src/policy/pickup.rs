//! TCP that is in the middle when nobody knows it: it began before the policy came, or while its connection was forgotten.
//!
//! Who began it is told from its ports. A port below the range that systems connect from (RFC 6056 §2.1; Linux's begins at 32768) is the server's, if
//! the other one is not below it as well. Where that does not say it, the segment is let pass only if either way were allowed: a flow
//! that is cut can begin again, one that is let pass by mistake would go on.

use crate::rewrite::Tuple;

/// Where ports begin that systems connect from.
const CONNECTED_FROM: u16 = 32_768;

/// Who began a flow, seen from the sender of a segment in the middle of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Began {
    Sender,
    Receiver,
    Unknown,
}

pub(super) const fn began(tuple: &Tuple) -> Began {
    match (tuple.source_port < CONNECTED_FROM, tuple.destination_port < CONNECTED_FROM) {
        (false, true) => Began::Sender,
        (true, false) => Began::Receiver,
        (true, true) | (false, false) => Began::Unknown,
    }
}
