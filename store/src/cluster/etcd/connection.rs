//! The connection to one endpoint at a time.
//!
//! How it works: the first request connects to the current endpoint and asks for its status, so that nothing is
//! sent over a connection that does not work, nor to a member without a leader. Whoever finds the
//! connection broken drops it and makes the next endpoint the current one; requests that were made over
//! the same connection and fail later change nothing (`generation`).

use std::time::Duration;

use etcd_client::Client;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::config::{CONNECT_TIMEOUT, EtcdConfig};
use super::failure::{EtcdFailure, Verdict};
use crate::cluster::error::ClusterError;

/// Between two tries, so that a store that is down is not asked in a tight loop.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A try takes no longer where another one may follow; slower than a loaded server, quicker than a caller's patience.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a request may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or nothing that matters twice.
    Freely,
    /// Only when it certainly was not made.
    IfNotMade,
}

#[derive(Debug)]
pub(super) struct Connection {
    config: EtcdConfig,
    current: Mutex<Current>,
    /// For messages, readable without waiting.
    shown: std::sync::Mutex<String>,
}

struct Current {
    index: usize,
    client: Option<Client>,
    /// Grows with every connection.
    generation: u64,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("index", &self.index).finish_non_exhaustive()
    }
}

/// A connection to make a request over.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) endpoint: String,
    pub(super) generation: u64,
}

impl Connection {
    pub(super) fn new(config: EtcdConfig) -> Self {
        let shown = std::sync::Mutex::new(config.endpoints.first().cloned().unwrap_or_default());
        Self { config, current: Mutex::new(Current { index: 0, client: None, generation: 0 }), shown }
    }

    pub(super) const fn config(&self) -> &EtcdConfig {
        &self.config
    }

    /// The current one.
    pub(super) fn endpoint(&self) -> String {
        self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Makes a request, again where `repeat` allows, until the deadline.
    pub(super) async fn call<R>(
        &self,
        repeat: Repeat,
        request: impl AsyncFn(&Client) -> Result<R, etcd_client::Error>,
    ) -> Result<R, ClusterError> {
        let deadline = Instant::now() + self.config.call_timeout;
        loop {
            let (endpoint, failure, verdict) = match self.attempt(repeat, deadline, &request).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let again = match verdict {
                Verdict::Refused => return Err(ClusterError::Refused { endpoint, source: failure }),
                Verdict::NotMade => true,
                Verdict::Unknown => repeat == Repeat::Freely,
            };
            if !again {
                return Err(ClusterError::OutcomeUnknown { endpoint, source: failure });
            }
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(ClusterError::Unreachable { endpoint, source: failure });
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn attempt<R>(
        &self,
        repeat: Repeat,
        deadline: Instant,
        request: &impl AsyncFn(&Client) -> Result<R, etcd_client::Error>,
    ) -> Result<R, (String, EtcdFailure, Verdict)> {
        let session = self.session(deadline).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = match repeat {
            Repeat::Freely => left.min(READ_TIMEOUT),
            Repeat::IfNotMade => left,
        };
        let failure = match timeout(limit, request(&session.client)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => EtcdFailure::from(error),
            Err(_) => EtcdFailure::Silent(limit),
        };
        let verdict = failure.verdict();
        if verdict != Verdict::Refused {
            self.failed(session.generation).await;
        }
        Err((session.endpoint, failure, verdict))
    }

    /// The current connection, or a new one. Whatever fails here, nothing of a request was sent.
    pub(super) async fn session(&self, deadline: Instant) -> Result<Session, (String, EtcdFailure, Verdict)> {
        let limit = deadline.saturating_duration_since(Instant::now());
        let Ok(mut current) = timeout(limit, self.current.lock()).await else {
            return Err((self.endpoint(), EtcdFailure::Silent(limit), Verdict::NotMade));
        };
        let endpoint = self.config.endpoints.get(current.index).cloned().unwrap_or_default();
        if let Some(client) = &current.client {
            return Ok(Session { client: client.clone(), endpoint, generation: current.generation });
        }
        let limit = CONNECT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let connected = timeout(limit, connect(&endpoint, &self.config)).await;
        match connected.unwrap_or(Err(EtcdFailure::Silent(limit))) {
            Ok(client) => {
                current.generation += 1;
                current.client = Some(client.clone());
                Ok(Session { client, endpoint, generation: current.generation })
            }
            Err(failure) => {
                let refused = failure.verdict() == Verdict::Refused;
                self.move_on(&mut current);
                let verdict = if refused { Verdict::Refused } else { Verdict::NotMade };
                Err((endpoint, failure, verdict))
            }
        }
    }

    /// The connection of that generation does not work.
    pub(super) async fn failed(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current.generation == generation && current.client.is_some() {
            self.move_on(&mut current);
        }
    }

    fn move_on(&self, current: &mut Current) {
        current.client = None;
        current.index = (current.index + 1) % self.config.endpoints.len().max(1);
        let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *shown = self.config.endpoints.get(current.index).cloned().unwrap_or_default();
    }
}

async fn connect(endpoint: &str, config: &EtcdConfig) -> Result<Client, EtcdFailure> {
    let client = Client::connect([endpoint], Some(config.options())).await?;
    let status = client.maintenance_client().status().await?;
    if status.leader() == 0 {
        return Err(EtcdFailure::NoLeader);
    }
    Ok(client)
}
