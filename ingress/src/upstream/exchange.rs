//! One request and its response over one connection to an endpoint.
//!
//! An HTTP/1.1 connection has no task of its own: whoever uses it drives it, so that a request passes
//! from the client's socket to the endpoint's without a thread being woken in between. HTTP/2 connections
//! are shared, and driven by a task of the worker.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::body::{Progress, RequestBody};
use super::patience::Patience;
use crate::front::executor::Local;

/// Bytes of a response read ahead of a slow client, per connection.
const MAX_BUFFER_BYTES: usize = 128 << 10;
/// Largest head of a response.
const MAX_RESPONSE_HEADERS: usize = 128;
/// A shared connection that says nothing is asked whether it lives.
const H2_PING_EVERY: Duration = Duration::from_secs(30);
const H2_WINDOW_BYTES: u32 = 1 << 20;

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing of the request has left: it can be sent elsewhere as it is.
    NotSent(Box<Request<RequestBody>>),
    /// The connection broke while the response was awaited.
    Broken(hyper::Error),
    /// It did not come in time.
    Timeout,
}

/// A connection for one request at a time.
#[derive(Debug)]
pub(crate) struct H1 {
    send: http1::SendRequest<RequestBody>,
    /// `None` when it is over.
    connection: Option<http1::Connection<TokioIo<TcpStream>, RequestBody>>,
    /// For a response's head; kept from one request to the next.
    patience: Patience,
}

/// A connection for many.
pub(crate) type H2 = http2::SendRequest<RequestBody>;

/// Opens a connection.
///
/// # Errors
/// What the kernel said; `TimedOut` after `timeout`.
pub(crate) async fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn h1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_BUFFER_BYTES).max_headers(MAX_RESPONSE_HEADERS);
    builder
}

impl H1 {
    pub(crate) async fn new(stream: TcpStream) -> hyper::Result<Self> {
        let (send, connection) = h1_builder().handshake(TokioIo::new(stream)).await?;
        Ok(Self { send, connection: Some(connection), patience: Patience::new(Duration::MAX) })
    }

    /// Does what can be done without waiting.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether it can take another request.
    pub(crate) fn is_idle(&self) -> bool {
        self.connection.is_some() && self.send.is_ready()
    }

    /// Sends a request and waits for the response's head.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
        patience: Duration,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Failure> {
        let mut response = pin!(self.send.try_send_request(request));
        let connection = &mut self.connection;
        let driven = poll_fn(|cx| {
            if let Some(open) = connection.as_mut()
                && Pin::new(open).poll(cx).is_ready()
            {
                *connection = None;
            }
            response.as_mut().poll(cx)
        });
        self.patience.limit(patience);
        await_head(driven, &mut self.patience, progress).await
    }
}

/// Sends a request over a shared connection and waits for the response's head.
pub(crate) async fn exchange_h2(
    send: &mut H2,
    request: Request<RequestBody>,
    patience: Duration,
    progress: &Progress,
) -> Result<Response<Incoming>, Failure> {
    await_head(send.try_send_request(request), &mut Patience::new(patience), progress).await
}

/// The time limit begins anew with every piece of the request's body that is sent.
async fn await_head(
    response: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>,
    patience: &mut Patience,
    progress: &Progress,
) -> Result<Response<Incoming>, Failure> {
    let mut response = pin!(response);
    poll_fn(|cx| match response.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome.map_err(|mut error| match error.take_message() {
            Some(request) => Failure::NotSent(Box::new(request)),
            None => Failure::Broken(error.into_error()),
        })),
        Poll::Pending => patience.poll_over(cx, progress.at_ms.get()).map(|()| Err(Failure::Timeout)),
    })
    .await
}

/// Makes a connection that many requests share; a task of this worker drives it.
pub(crate) async fn open_h2(stream: TcpStream) -> hyper::Result<H2> {
    let (send, connection) = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_EVERY)
        .initial_stream_window_size(H2_WINDOW_BYTES)
        .initial_connection_window_size(H2_WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to an endpoint ended");
        }
    });
    Ok(send)
}

/// Sends a request that may turn its connection into something else (`Upgrade`), over one of its own.
pub(crate) async fn exchange_upgrade(
    stream: TcpStream,
    request: Request<RequestBody>,
    patience: Duration,
    progress: &Rc<Progress>,
) -> Result<Response<Incoming>, Failure> {
    let (mut send, connection) =
        h1_builder().handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to an endpoint ended");
        }
    });
    await_head(send.try_send_request(request), &mut Patience::new(patience), progress).await
}

/// Whether a connection that was pooled still lives.
pub(crate) fn poll_alive(h1: &mut H1) -> bool {
    h1.drive(&mut Context::from_waker(Waker::noop()));
    h1.is_idle()
}
