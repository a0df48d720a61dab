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

mod action;
mod admission;
mod bounded;
mod config;
mod counters;
mod flow_table;
mod inspect;
mod install;
mod l2;
mod l3;
mod offload;
mod output;
mod ports;
mod received;
mod slow_path;
mod sweep;
mod switch;
mod token_bucket;
mod verdict;
mod wire;

pub mod batch;
pub mod frame;
pub mod limits;
pub mod pool;
pub mod time;

pub use batch::Batch;
pub use config::ConfigError;
pub use frame::{Frame, HEADROOM, VNET_HDR_LEN};
pub use limits::Limits;
pub use output::{Egress, Transmit};
pub use pool::Pool;
pub use switch::{Switch, SwitchOptions};
pub use time::Instant;
pub use verdict::DropReason;
