//! The cluster's DNS server: answers for services and pods, and forwards what is outside.
//!
//! [`wire`] reads queries and writes records, [`zone`] knows what there is and is pure, [`encode`] joins them, [`feed`] keeps the zone as
//! `vswitchd` says, [`server`] has the sockets, [`forward`] and [`cache`] what is outside the zone. How it works and why:
//! `docs/design/0010-dns-server.md`.

pub mod cache;
pub mod config;
pub mod encode;
pub mod feed;
pub mod forward;
pub mod metrics;
pub mod run;
pub mod server;
pub mod wire;
pub mod zone;
