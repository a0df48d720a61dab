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
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};

use crate::clock::now_ms;
use crate::front::hygiene;
use crate::handler::Context;
use crate::mirror;
use crate::outbound::Head;
use crate::outgoing::{Content, Record};
use crate::pages;
use crate::plan::{Forward, Rule};
use crate::report::metrics::EndpointError;
use crate::tables::Tables;
use crate::tunnel;
use crate::upstream::Protocol;
use crate::upstream::balance::{Lease, Policy};
use crate::upstream::body::{BodyFault, Progress, RequestBody, ResponseBody};
use crate::upstream::exchange::{self, Failure};
use crate::upstream::registry::Service;

/// No rule makes it more tries than this.
const MAX_TRIES: u32 = 10;
/// What stands for no limit of time.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// A request that is being forwarded.
struct Sending<'a> {
    context: &'a Rc<Context>,
    service: &'a Arc<Service>,
    rule: &'a Rule,
    path: &'a str,
    protocol: Protocol,
    policy: Policy,
    affinity: Option<u64>,
    progress: Rc<Progress>,
    patience: Duration,
    tried: Vec<SocketAddr>,
}

/// What one try came to.
#[expect(clippy::large_enum_variant, reason = "moved once; a box would be an allocation for each request")]
enum Outcome {
    Response(Response<Incoming>, Option<(exchange::H1, Rc<crate::upstream::pool::Pool>)>, Lease),
    /// Nothing has left.
    Unsent(Box<Request<RequestBody>>, EndpointError),
    /// It may have been seen.
    Lost(EndpointError),
}

/// Forwards a request and returns the response's head, with its body to come.
#[expect(clippy::too_many_arguments, reason = "all of a request")]
pub(crate) async fn forward(
    context: &Rc<Context>,
    tables: &Arc<Tables>,
    plan: Forward,
    policy: Policy,
    body_limit: u64,
    mut parts: Parts,
    body: Incoming,
    record: &mut Record,
) -> Response<Content> {
    let Some(service) = tables.services.lookup(&plan.to) else {
        return pages::error(StatusCode::INTERNAL_SERVER_ERROR, "the service does not exist");
    };
    record.service = Some(Arc::clone(service));
    if service.endpoints.is_empty() {
        return pages::error(StatusCode::SERVICE_UNAVAILABLE, "the service has no ready endpoints");
    }
    let options = &context.shared.settings.options;
    let upgrade = hygiene::wanted_upgrade(&parts);
    let client_upgrade = upgrade.as_ref().and_then(|_| parts.extensions.remove::<OnUpgrade>());
    let protocol = match client_upgrade {
        Some(_) => Protocol::Http1,
        None => plan.rule.protocol.unwrap_or(service.protocol),
    };
    let affinity = plan.rule.affinity.as_ref().and_then(|a| a.token(&parts.headers));
    let Some(head) = Head::new(parts, &plan, &context.origin, record.client, protocol, upgrade.as_ref())
    else {
        return pages::error(StatusCode::BAD_REQUEST, "");
    };
    let progress = Rc::new(Progress::default());
    let body = if hyper::body::Body::is_end_stream(&body) {
        RequestBody::Empty
    } else {
        RequestBody::stream(body, body_limit, options.send_timeout, Rc::clone(&progress))
    };
    if protocol == Protocol::Http1 && body.is_empty() && !plan.mirrors.is_empty() {
        mirror::send(context, tables, &plan.mirrors, &head);
    }
    let mut sending = Sending {
        context,
        service,
        rule: &plan.rule,
        path: &plan.path,
        protocol,
        policy,
        affinity,
        progress,
        patience: limit(plan.rule.read_timeout(), options.read_timeout),
        tried: Vec::new(),
    };
    let response = match plan.rule.timeouts.request.filter(|t| !t.is_zero()) {
        None => sending.run(head, body, client_upgrade, record).await,
        Some(all) => {
            let timed = tokio::time::timeout(all, sending.run(head, body, client_upgrade, record)).await;
            timed.unwrap_or_else(|_| pages::error(StatusCode::GATEWAY_TIMEOUT, ""))
        }
    };
    record.request_bytes = sending.progress.bytes.get();
    response
}

fn limit(of_rule: Option<Duration>, default: Duration) -> Duration {
    match of_rule {
        Some(Duration::ZERO) => FOREVER,
        Some(limit) => limit,
        None => default,
    }
}

