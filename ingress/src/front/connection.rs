//! What is known about a client's connection, and how long it may take.
//!
//! ```text
//!            first bytes            head complete
//!   idle ──────────────▶ head ─────────────────▶ busy
//!     ▲   keep_alive │      │ header_timeout      │
//!     │              ▼      ▼                     │ last response sent
//!     │            closed  closed                 │
//!     └───────────────────────────────────────────┘
//! ```
//! `busy` has no limit here: bodies have their own. The connection's I/O and its requests move the state, and the
//! watchdog reads it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::head_scan::Seen;
use crate::clock::now_ms;

/// What TLS found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFacts {
    /// The name that the client asked for, in lower case.
    pub(crate) server_name: Option<String>,
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Who it is; said by the PROXY protocol where that is trusted.
    pub(crate) client: SocketAddr,
    /// Where it arrived.
    pub(crate) port: u16,
    pub(crate) tls: Option<TlsFacts>,
    pub(crate) activity: Arc<Activity>,
}

/// What a connection does. Made of atomics, because the HTTP library may move its I/O between threads.
#[derive(Debug)]
pub(crate) struct Activity {
    in_flight: AtomicU32,
    /// In a head: whether the first bytes have come.
    in_head: AtomicBool,
    since_ms: AtomicU64,
    seen: AtomicU8,
    given_up: AtomicBool,
    tunnel: AtomicBool,
}

const CONTENT_LENGTH: u8 = 1;
const TRANSFER_ENCODING: u8 = 2;
const BARE_LF: u8 = 4;

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Busy,
}

/// The times that a connection has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) header: Duration,
    pub(crate) keep_alive: Duration,
}

/// Why a connection is closed before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing was asked for too long.
    Idle,
    /// The head of a request took too long.
    Head,
}

impl Activity {
    /// A connection that may stay silent for a while.
    pub(crate) fn idle() -> Self {
        Self::new(false)
    }

    /// One from which something is expected at once.
    pub(crate) fn in_head() -> Self {
        Self::new(true)
    }

    fn new(in_head: bool) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            in_head: AtomicBool::new(in_head),
            since_ms: AtomicU64::new(now_ms()),
            seen: AtomicU8::new(0),
            given_up: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
        }
    }

    /// What was expected has come.
    pub(crate) fn rest(&self) {
        self.in_head.store(false, Ordering::Relaxed);
        self.since_ms.store(now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.phase() == Phase::Idle
    }

    /// The head that is under way is not waited for any longer.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// The connection becomes something else.
    pub(crate) fn on_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    fn phase(&self) -> Phase {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            Phase::Busy
        } else if self.in_head.load(Ordering::Relaxed) {
            Phase::Head
        } else {
            Phase::Idle
        }
    }

    /// Bytes have come. True if they begin a head, or are in one.
    pub(crate) fn on_bytes(&self) -> HeadBytes {
        match self.phase() {
            Phase::Busy => HeadBytes::Outside,
            Phase::Head => HeadBytes::Inside,
            Phase::Idle => {
                self.in_head.store(true, Ordering::Relaxed);
                self.since_ms.store(now_ms(), Ordering::Relaxed);
                HeadBytes::First
            }
        }
    }

    pub(crate) fn on_seen(&self, seen: Seen) {
        let bits = u8::from(seen.content_length) * CONTENT_LENGTH
            + u8::from(seen.transfer_encoding) * TRANSFER_ENCODING
            + u8::from(seen.bare_lf) * BARE_LF;
        self.seen.store(bits, Ordering::Relaxed);
    }

    /// What the head that was read last looked like on the wire.
    pub(crate) fn seen(&self) -> Seen {
        let bits = self.seen.load(Ordering::Relaxed);
        Seen {
            content_length: bits & CONTENT_LENGTH != 0,
            transfer_encoding: bits & TRANSFER_ENCODING != 0,
            bare_lf: bits & BARE_LF != 0,
        }
    }

    /// A head is complete.
    pub(crate) fn on_request(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_head.store(false, Ordering::Relaxed);
    }

    /// Its response is through.
    pub(crate) fn on_response_end(&self) {
        self.since_ms.store(now_ms(), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the connection has used up its time.
    pub(crate) fn expired(&self, limits: Limits) -> Option<Expired> {
        let (limit, expired) = match self.phase() {
            Phase::Busy => return None,
            Phase::Head => (limits.header, Expired::Head),
            Phase::Idle => (limits.keep_alive, Expired::Idle),
        };
        let spent = now_ms().saturating_sub(self.since_ms.load(Ordering::Relaxed));
        (Duration::from_millis(spent) >= limit).then_some(expired)
    }
}

/// See [`Activity::on_bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadBytes {
    /// A head begins with these.
    First,
    /// They go on with one.
    Inside,
    /// They are a body, or come while a response is under way.
    Outside,
}
