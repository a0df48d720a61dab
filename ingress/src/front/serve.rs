//! Serves the requests of a connection, until it ends or is ended.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::accept::Server;
use super::connection::{Connection, Expired};
use super::cork::{Flushing, cork};
use super::executor::Local;
use super::greet::Greeted;
use super::io::ClientIo;
use super::origin::Origin;
use super::watchdog::{Event, Watched};
use crate::handler::{Handler, Held};
use crate::limit::connections::Place;

/// Bytes of responses that are held for an HTTP/2 client, per stream.
const H2_SEND_BUFFER_BYTES: usize = 64 << 10;
const H2_STREAM_WINDOW_BYTES: u32 = 64 << 10;
const H2_CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Streams that a client may reset before the server has seen them (CVE-2023-44487).
const H2_PENDING_RESETS: usize = 20;
/// Streams that the server resets because of the client's errors (CVE-2025-8671).
const H2_LOCAL_RESETS: usize = 64;
const H2_PING_EVERY: Duration = Duration::from_secs(30);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes read ahead of a request's body, and held of a response's, per connection.
const H1_BUFFER_BYTES: usize = 64 << 10;
/// How long an HTTP/2 connection that is told to go away may take.
const GO_AWAY: Duration = Duration::from_secs(5);

/// A connection that speaks HTTP/1.1.
type H1 = http1::UpgradeableConnection<TokioIo<ClientIo>, Handler>;

/// A connection that is served. Not an `async fn`, whose future would hold what it is made of beside what it became: an idle connection is little
/// else than this.
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one")]
pub(super) enum Serving<'a> {
    H1(H1, &'a Watched),
    /// Boxed, as most connections are the other.
    H2(Pin<Box<dyn Future<Output = ()> + 'a>>),
}

impl Future for Serving<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.get_mut() {
            Self::H1(connection, watched) => poll_h1(connection, watched, cx),
            Self::H2(serving) => serving.as_mut().poll(cx),
        }
    }
}

fn poll_h1(connection: &mut H1, watched: &Watched, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        if Pin::new(&mut *connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match ready!(watched.poll_event(cx)) {
            Event::Drain => Pin::new(&mut *connection).graceful_shutdown(),
            Event::Expired(Expired::Idle) => return Poll::Ready(()),
            Event::Expired(Expired::Head) => {
                // What it reads next is the end, and before that it says why.
                watched.activity().give_up();
                let _ = Pin::new(connection).poll(cx);
                return Poll::Ready(());
            }
        }
    }
}

impl Server {
    pub(super) fn serving<'a>(
        &'a self,
        greeted: Greeted,
        port: u16,
        watched: &'a Watched,
        place: Place,
    ) -> Serving<'a> {
        let Greeted { transport, client, tls, h2 } = greeted;
        let activity = Arc::clone(watched.activity());
        let origin = Origin::new(client, port, tls.is_some(), &self.shared.settings.trusted_proxies);
        let connection = Rc::new(Connection { client, port, tls, activity: Arc::clone(&activity) });
        let held = Held { _place: place, _alive: Rc::clone(&self.alive) };
        let handler = Handler::new(Arc::clone(&self.shared), Rc::clone(&self.pool), connection, origin, held);
        let io = ClientIo::new(transport, activity, !h2, self.options().send_timeout);
        if h2 {
            Serving::H2(Box::pin(self.serve_h2(io, handler, watched)))
        } else {
            Serving::H1(self.serve_h1(io, handler), watched)
        }
    }

    fn serve_h1(&self, io: ClientIo, handler: Handler) -> H1 {
        let options = self.options();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(options.max_headers)
            .max_header_size(options.max_header_bytes)
            .max_buf_size(H1_BUFFER_BYTES.max(options.max_header_bytes));
        builder.serve_connection(TokioIo::new(io), handler).with_upgrades()
    }

    async fn serve_h2(&self, io: ClientIo, handler: Handler, watched: &Watched) {
        let options = self.options();
        let mut builder = http2::Builder::new(Local);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.max_streams)
            .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(H2_PENDING_RESETS)
            .max_local_error_reset_streams(H2_LOCAL_RESETS)
            .max_send_buf_size(H2_SEND_BUFFER_BYTES)
            .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(H2_PING_EVERY)
            .keep_alive_timeout(H2_PING_TIMEOUT);
        let (corked, cork) = cork(io);
        let connection = std::pin::pin!(builder.serve_connection(TokioIo::new(corked), handler));
        let mut serving = Flushing::new(connection, cork);
        loop {
            tokio::select! {
                biased;
                () = &mut serving => return,
                event = watched.event() => match event {
                    Event::Drain => serving.connection.as_mut().graceful_shutdown(),
                    Event::Expired(_) => break,
                }
            }
        }
        serving.connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(GO_AWAY, serving).await;
    }
}

/// What a future says without waiting.
pub(super) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
