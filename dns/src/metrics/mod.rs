//! Metrics under CoreDNS's names, so that its dashboards work.
//!
//! Each thread that answers counts in [`Counters`] of its own, plain relaxed additions on memory that no other thread writes;
//! [`render`] adds them up when somebody asks.

mod counters;
mod events;
mod histogram;
pub mod render;

pub use counters::{Counters, Family, Observation, Plugin, Protocol};
pub use events::{Answers, Health, Programming, ServiceKind};
