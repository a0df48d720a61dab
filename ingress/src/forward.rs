//! A request on its way to an endpoint, again where that may help.
//!
//! What may be sent again: anything of which nothing has left (no connection, or one that closed before it was
//! written to); an idempotent request without body whose connection broke before a response; one whose response
//! the rule says to try again. Never to an endpoint that was tried, while there is another.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use tokio::time::Instant;

use crate::clock::now_ms;
use crate::front::hygiene::{self, Refusal};
use crate::handler::Context;
use crate::mirror;
use crate::outbound::Head;
use crate::outgoing::{Content, Record};
use crate::pages;
use crate::plan::{Forward, Rule};
use crate::report::metrics::EndpointError;
use crate::settings::Options;
use crate::tables::Tables;
use crate::upstream::Protocol;
use crate::upstream::balance::{Lease, Policy};
use crate::upstream::body::{BodyFault, Progress, RequestBody, ResponseBody, Source};
use crate::upstream::exchange::{Limits, Received};
use crate::upstream::registry::Service;

mod attempt;
mod upgrade;

use attempt::Outcome;

/// No rule makes it more tries than this.
const MAX_TRIES: u32 = 10;
/// What stands for no limit of time.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A request that is being forwarded.
///
/// All of it lies in one allocation, which is made before anything is waited for: arguments of futures within futures would each be there twice.
#[derive(Debug)]
pub(crate) struct Forwarding {
    context: Rc<Context>,
    service: Arc<Service>,
    plan: Box<Forward>,
    head: Head,
    /// Taken by the first try.
    body: RequestBody,
    /// The client's connection, where the request wants it to become something else.
    upgrade: Option<OnUpgrade>,
    protocol: Protocol,
    policy: Policy,
    affinity: Option<u64>,
    progress: Rc<Progress>,
    limits: Limits,
    /// When the response must be through, whatever is tried.
    deadline: Option<Instant>,
    tried: Vec<SocketAddr>,
}

impl Forwarding {
    /// Of a request and what was decided about it. `body_limit` is in bytes; 0 is without limit.
    ///
    /// # Errors
    /// Why it cannot be forwarded.
    pub(crate) fn new(
        context: &Rc<Context>,
        tables: &Tables,
        asked: (Parts, Incoming),
        plan: Box<Forward>,
        policy: Policy,
        body_limit: u64,
        record: &mut Record,
    ) -> Result<Box<Self>, Refusal> {
        let (mut parts, body) = asked;
        let Some(service) = tables.services.lookup(&plan.to) else {
            return Err(Refusal {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                reason: "the service does not exist",
            });
        };
        record.service = Some(Arc::clone(service));
        if service.endpoints.is_empty() {
            let reason = "the service has no ready endpoints";
            return Err(Refusal { status: StatusCode::SERVICE_UNAVAILABLE, reason });
        }
        let options = &context.shared.settings.options;
        let wanted = hygiene::wanted_upgrade(&parts);
        let upgrade = wanted.as_ref().and_then(|_| parts.extensions.remove::<OnUpgrade>());
        let protocol = match upgrade {
            Some(_) => Protocol::Http1,
            None => plan.rule.protocol.unwrap_or(service.protocol),
        };
        let affinity = plan.rule.affinity.as_ref().and_then(|a| a.token(&parts.headers));
        let head = Head::new(parts, &plan, &context.origin, record.client, protocol, wanted.as_ref())
            .ok_or(Refusal { status: StatusCode::BAD_REQUEST, reason: "" })?;
        let progress = Rc::new(Progress::default());
        let body = if hyper::body::Body::is_end_stream(&body) {
            RequestBody::Empty
        } else {
            RequestBody::stream(body, body_limit, options.send_timeout, Rc::clone(&progress))
        };
        if protocol == Protocol::Http1 && body.is_empty() && !plan.mirrors.is_empty() {
            mirror::send(context, tables, &plan.mirrors, &head);
        }
        Ok(Box::new(Self {
            context: Rc::clone(context),
            service: Arc::clone(service),
            limits: limits(&plan.rule.timeouts, options),
            deadline: positive(plan.rule.timeouts.request).map(|all| Instant::now() + all),
            plan,
            head,
            body,
            upgrade,
            protocol,
            policy,
            affinity,
            progress,
            tried: Vec::new(),
        }))
    }

    /// Returns the response's head, with its body to come.
    pub(crate) async fn run(&mut self, record: &mut Record) -> Response<Content> {
        let response = match (self.upgrade.take(), self.deadline) {
            (None, None) => self.send(record).await,
            // The rare ones are boxed: a request's future is as large as the largest of what it may wait for.
            (None, Some(at)) => {
                let timed = Box::pin(tokio::time::timeout_at(at, self.send(record))).await;
                timed.unwrap_or_else(|_| pages::error(StatusCode::GATEWAY_TIMEOUT, ""))
            }
            (Some(client), _) => Box::pin(self.upgrade(client, record)).await,
        };
        record.request_bytes = self.progress.bytes.get();
        response
    }
}

