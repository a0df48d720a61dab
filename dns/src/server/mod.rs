//! The sockets, and what every query goes through.
//!
//! [`respond`] decides what becomes of a message; [`udp`] has a thread and a socket per processor, and does what can be answered at
//! once in batches without anything asynchronous; [`tcp`] and what has to wait for another server ([`later`]) are tasks.

pub mod http;
pub mod later;
pub mod respond;
pub mod tcp;
pub mod udp;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use arc_swap::ArcSwapOption;

use crate::forward::Outside;
use crate::metrics::Counters;
use crate::zone::{Names, Zone};

/// What all threads share.
pub struct Shared {
    /// The zone.
    pub zone: Arc<Zone>,
    /// What is in it; `None` until it is known.
    pub names: Arc<ArcSwapOption<Names>>,
    /// What is outside it.
    pub outside: Arc<Outside>,
    /// Log every query.
    pub log_queries: AtomicBool,
    /// The end has been announced.
    pub leaving: AtomicBool,
    /// Take no more queries.
    pub stop: Arc<AtomicBool>,
    /// One per thread that answers UDP, and one for tasks.
    pub counters: Vec<Arc<Counters>>,
    /// TCP connections that are open.
    pub connections: AtomicUsize,
}
