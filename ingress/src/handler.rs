//! A request from its head to its response: checked, routed, limited, forwarded, recorded.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::Service as HyperService;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};

use crate::forward::Forwarding;
use crate::front::connection::Connection;
use crate::front::hygiene;
use crate::front::origin::Origin;
use crate::limit::connections::Place;
use crate::outgoing::{Content, Outgoing, Record};
use crate::pages;
use crate::plan::{Asked, Forward, HeaderEdits, HeaderFields, Plan, Rule};
use crate::tables::{Shared, Tables};
use crate::upstream::balance::{Policy, mix};
use crate::upstream::pool::Pool;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A request id that is longer is replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;
const STRICT_TRANSPORT_SECURITY: HeaderName = hyper::header::STRICT_TRANSPORT_SECURITY;

/// Serves the requests of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Handler(Rc<Context>);

/// What requests of a connection share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) connection: Rc<Connection>,
    pub(crate) origin: Origin,
    random: Cell<u64>,
    /// What ends with the connection, or with the tunnel that it has become.
    _held: Held,
}

/// See [`Context`].
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) _place: Place,
    /// A connection of this worker.
    pub(crate) _alive: Rc<()>,
}

impl Handler {
    pub(crate) fn new(
        shared: Arc<Shared>,
        pool: Rc<Pool>,
        connection: Rc<Connection>,
        origin: Origin,
        held: Held,
    ) -> Self {
        let random = Cell::new(RandomState::new().hash_one(0u8));
        Self(Rc::new(Context { shared, pool, connection, origin, random, _held: held }))
    }
}

impl HyperService<Request<Incoming>> for Handler {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    /// Everything that needs no waiting is done before the future is made: it is as large as what it holds meanwhile.
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let context = Rc::clone(&self.0);
        let (parts, body) = request.into_parts();
        let mut record = Box::new(Record::begin(&context.shared, &context.connection, &parts));
        record.request_id = context.request_id(&parts.headers);
        let h1 = parts.version < Version::HTTP_2;
        match context.decide(parts, body, &mut record) {
            Step::Answer(response) => {
                let response = context.finish(response, h1, record);
                Box::pin(std::future::ready(Ok(response)))
            }
            Step::Forward(mut forwarding, changes) => Box::pin(async move {
                let mut response = forwarding.run(&mut record).await;
                changes.apply(response.headers_mut());
                Ok(context.finish(response, h1, record))
            }),
        }
    }
}

/// What comes next of a request.
enum Step {
    Answer(Response<Content>),
    Forward(Box<Forwarding>, Changes),
}

/// What changes in an endpoint's response.
struct Changes {
    rule: Arc<Rule>,
    /// Of the request, where the rule has something to say about that.
    origin: Option<HeaderValue>,
    edits: [Arc<HeaderEdits>; 2],
}

impl Changes {
    fn apply(self, headers: &mut HeaderMap) {
        if let (Some(cors), Some(origin)) = (&self.rule.cors, self.origin) {
            cors.answer(&origin, headers);
        }
        for edit in self.edits {
            edit.apply(headers);
        }
    }
}

impl Context {
    /// What the rules and limits say.
    fn decide(self: &Rc<Self>, mut parts: Parts, body: Incoming, record: &mut Record) -> Step {
        let host = match hygiene::check(&parts, self.connection.activity.seen()) {
            Ok(host) => host,
            Err(refusal) => {
                self.shared.metrics.malformed.inc();
                return Step::Answer(pages::error_and_close(refusal.status, refusal.reason));
            }
        };
        record.client = self.origin.client(&parts.headers, &self.shared.settings.trusted_proxies);
        record.https = self.origin.is_https(&parts.headers);
        parts.headers.insert(X_REQUEST_ID, record.request_id.clone());
        let tables = self.shared.tables.load();
        let asked = Asked {
            parts: &parts,
            host: &host,
            https: record.https,
            tls: self.connection.tls.is_some(),
            port: tables.plans.port(self.connection.port, self.connection.tls.is_some()),
            server_name: self.connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
            client: record.client,
            random: self.random(),
        };
        match tables.plans.decide(&asked) {
            Plan::Answer(status) => Step::Answer(pages::error(status, "")),
            Plan::Redirect { status, location, edits } => {
                let mut response = pages::redirect(status, location);
                edits.apply(response.headers_mut());
                Step::Answer(response)
            }
            Plan::Forward(plan) => {
                let policy = plan.rule.balance.policy(&asked.view(&HeaderFields(&parts.headers)));
                self.forward(&tables, plan, policy, (parts, body), record)
            }
        }
    }

