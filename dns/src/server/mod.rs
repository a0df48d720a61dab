//! The sockets, and what every query goes through.
//!
//! [`respond`] decides what becomes of a message; [`udp`] has a thread and a socket per processor, and does what can be answered at
//! once in batches without anything asynchronous; [`tcp`] and what has to wait for another server ([`later`]) are tasks.
//!
//! One source cannot take what others need: places are shared fairly ([`shares`]), and so is a UDP queue that is longer than can be
//! answered ([`crowd`]).

pub mod crowd;
pub mod http;
pub mod later;
pub mod respond;
pub mod shares;
pub mod tcp;
pub mod udp;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwapOption;

use crate::forward::Outside;
use crate::metrics::{Counters, Health, Programming};
use crate::zone::{Names, Zone};

use self::shares::Shares;

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
    /// What the own `/health` took.
    pub health: Health,
    /// How long changes took until they were answered.
    pub programming: Programming,
    /// One per thread that answers UDP, and one for tasks.
    pub counters: Vec<Arc<Counters>>,
    /// TCP connections that are open, by client.
    pub connections: Arc<Shares<IpAddr>>,
    /// Queries that wait for another server, by client.
    pub waiting: Arc<Shares<IpAddr>>,
}
