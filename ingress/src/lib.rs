//! The cluster's HTTP ingress: hosts and paths to pods. See `docs/design/0011-ingress-proxy.md`.
#![warn(missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod affinity;
mod clock;
mod cors;
mod feed;
mod forward;
mod front;
mod handler;
mod handover;
mod ingress;
mod limit;
mod mirror;
mod outbound;
mod outgoing;
mod pages;
mod plan;
mod ports;
mod report;
mod settings;
mod state;
mod tables;
mod tunnel;
mod upstream;
mod worker;

pub use feed::follow;
pub use front::listener::Scheme;
pub use ingress::Ingress;
pub use settings::{Options, Settings, SettingsError};