    fn forward(
        self: &Rc<Self>,
        tables: &Tables,
        plan: Box<Forward>,
        policy: Policy,
        asked: (Parts, Incoming),
        record: &mut Record,
    ) -> Step {
        let rule = Arc::clone(&plan.rule);
        let parts = &asked.0;
        if let Some(refused) = self.limit(&rule, record) {
            return Step::Answer(refused);
        }
        if let Some(preflight) = rule.cors.as_ref().and_then(|cors| cors.preflight(parts)) {
            return Step::Answer(preflight);
        }
        let origin = rule.cors.as_ref().and_then(|_| parts.headers.get(hyper::header::ORIGIN).cloned());
        let changes = Changes { origin, edits: plan.response_edits.clone(), rule: Arc::clone(&rule) };
        let mut refused = match self.body_limit(&rule, parts) {
            None => pages::error_and_close(StatusCode::PAYLOAD_TOO_LARGE, ""),
            Some(limit) => match Forwarding::new(self, tables, asked, plan, policy, limit, record) {
                Ok(forwarding) => return Step::Forward(forwarding, changes),
                Err(refusal) => pages::error(refusal.status, refusal.reason),
            },
        };
        changes.apply(refused.headers_mut());
        Step::Answer(refused)
    }

    fn finish(
        &self,
        mut response: Response<Content>,
        h1: bool,
        mut record: Box<Record>,
    ) -> Response<Outgoing> {
        record.status = response.status().as_u16();
        self.finish_headers(response.headers_mut(), &record);
        if h1 && *self.shared.draining.borrow() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|content| Outgoing::new(content, record))
    }

    /// Whether the client may ask this now.
    fn limit(&self, rule: &Rule, record: &mut Record) -> Option<Response<Content>> {
        let client = record.client;
        let within = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&client));
        if within(&rule.deny_from) || !(rule.allow_from.is_empty() || within(&rule.allow_from)) {
            return Some(pages::error(StatusCode::FORBIDDEN, ""));
        }
        if let Some(max) = rule.max_concurrent {
            match self.shared.concurrent.enter(client, rule.id, max) {
                Some(turn) => record.turn = Some(turn),
                None => {
                    self.shared.metrics.rate_limited.inc();
                    return Some(pages::slow_down(1));
                }
            }
        }
        let rate = rule.rate?;
        match self.shared.rates.take(client, rule.id, rate, crate::clock::now_ms()) {
            Ok(()) => None,
            Err(seconds) => {
                self.shared.metrics.rate_limited.inc();
                Some(pages::slow_down(seconds))
            }
        }
    }

    /// How large the body may be; 0 is without limit. `None` if it says that it is larger.
    fn body_limit(&self, rule: &Rule, parts: &Parts) -> Option<u64> {
        let limit = rule.max_body_bytes.unwrap_or(self.shared.settings.options.max_body_bytes);
        let said = parts
            .headers
            .get(hyper::header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if limit > 0 && said.is_some_and(|said| said > limit) {
            return None;
        }
        Some(limit)
    }

    fn finish_headers(&self, headers: &mut HeaderMap, record: &Record) {
        headers.entry(X_REQUEST_ID).or_insert_with(|| record.request_id.clone());
        let hsts = &self.shared.settings.options.hsts;
        if record.https
            && !hsts.is_empty()
            && let Ok(value) = HeaderValue::from_str(hsts)
        {
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(value);
        }
    }

    /// The client's, if it is reasonable, or a new one.
    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        if let Some(id) = headers.get(X_REQUEST_ID)
            && !id.is_empty()
            && id.len() <= MAX_REQUEST_ID_BYTES
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
        {
            return id.clone();
        }
        let mut hex = [0; 32];
        let digits = b"0123456789abcdef";
        let (high, low) = (self.random(), self.random());
        let number = u128::from(high) << 64 | u128::from(low);
        for (at, slot) in hex.iter_mut().enumerate() {
            let nibble = number >> (4 * at) & 0xf;
            *slot = usize::try_from(nibble).ok().and_then(|n| digits.get(n)).copied().unwrap_or(b'0');
        }
        HeaderValue::from_bytes(&hex).unwrap_or(HeaderValue::from_static("0"))
    }

    /// Random enough for weights and ids; no secret is made of it.
    pub(crate) fn random(&self) -> u64 {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        mix(next)
    }
}
