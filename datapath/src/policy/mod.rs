//! Network policies: whether a flow may be, asked at both of its ends (design 0012).
//!
//! ```text
//!  packet ─▶ nat: its connection, after a service's address became a backend's ─▶ route: to which port
//!                                                                                     │
//!     neither end has rules ◀── as it is ──┬── police: the pod at the ingress port, egress table ◀──┘
//!                                          │           the pod at the egress port, ingress table
//!             allowed: remembered as a connection, so answers pass; cached as a flow of it
//!             denied: dropped under a named reason, counted at its policy, noted; its connection is taken out
//! ```
//!
//! Who is asked is said by the *port*, so that a frame with somebody's MAC and another address does not get round him; the
//! peer is known by its address, which admission has made sure of. What a packet of a connection may is asked again whenever the
//! slow path sees it, which is after each change of configuration: a flow that is no longer allowed ends with its next packet.
//! A cached flow pays for none of this but the look at its connection.
//!
//! - [`tables`]: what control said, shared by all workers. [`draft`]: on its way to become active.
//! - [`ports`]: who is behind which port. [`enforce`]: the decision. [`notes`]: what was counted and noted.

mod draft;
pub(crate) mod enforce;
mod notes;
mod pickup;
pub(crate) mod ports;
mod shared;
mod tables;

pub(crate) use draft::Draft;
pub(crate) use ports::Policies;
pub(crate) use shared::SharedPolicies;
