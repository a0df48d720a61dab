//! Connections to endpoints that wait for the next request. One pool per worker: no locks.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::exchange::{self, H2};
use super::h1::H1;
use crate::clock::now_ms;
use crate::settings::Options;

/// Endpoints that connections are kept to. A bound for a cluster gone mad: beyond it, connections are closed after use.
const MAX_ENDPOINTS: usize = 4096;
/// Requests under way on a shared connection before another is opened.
const MAX_SHARED: usize = 100;
/// Shared connections to one endpoint.
const MAX_H2_CONNECTIONS: usize = 8;
/// How often connections that nobody used for long are closed.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Idle {
    h1: Box<H1>,
    since_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool {
    h1: RefCell<HashMap<SocketAddr, VecDeque<Idle>>>,
    h2: RefCell<HashMap<SocketAddr, Vec<H2>>>,
    idle_ms: u64,
    max_idle: usize,
}

impl Pool {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            h1: RefCell::default(),
            h2: RefCell::default(),
            idle_ms: u64::try_from(options.upstream_idle.as_millis()).unwrap_or(u64::MAX),
            max_idle: options.upstream_idle_connections,
        }
    }

    /// A connection that waits, the one used last first: others grow old and are closed.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<Box<H1>> {
        let mut idle = self.h1.borrow_mut();
        let waiting = idle.get_mut(&address)?;
        while let Some(entry) = waiting.pop_back() {
            if entry.h1.is_alive() {
                return Some(entry.h1);
            }
        }
        None
    }

    /// Takes a connection back, if it is good for another request.
    pub(crate) fn put(&self, address: SocketAddr, mut h1: Box<H1>) {
        if !h1.rest() {
            return;
        }
        let mut idle = self.h1.borrow_mut();
        if idle.len() >= MAX_ENDPOINTS && !idle.contains_key(&address) {
            return;
        }
        let waiting = idle.entry(address).or_default();
        if waiting.len() < self.max_idle {
            waiting.push_back(Idle { h1, since_ms: now_ms() });
        }
    }

    /// A shared connection; a new one where there is none with room.
    ///
    /// # Errors
    /// When it cannot be made in time.
    pub(crate) async fn shared(
        &self,
        address: SocketAddr,
        outstanding: usize,
        timeout: Duration,
    ) -> io::Result<H2> {
        if let Some(h2) = self.known_shared(address, outstanding) {
            return Ok(h2);
        }
        let stream = exchange::connect(address, timeout).await?;
        let h2 = exchange::open_h2(stream).await.map_err(io::Error::other)?;
        let mut shared = self.h2.borrow_mut();
        if shared.len() < MAX_ENDPOINTS || shared.contains_key(&address) {
            shared.entry(address).or_default().push(h2.clone());
        }
        Ok(h2)
    }

    /// One that is open, if there are enough of them. They take turns.
    fn known_shared(&self, address: SocketAddr, outstanding: usize) -> Option<H2> {
        let mut shared = self.h2.borrow_mut();
        let open = shared.get_mut(&address)?;
        open.retain(|h2| !h2.is_closed());
        let wanted = (outstanding / MAX_SHARED + 1).min(MAX_H2_CONNECTIONS);
        if open.len() < wanted {
            return None;
        }
        open.rotate_left(1);
        open.last().cloned()
    }

    /// Forgets a shared connection that proved bad.
    pub(crate) fn forget_shared(&self, address: SocketAddr) {
        self.h2.borrow_mut().remove(&address);
    }

    /// Closes what nobody used for long, or the other side has closed.
    pub(crate) fn sweep(&self) {
        let now = now_ms();
        self.h1.borrow_mut().retain(|_, waiting| {
            waiting.retain(|idle| now.saturating_sub(idle.since_ms) < self.idle_ms && idle.h1.is_alive());
            !waiting.is_empty()
        });
        self.h2.borrow_mut().retain(|_, open| {
            open.retain(|h2| !h2.is_closed());
            !open.is_empty()
        });
    }
}