impl Sending<'_> {
    async fn run(
        &mut self,
        head: Head,
        body: RequestBody,
        client_upgrade: Option<OnUpgrade>,
        record: &mut Record,
    ) -> Response<Content> {
        if let Some(client) = client_upgrade {
            return self.upgrade(head, body, client, record).await;
        }
        let tries = match &self.rule.retry {
            Some(retry) => retry.attempts.saturating_add(1),
            None => self.context.shared.settings.options.tries,
        }
        .clamp(1, MAX_TRIES);
        let replayable = body.is_empty() && head.is_idempotent();
        let mut head = Some(head);
        let mut request = None;
        let mut body = Some(body);
        loop {
            record.tries += 1;
            let last = record.tries >= tries;
            let Some(lease) = self.choose() else { return pages::error(StatusCode::SERVICE_UNAVAILABLE, "") };
            record.endpoint = Some(lease.endpoint().address);
            let next = match request.take() {
                Some(unsent) => unsent,
                None => match self.next_request(&mut head, &mut body, replayable && !last) {
                    Some(next) => next,
                    None => return pages::error(StatusCode::BAD_GATEWAY, ""),
                },
            };
            let (error, resend) = match self.attempt(lease, next).await {
                Outcome::Response(response, connection, lease) => {
                    if !last && replayable && self.retries(response.status()) {
                        self.note_retry(lease.endpoint().address);
                        self.back_off().await;
                        continue;
                    }
                    return self.respond(response, connection, lease, record);
                }
                Outcome::Unsent(unsent, error) => {
                    request = Some(*unsent);
                    (error, true)
                }
                // A time that has run out would only run out again, unless the rule wants that.
                Outcome::Lost(EndpointError::Timeout) => {
                    (EndpointError::Timeout, replayable && self.rule.retry.is_some())
                }
                Outcome::Lost(error) => (error, replayable),
            };
            if last || !resend {
                return self.failed(error);
            }
            if let Some(address) = record.endpoint {
                self.note_retry(address);
            }
            self.back_off().await;
        }
    }

    fn next_request(
        &self,
        head: &mut Option<Head>,
        body: &mut Option<RequestBody>,
        again: bool,
    ) -> Option<Request<RequestBody>> {
        let with = if again || body.as_ref().is_some_and(RequestBody::is_empty) {
            RequestBody::Empty
        } else {
            body.take()?
        };
        if again {
            head.as_ref().map(|head| head.request(with))
        } else {
            head.take().map(|head| head.into_request(with))
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
        self.rule.retry.as_ref().is_some_and(|retry| retry.codes.contains(&status.as_u16()))
    }

    fn note_retry(&mut self, address: SocketAddr) {
        self.tried.push(address);
        self.service.metrics.retries.inc();
    }

    async fn back_off(&self) {
        if let Some(retry) = &self.rule.retry
            && !retry.backoff.is_zero()
        {
            tokio::time::sleep(retry.backoff).await;
        }
    }

    async fn attempt(&self, lease: Lease, request: Request<RequestBody>) -> Outcome {
        match self.protocol {
            Protocol::Http1 => self.attempt_h1(lease, request).await,
            Protocol::H2c => self.attempt_h2(lease, request).await,
        }
    }

    async fn attempt_h1(&self, lease: Lease, mut request: Request<RequestBody>) -> Outcome {
        let pool = &self.context.pool;
        let address = lease.endpoint().address;
        loop {
            let (mut h1, reused) = match pool.take(address) {
                Some(h1) => (h1, true),
                None => match pool.open(address).await {
                    Ok(h1) => (h1, false),
                    Err(error) => return self.unreachable(&lease, request, &error),
                },
            };
            match h1.exchange(request, self.patience, &self.progress).await {
                Ok(response) => {
                    lease.endpoint().succeeded();
                    return Outcome::Response(response, Some((h1, Rc::clone(pool))), lease);
                }
                // The endpoint had closed it: that says nothing about the endpoint.
                Err(Failure::NotSent(unsent)) if reused => request = *unsent,
                Err(failure) => return self.lost(&lease, failure, reused),
            }
        }
    }

    async fn attempt_h2(&self, lease: Lease, request: Request<RequestBody>) -> Outcome {
        let pool = &self.context.pool;
        let address = lease.endpoint().address;
        let mut h2 = match pool.shared(address, lease.endpoint().load() as usize).await {
            Ok(h2) => h2,
            Err(error) => return self.unreachable(&lease, request, &error),
        };
        match exchange::exchange_h2(&mut h2, request, self.patience, &self.progress).await {
            Ok(response) => {
                lease.endpoint().succeeded();
                Outcome::Response(response, None, lease)
            }
            Err(failure) => {
                if !matches!(failure, Failure::Timeout) {
                    pool.forget_shared(address);
                }
                self.lost(&lease, failure, false)
            }
        }
    }

    fn unreachable(&self, lease: &Lease, request: Request<RequestBody>, error: &std::io::Error) -> Outcome {
        tracing::debug!(endpoint = %lease.endpoint().address, %error, "cannot connect");
        self.blame(lease, EndpointError::Connect);
        Outcome::Unsent(Box::new(request), EndpointError::Connect)
    }

    fn lost(&self, lease: &Lease, failure: Failure, reused: bool) -> Outcome {
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

    fn blame(&self, lease: &Lease, error: EndpointError) {
        self.service.metrics.on_error(error);
        if lease.endpoint().failed(&self.context.shared.settings.options, now_ms()) {
            self.service.metrics.ejections.inc();
            tracing::info!(service = self.service.label, endpoint = %lease.endpoint().address, "left alone for a while");
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
        response: Response<Incoming>,
        connection: Option<(exchange::H1, Rc<crate::upstream::pool::Pool>)>,
        lease: Lease,
        record: &Record,
    ) -> Response<Content> {
        let token = lease.endpoint().token();
        let (mut head, body) = response.into_parts();
        hygiene::strip_hop_by_hop(&mut head.headers, false);
        if let Some(affinity) = &self.rule.affinity
            && self.affinity != Some(token)
        {
            affinity.set(token, record.https, self.path, &mut head.headers);
        }
        head.version = hyper::Version::HTTP_11;
        head.extensions.clear();
        let body = ResponseBody::new(body, connection, lease, self.patience);
        Response::from_parts(head, Content::Endpoint(Box::new(body)))
    }

    /// Asks the endpoint to switch, and if it does, switches.
    async fn upgrade(
        &mut self,
        head: Head,
        body: RequestBody,
        client: OnUpgrade,
        record: &mut Record,
    ) -> Response<Content> {
        let tries = self.context.shared.settings.options.tries.clamp(1, MAX_TRIES);
        let (lease, stream) = loop {
            record.tries += 1;
            let Some(lease) = self.choose() else { return pages::error(StatusCode::SERVICE_UNAVAILABLE, "") };
            let address = lease.endpoint().address;
            record.endpoint = Some(address);
            match self.context.pool.open_raw(address).await {
                Ok(stream) => break (lease, stream),
                Err(_) => {
                    self.blame(&lease, EndpointError::Connect);
                    self.note_retry(address);
                }
            }
            if record.tries >= tries {
                return pages::error(StatusCode::BAD_GATEWAY, "");
            }
        };
        let request = head.into_request(body);
        match exchange::exchange_upgrade(stream, request, self.patience, &self.progress).await {
            Err(failure) => match self.lost(&lease, failure, false) {
                Outcome::Unsent(_, error) | Outcome::Lost(error) => self.failed(error),
                Outcome::Response(..) => pages::error(StatusCode::BAD_GATEWAY, ""),
            },
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                lease.endpoint().succeeded();
                self.switch(response, client, lease)
            }
            Ok(response) => {
                lease.endpoint().succeeded();
                self.respond(response, None, lease, record)
            }
        }
    }

    fn switch(&self, response: Response<Incoming>, client: OnUpgrade, lease: Lease) -> Response<Content> {
        let (mut head, _) = response.into_parts();
        let Some(endpoint) = head.extensions.remove::<OnUpgrade>() else {
            return pages::error(StatusCode::BAD_GATEWAY, "");
        };
        let to = head.headers.get(UPGRADE).cloned();
        hygiene::strip_hop_by_hop(&mut head.headers, false);
        if let Some(to) = to {
            head.headers.insert(UPGRADE, to);
        }
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        // With its place among the connections.
        let context = Rc::clone(self.context);
        tokio::task::spawn_local(async move {
            context.shared.metrics.upgrades.inc();
            tunnel::run(client, endpoint, lease).await;
            context.shared.metrics.upgrades.dec();
        });
        Response::from_parts(head, Content::Empty)
    }
}