/// What the rule says, and the configuration where it says nothing.
fn limits(rule: &routing::Timeouts, options: &Options) -> Limits {
    let limit = |of_rule: Option<Duration>, default| match of_rule {
        Some(Duration::ZERO) => FOREVER,
        Some(limit) => limit,
        None => default,
    };
    Limits {
        connect: limit(rule.connect, options.connect_timeout),
        read: limit(rule.read, options.read_timeout),
        send: limit(rule.send, options.send_timeout),
    }
}

/// Zero is no limit.
fn positive(limit: Option<Duration>) -> Option<Duration> {
    limit.filter(|limit| !limit.is_zero())
}

impl Forwarding {
    fn rule(&self) -> &Rule {
        &self.plan.rule
    }

    async fn send(&mut self, record: &mut Record) -> Response<Content> {
        let tries = match &self.rule().retry {
            Some(retry) => retry.attempts.saturating_add(1),
            None => self.context.shared.settings.options.tries,
        }
        .clamp(1, MAX_TRIES);
        let mut body = std::mem::replace(&mut self.body, RequestBody::Empty);
        let replayable = body.is_empty() && self.head.is_idempotent();
        loop {
            record.tries += 1;
            let last = record.tries >= tries;
            let Some(lease) = self.choose() else { return pages::error(StatusCode::SERVICE_UNAVAILABLE, "") };
            let address = lease.endpoint().address;
            record.endpoint = Some(address);
            let (error, again) = match self.attempt(lease, body).await {
                Outcome::Response(received, source, lease, deadline) => {
                    if last || !replayable || !self.retries(received.status) {
                        return self.respond(received, source, lease, deadline, record);
                    }
                    body = RequestBody::Empty;
                    self.note_retry(address);
                    self.back_off().await;
                    continue;
                }
                Outcome::Unsent(unsent, error) => {
                    body = unsent;
                    (error, true)
                }
                // A time that has run out would only run out again, unless the rule wants that.
                Outcome::Lost(EndpointError::Timeout) => {
                    body = RequestBody::Empty;
                    (EndpointError::Timeout, replayable && self.rule().retry.is_some())
                }
                Outcome::Lost(error) => {
                    body = RequestBody::Empty;
                    (error, replayable)
                }
            };
            if last || !again {
                return self.failed(error);
            }
            self.note_retry(address);
            self.back_off().await;
        }
    }

    fn choose(&mut self) -> Option<Lease> {
        let now = now_ms();
        if let Some(token) = self.affinity
            && self.tried.is_empty()
            && let Some(lease) = self.service.endpoints.by_token(token, now)
        {
            return Some(lease);
        }
        self.service.endpoints.choose(self.policy, &self.tried, now)
    }

    fn retries(&self, status: StatusCode) -> bool {
        self.rule().retry.as_ref().is_some_and(|retry| retry.codes.contains(&status.as_u16()))
    }

    fn note_retry(&mut self, address: SocketAddr) {
        self.tried.push(address);
        self.service.metrics.retries.inc();
    }

    async fn back_off(&self) {
        if let Some(retry) = &self.rule().retry
            && !retry.backoff.is_zero()
        {
            tokio::time::sleep(retry.backoff).await;
        }
    }

    /// There is no response, and there will be none.
    fn failed(&self, error: EndpointError) -> Response<Content> {
        match self.progress.fault.get() {
            Some(BodyFault::TooLarge) => pages::error_and_close(StatusCode::PAYLOAD_TOO_LARGE, ""),
            Some(BodyFault::TooSlow) => pages::error_and_close(StatusCode::REQUEST_TIMEOUT, ""),
            Some(BodyFault::Broken) => {
                pages::error_and_close(StatusCode::BAD_REQUEST, "the request body is malformed")
            }
            None => match error {
                EndpointError::Timeout => pages::error(StatusCode::GATEWAY_TIMEOUT, ""),
                EndpointError::Connect | EndpointError::Broken => pages::error(StatusCode::BAD_GATEWAY, ""),
            },
        }
    }

    fn respond(
        &self,
        received: Received,
        source: Source,
        lease: Lease,
        deadline: Option<Instant>,
        record: &Record,
    ) -> Response<Content> {
        let Received { status, mut headers } = received;
        hygiene::strip_hop_by_hop(&mut headers, false);
        if let Some(affinity) = &self.rule().affinity {
            let token = lease.endpoint().token();
            if self.affinity != Some(token) {
                affinity.set(token, record.https, &self.plan.path, &mut headers);
            }
        }
        let body = ResponseBody::new(source, lease, deadline);
        let mut response = Response::new(Content::Endpoint(Box::new(body)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}
