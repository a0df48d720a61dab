//! The switch as a state machine: frames, a clock reading and configuration in; frames and counters
//! out.
//!
//! # A frame's walk
//!
//! The poll loop reads frames from devices into [`Frame`]s of its [`Pool`], collects a [`Batch`], reads
//! the clock once, and calls [`Switch::process`]. For each frame:
//!
//! 1. `ports`: the port it came from must be active.
//! 2. `received`: the headers are read once (`wire`), the virtio header is checked against them, and the
//!    frame is put in canonical form: no padding, a virtio header that says exactly what is left to do.
//! 3. `flow_table`: a frame of a known flow skips to 5. Steps 1 to 3 are done for a window of frames
//!    first (`window`), so that the cache misses of their lookups overlap; the others frame by frame.
//! 4. `slow_path`: `admission` (is the source the port's own?), learning (`l2::fdb`), then ARP (`l2::arp`),
//!    layer 2 (by MAC) or layer 3 (`l3::router`, by route). The result is an `action`, or a refusal that
//!    names a drop reason and, for the router's refusals, an ICMP error.
//! 5. `switch`: the action is carried out: TTL and MTU are checked, `rewrite` changes addresses in place.
//!    A burst of small frames of one flow becomes one superframe first (`burst`, `offload::merge`).
//! 6. `output`: the frame goes to [`Egress::transmit`] as it is, or after what the destination's device
//!    cannot do was done in software (`offload`).
//!    What leads to another node goes to [`Egress::transmit_tunnel`] (`overlay`).
//!    What is more than its destination may receive waits first (`bandwidth`).
//! 7. `counters`: one verdict is counted, at the port the frame came from.
//!
//! Between batches: [`Switch::apply`] (configuration, `config` checks it and `install` makes it active; in
//! two steps where several switches change together), [`Switch::on_deadline`] (`sweep` expires entries),
//! [`Switch::take_learned`] and [`Switch::learn_remote`] (`replication`: several workers, one knowledge),
//! pages of tables (`inspect`), and what would become of a packet ([`Switch::trace`]).
//!
//! # What holds
//!
//! - Every frame ends in exactly one verdict, and `rx_frames == forwarded + Σ drops` at every port,
//!   after every frame.
//! - After step 2 nothing about a received header is checked or read again; a frame is rewritten only
//!   through views at offsets that were checked there.
//! - What a frame's headers say is never trusted to agree with its virtio header, and no byte of a
//!   received virtio header is written.
//! - The flow table changes speed, never outcome. It holds no decision that rests on a learned entry,
//!   and every change of configuration voids it at once. A port over its share of it loses its own.
//! - No traffic changes a configured FDB or neighbour entry, nor evicts another port's learned ones while
//!   its own port is the fullest.
//! - A superframe is segmented, and a checksum computed, only where the destination's device cannot.
//!
//! # What is not here
//!
//! No socket, file, clock, thread or log, and no lock but the one that `conntrack` holds where a connection is made or
//! removed; no crate that has one, but for the seed: `foldhash`
//! mixes a number of its own into the seed given in [`SwitchOptions`], made once per process from
//! addresses and the clock when the first switch is. No allocation per frame (`tests/no_allocation.rs`). No `unsafe`. No panic on packet
//! contents: indexing, `unwrap` and `expect` are denied.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod action;
mod admission;
mod bandwidth;
mod bounded;
mod burst;
mod config;
mod conntrack;
mod counters;
mod flow_table;
mod inspect;
mod install;
mod l2;
mod l3;
mod nat;
mod offload;
mod output;
mod overlay;
mod ports;
mod received;
mod replication;
mod rewrite;
mod service;
mod shared;
mod slow_path;
mod sweep;
mod switch;
mod token_bucket;
mod trace;
mod uplink;
mod verdict;
mod window;
mod wire;

pub mod batch;
#[doc(hidden)]
pub mod bench;
pub mod frame;
pub mod limits;
pub mod pool;
pub mod time;

pub use bandwidth::MayRead;
pub use batch::Batch;
pub use config::ConfigError;
pub use frame::{Frame, HEADROOM, VNET_HDR_LEN};
pub use limits::{ConnectionIdle, Limits};
pub use output::{Egress, Transmit};
pub use overlay::{Datagram, OVERHEAD, Train};
pub use pool::Pool;
pub use replication::Learned;
pub use shared::Shared;
pub use switch::{Switch, SwitchOptions};
pub use time::Instant;
pub use uplink::UplinkError;
pub use verdict::DropReason;
