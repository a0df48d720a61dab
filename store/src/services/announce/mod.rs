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
//! No two nodes stand for an address at once: who gives one up stops before the store hears of it. Who cannot renew its
//! lease has the addresses for sure only until it has ended by its own clock ([`Announcer::held_until`]), counted from before the store was
//! last asked, which is earlier than the store ends it. From then on it goes on until another node tells the network that it has them (the
//! datapath hears that, whatever control does) or the store says that the lease is lost. So nobody is without an address while the
//! store is away from all nodes.

mod announcer;
mod order;

pub use announcer::{ANNOUNCE, ANNOUNCERS, Announcer, AnnouncerRecord, Owner, owners};
pub use order::in_order;

#[cfg(test)]
mod tests;
