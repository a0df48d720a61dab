//! Response bodies, and the record that ends with them.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::http::request::Parts;

use crate::clock::now_ms;
use crate::front::connection::Connection;
use crate::limit::concurrent::Turn;
use crate::report::access_log::Line;
use crate::tables::Shared;
use crate::upstream::body::ResponseBody;
use crate::upstream::registry::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response's body.
#[derive(Debug)]
pub(crate) enum Content {
    Empty,
    Full(Bytes),
    Endpoint(Box<ResponseBody>),
}

/// A response's body with what is to be recorded when it is through.
#[derive(Debug)]
pub(crate) struct Outgoing {
    content: Content,
    record: Box<Record>,
}

impl Outgoing {
    pub(crate) fn new(content: Content, mut record: Box<Record>) -> Self {
        record.ended = match &content {
            Content::Empty | Content::Full(_) => true,
            Content::Endpoint(body) => body.is_end_stream(),
        };
        Self { content, record }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match &mut this.content {
            Content::Empty => return Poll::Ready(None),
            Content::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.content = Content::Empty;
                this.record.response_bytes += bytes.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Content::Endpoint(body) => Pin::new(body.as_mut()).poll_frame(cx),
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                this.record.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.record.ended = this.is_end_stream();
            }
            Poll::Ready(None) => this.record.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Full(_) => false,
            Content::Endpoint(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Endpoint(body) => body.size_hint(),
        }
    }
}

/// What is known about a request in the end. Written when it is dropped: a client that goes away is recorded too.
#[derive(Debug)]
pub(crate) struct Record {
    shared: Arc<Shared>,
    connection: Rc<Connection>,
    began_ms: u64,
    head: Option<Head>,
    pub(crate) client: IpAddr,
    pub(crate) https: bool,
    pub(crate) request_id: HeaderValue,
    /// 0 until there is a response.
    pub(crate) status: u16,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) tries: u32,
    /// A place among those of the client that are under way.
    pub(crate) turn: Option<Turn>,
    ended: bool,
}

/// What only the access log wants to know.
#[derive(Debug)]
struct Head {
    method: hyper::Method,
    uri: hyper::Uri,
    host: Option<HeaderValue>,
    version: hyper::Version,
    user_agent: Option<HeaderValue>,
}

impl Record {
    pub(crate) fn begin(shared: &Arc<Shared>, connection: &Rc<Connection>, parts: &Parts) -> Self {
        connection.activity.on_request();
        let head = shared.access_log.as_ref().map(|_| Head {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            host: parts.headers.get(hyper::header::HOST).cloned(),
            version: parts.version,
            user_agent: parts.headers.get(USER_AGENT).cloned(),
        });
        Self {
            shared: Arc::clone(shared),
            connection: Rc::clone(connection),
            began_ms: now_ms(),
            head,
            client: connection.client.ip(),
            https: connection.tls.is_some(),
            request_id: HeaderValue::from_static(""),
            status: 0,
            request_bytes: 0,
            response_bytes: 0,
            service: None,
            endpoint: None,
            tries: 0,
            turn: None,
            ended: false,
        }
    }

    fn log(&self, duration_ms: u64) {
        let (Some(log), Some(head)) = (&self.shared.access_log, &self.head) else { return };
        let text =
            |value: &Option<HeaderValue>| value.as_ref().and_then(|v| v.to_str().ok().map(str::to_owned));
        let host = text(&head.host).or_else(|| head.uri.host().map(str::to_owned)).unwrap_or_default();
        let user_agent = text(&head.user_agent);
        let line = Line {
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
            request_id: self.request_id.to_str().unwrap_or_default(),
            client: self.client,
            method: head.method.as_str(),
            scheme: if self.https { "https" } else { "http" },
            host: &host,
            path: head.uri.path_and_query().map_or("", |p| p.as_str()),
            protocol: protocol(head.version),
            status: self.status,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            duration_ms,
            service: self.service.as_ref().map(|s| s.label.as_str()),
            endpoint: self.endpoint,
            tries: self.tries,
            user_agent: user_agent.as_deref(),
            aborted: !self.ended,
        };
        if !log.write(&line) {
            self.shared.metrics.log_lines_dropped.inc();
        }
    }
}

fn protocol(version: hyper::Version) -> &'static str {
    match version {
        hyper::Version::HTTP_10 => "HTTP/1.0",
        hyper::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// What nginx logs for a client that went away before there was a response.
const CLIENT_CLOSED: u16 = 499;

impl Drop for Record {
    fn drop(&mut self) {
        if self.status == 0 {
            self.status = CLIENT_CLOSED;
        }
        self.connection.activity.on_response_end();
        let duration_ms = now_ms().saturating_sub(self.began_ms);
        let metrics = self.service.as_ref().map_or(&self.shared.no_service, |service| &service.metrics);
        #[expect(clippy::cast_precision_loss, reason = "a request does not take 285 000 years")]
        let seconds = duration_ms as f64 / 1000.0;
        metrics.on_request(self.status, seconds, self.request_bytes, self.response_bytes);
        self.log(duration_ms);
    }
}
