//! Connections to endpoints that the HTTP library drives: HTTP/2, which many requests share, and those that become something else.
//! HTTP/1.1 is in [`super::h1`].

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::body::{Progress, RequestBody};
use super::patience::Patience;
use crate::front::executor::Local;

/// A shared connection that says nothing is asked whether it lives.
const H2_PING_EVERY: Duration = Duration::from_secs(30);
const H2_WINDOW_BYTES: u32 = 1 << 20;

/// Longest times of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// To connect.
    pub(crate) connect: Duration,
    /// Between two reads.
    pub(crate) read: Duration,
    /// Between two writes.
    pub(crate) send: Duration,
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing of the request has left: it can be sent elsewhere as it is.
    NotSent(RequestBody),
    /// The connection broke while the response was awaited.
    Broken(io::Error),
    /// It did not come in time.
    Timeout,
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
            Some(request) => Failure::NotSent(request.into_body()),
            None => Failure::Broken(io::Error::other(error.into_error())),
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
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut send, connection) = handshake.map_err(|error| Failure::Broken(io::Error::other(error)))?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to an endpoint ended");
        }
    });
    await_head(send.try_send_request(request), &mut Patience::new(patience), progress).await
}
