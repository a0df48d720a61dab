//! One try: a connection to an endpoint, the request over it, and what that came to.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Forwarding, positive};
use crate::clock::now_ms;
use crate::report::metrics::EndpointError;
use crate::upstream::Protocol;
use crate::upstream::balance::Lease;
use crate::upstream::body::{RequestBody, Source};
use crate::upstream::exchange::{self, Failure, Received};
use crate::upstream::h1::H1;
use crate::upstream::patience::Patience;

/// What one try came to.
pub(super) enum Outcome {
    /// A response, and when it must be through.
    Response(Received, Source, Lease, Option<Instant>),
    /// Nothing has left.
    Unsent(RequestBody, EndpointError),
    /// It may have been seen.
    Lost(EndpointError),
}

impl Forwarding {
    pub(super) async fn attempt(&self, lease: Lease, body: RequestBody) -> Outcome {
        match positive(self.rule().timeouts.backend_request) {
            None => self.attempt_until(lease, body, self.deadline).await,
            Some(limit) => Box::pin(self.attempt_within(limit, lease, body)).await,
        }
    }

    /// A try that has a time of its own, response and all.
    async fn attempt_within(&self, limit: Duration, lease: Lease, body: RequestBody) -> Outcome {
        let at = Instant::now() + limit;
        let at = self.deadline.map_or(at, |deadline| deadline.min(at));
        let address = lease.endpoint().address;
        match tokio::time::timeout_at(at, self.attempt_until(lease, body, Some(at))).await {
            Ok(outcome) => outcome,
            Err(_) => {
                tracing::debug!(endpoint = %address, "no response in the time of a try");
                self.service.metrics.on_error(EndpointError::Timeout);
                Outcome::Lost(EndpointError::Timeout)
            }
        }
    }

    async fn attempt_until(&self, lease: Lease, body: RequestBody, deadline: Option<Instant>) -> Outcome {
        match self.protocol {
            Protocol::Http1 => self.attempt_h1(lease, body, deadline).await,
            Protocol::H2c => Box::pin(self.attempt_h2(lease, body, deadline)).await,
        }
    }

    async fn attempt_h1(&self, lease: Lease, mut body: RequestBody, deadline: Option<Instant>) -> Outcome {
        let pool = &self.context.pool;
        let address = lease.endpoint().address;
        loop {
            let (mut h1, reused) = match pool.take(address) {
                Some(h1) => (h1, true),
                None => match Box::pin(self.open(address)).await {
                    Ok(h1) => (h1, false),
                    Err(error) => return self.unreachable(&lease, body, &error),
                },
            };
            match h1.exchange(&self.head, body, self.limits).await {
                Ok(received) => {
                    lease.endpoint().succeeded();
                    return Outcome::Response(received, Source::H1(h1, Rc::clone(pool)), lease, deadline);
                }
                // The endpoint had closed it: that says nothing about the endpoint.
                Err(Failure::NotSent(unsent)) if reused => body = unsent,
                Err(failure) => return self.lost(&lease, failure, reused),
            }
        }
    }

    async fn open(&self, address: SocketAddr) -> io::Result<Box<H1>> {
        exchange::connect(address, self.limits.connect).await.map(H1::new)
    }

    async fn attempt_h2(&self, lease: Lease, body: RequestBody, deadline: Option<Instant>) -> Outcome {
        let pool = &self.context.pool;
        let address = lease.endpoint().address;
        let mut h2 = match pool.shared(address, lease.endpoint().load() as usize, self.limits.connect).await {
            Ok(h2) => h2,
            Err(error) => return self.unreachable(&lease, body, &error),
        };
        match exchange::exchange_h2(&mut h2, self.head.request(body), self.limits.read, &self.progress).await
        {
            Ok(response) => {
                lease.endpoint().succeeded();
                let (head, body) = response.into_parts();
                let received = Received { status: head.status, headers: head.headers };
                let source = Source::Shared(body, Patience::new(self.limits.read));
                Outcome::Response(received, source, lease, deadline)
            }
            Err(failure) => {
                if !matches!(failure, Failure::Timeout) {
                    pool.forget_shared(address);
                }
                self.lost(&lease, failure, false)
            }
        }
    }

    fn unreachable(&self, lease: &Lease, body: RequestBody, error: &io::Error) -> Outcome {
        tracing::debug!(endpoint = %lease.endpoint().address, %error, "cannot connect");
        self.blame(lease, EndpointError::Connect);
        Outcome::Unsent(body, EndpointError::Connect)
    }

    pub(super) fn lost(&self, lease: &Lease, failure: Failure, reused: bool) -> Outcome {
        // A client's bad body is not the endpoint's fault, nor is a connection that grew old in the pool.
        let blameless = self.progress.fault.get().is_some() || reused;
        let error = match &failure {
            Failure::Timeout => EndpointError::Timeout,
            Failure::NotSent(_) | Failure::Broken(_) => EndpointError::Broken,
        };
        if !blameless || error == EndpointError::Timeout {
            self.blame(lease, error);
        }
        match failure {
            Failure::NotSent(unsent) => Outcome::Unsent(unsent, error),
            Failure::Broken(cause) => {
                tracing::debug!(endpoint = %lease.endpoint().address, error = %cause, "no response");
                Outcome::Lost(error)
            }
            Failure::Timeout => Outcome::Lost(error),
        }
    }

    pub(super) fn blame(&self, lease: &Lease, error: EndpointError) {
        self.service.metrics.on_error(error);
        if lease.endpoint().failed(&self.context.shared.settings.options, now_ms()) {
            self.service.metrics.ejections.inc();
            tracing::info!(service = self.service.label, endpoint = %lease.endpoint().address, "left alone for a while");
        }
    }
}
