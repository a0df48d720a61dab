//! Which node stands for the address of a load balancer on the nodes' network.
//!
//! Each node that can announce says so by an entry under a short lease, and each address has at most one owner: an entry under
//! its owner's lease, made by a transaction that demands that there is none. A node that dies loses its lease and with
//! it, in one revision, its addresses; the others see that and take them. A node that stops ends its lease itself.
//!
//! | Key | Value | Lease |
//! |-|-|-|
//! | `/vpod/v1/announcers/<node>` | [`AnnouncerRecord`] | of the node's announcements |
//! | `/vpod/v1/announce/<address>` | name of the owner | the same |
//!
//! Who takes an address: the nodes that may have it, in the order of a hash of node and address, which spreads addresses over
//! nodes; the first at once, each next one a second later, should those before it be stuck. An owner that may have an
//! address keeps it, and one that may not keeps it as long as nobody else may: an address moves only if that helps.
//!
//! While the store is away nothing moves, and owners go on. A node that is cut off from the store alone so finds out
//! that another one has its addresses when it reaches the store again, and stops then.

mod announcer;
mod order;

pub use announcer::{ANNOUNCE, ANNOUNCERS, Announcer, AnnouncerRecord, Owner, owners};
pub use order::in_order;

#[cfg(test)]
mod tests;
