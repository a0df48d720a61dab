//! The switch as a state machine: frames, a clock reading and configuration in; frames and counters
//! out.
//!
//! This crate opens no socket, reads no clock, starts no thread, writes no log and allocates nothing
//! per frame; its `Cargo.toml` names no I/O crate.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod config;
mod counters;
mod switch;
mod verdict;

pub mod batch;
pub mod frame;
pub mod limits;
pub mod pool;
pub mod time;

pub use batch::Batch;
pub use config::ConfigError;
pub use frame::{Frame, HEADROOM, VNET_HDR_LEN};
pub use limits::Limits;
pub use pool::Pool;
pub use switch::{Egress, Switch, SwitchOptions, Transmit};
pub use time::Instant;
pub use verdict::DropReason;
