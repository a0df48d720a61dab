//! Accepts connections and serves them until they end, run out of time, or the process drains.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::connection::{Connection, Limits, TlsFacts};
use super::executor::Local;
use super::io::{ClientIo, Transport};
use super::listener::{Listener, Scheme};
use super::origin::Origin;
use super::proxy_protocol::{self, Parsed};
use super::rarely::Rarely;
use crate::handler::{Handler, Held};
use crate::limit::connections::Place;
use crate::settings::Options;
use crate::tables::Shared;
use crate::upstream::pool::Pool;

/// What HTTP/2 without TLS begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at bytes that are not all there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
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
/// How long an HTTP/1.1 connection stays open for a last request when the process drains.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// Pause after an error that would come again at once, as when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// See [`Server::event`].
enum Event {
    Drain,
    Expired,
}

/// What serves connections on one worker.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Rc<Pool>,
    /// Held by each connection: their number tells when the worker may end.
    alive: Rc<()>,
}

impl Server {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let pool = Rc::new(Pool::new(&shared.settings.options));
        Self { shared, pool, alive: Rc::new(()) }
    }

    /// Connections that are served.
    pub(crate) fn connections(&self) -> usize {
        Rc::strong_count(&self.alive) - 1
    }

    fn options(&self) -> &Options {
        &self.shared.settings.options
    }

    /// Accepts until the process drains.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub(crate) async fn accept(
        self: Rc<Self>,
        listener: Listener,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> io::Result<()> {
        let tls = tls.map(TlsAcceptor::from);
        let socket = TcpListener::from_std(listener.socket)?;
        let mut draining = self.shared.draining.subscribe();
        let accepted = self.shared.metrics.connections(match listener.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        });
        loop {
            let stream = tokio::select! {
                biased;
                stream = socket.accept() => stream,
                () = drained(&mut draining) => break,
            };
            match stream {
                Ok((stream, peer)) => {
                    accepted.inc();
                    self.spawn(stream, peer, tls.clone());
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // What the kernel has accepted already would be reset when the socket closes.
        while let Some(Ok((stream, peer))) = at_once(socket.accept()) {
            self.spawn(stream, peer, tls.clone());
        }
        Ok(())
    }

    fn spawn(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
        let server = Rc::clone(self);
        let alive = Rc::clone(&self.alive);
        tokio::task::spawn_local(async move {
            server.connection(stream, peer, tls).await;
            drop(alive);
        });
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
        let Some(place) = self.shared.connections.enter(peer.ip().to_canonical()) else {
            self.shared.metrics.refused_connections.inc();
            return;
        };
        self.shared.metrics.open_connections.inc();
        if let Err(error) = self.begin(stream, peer, tls, place).await {
            tracing::debug!(%error, %peer, "connection ended");
        }
        self.shared.metrics.open_connections.dec();
    }

    /// PROXY header, TLS, and which HTTP: all within the time for a head.
    async fn begin(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        place: Place,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let limit = self.options().header_timeout;
        let timed = tokio::time::timeout(limit, self.client(&stream, peer));
        let client = timed.await.map_err(|_| io::ErrorKind::TimedOut)??;
        let (transport, facts, h2) = match tls {
            None => {
                if !self.says_something(&stream).await? {
                    return Ok(());
                }
                let preface = tokio::time::timeout(limit, is_h2(&stream));
                let h2 = preface.await.map_err(|_| io::ErrorKind::TimedOut)??;
                (Transport::Plain(stream), None, h2)
            }
            Some(tls) => {
                let handshake = tokio::time::timeout(limit, tls.accept(stream)).await;
                let stream =
                    handshake.map_err(|_| io::Error::from(io::ErrorKind::TimedOut)).and_then(|done| done);
                let stream = stream.inspect_err(|_| {
                    self.shared.metrics.tls_failures.inc();
                })?;
                let (_, session) = stream.get_ref();
                let facts = TlsFacts { server_name: session.server_name().map(str::to_ascii_lowercase) };
                let h2 = session.alpn_protocol() == Some(b"h2");
                (Transport::Tls(Box::new(stream)), Some(facts), h2)
            }
        };
        let connection = Arc::new(Connection::new(client, local, facts));
        self.serve(transport, connection, h2, place).await;
        Ok(())
    }

    /// Waits for a connection's first bytes. False when there are none in time, or before the process ends.
    async fn says_something(&self, stream: &TcpStream) -> io::Result<bool> {
        let mut draining = self.shared.draining.subscribe();
        let ends = async {
            drained(&mut draining).await;
            tokio::time::sleep(LAST_REQUEST).await;
        };
        tokio::select! {
            biased;
            readable = stream.readable() => readable.map(|()| true),
            () = ends => Ok(false),
            () = tokio::time::sleep(self.options().keep_alive) => Ok(false),
        }
    }

    /// Whose connection it is.
    async fn client(&self, stream: &TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
        if !contains(&self.shared.settings.proxy_protocol, peer) {
            return Ok(peer);
        }
        Ok(read_proxy_header(stream).await?.unwrap_or(peer))
    }

    async fn serve(&self, transport: Transport, connection: Arc<Connection>, h2: bool, place: Place) {
        let https = connection.tls.is_some();
        let origin =
            Origin::new(connection.client, connection.local, https, &self.shared.settings.trusted_proxies);
        let held = Held { _place: place, _alive: Rc::clone(&self.alive) };
        let (shared, pool) = (Arc::clone(&self.shared), Rc::clone(&self.pool));
        let handler = Handler::new(shared, pool, Arc::clone(&connection), origin, held);
        let io = ClientIo::new(transport, Arc::clone(&connection), !h2, self.options().send_timeout);
        let io = TokioIo::new(io);
        if h2 {
            self.serve_h2(io, handler, &connection).await;
        } else {
            self.serve_h1(io, handler, &connection).await;
        }
    }

    async fn serve_h1(&self, io: TokioIo<ClientIo>, handler: Handler, connection: &Connection) {
        let options = self.options();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(options.max_headers)
            .max_header_size(options.max_header_bytes)
            .max_buf_size(H1_BUFFER_BYTES.max(options.max_header_bytes));
        let mut serving = std::pin::pin!(builder.serve_connection(io, handler).with_upgrades());
        let mut event = Rarely::new(self.event(connection, false, LAST_REQUEST));
        loop {
            tokio::select! {
                biased;
                _ = serving.as_mut() => return,
                happened = &mut event => match happened {
                    Event::Drain => {
                        serving.as_mut().graceful_shutdown();
                        event = Rarely::new(self.event(connection, true, LAST_REQUEST));
                    }
                    Event::Expired => return,
                }
            }
        }
    }

    async fn serve_h2(&self, io: TokioIo<ClientIo>, handler: Handler, connection: &Connection) {
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
        let mut serving = std::pin::pin!(builder.serve_connection(io, handler));
        let mut event = Rarely::new(self.event(connection, false, Duration::ZERO));
        loop {
            tokio::select! {
                biased;
                _ = serving.as_mut() => return,
                happened = &mut event => match happened {
                    Event::Drain => {
                        serving.as_mut().graceful_shutdown();
                        event = Rarely::new(self.event(connection, true, Duration::ZERO));
                    }
                    Event::Expired => break,
                }
            }
        }
        serving.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(GO_AWAY, serving).await;
    }

    /// What ends a connection from outside. HTTP/1.1 is left open a little when the process drains: the client may ask once
    /// more, and its answer says that the connection ends. To close it at once would cut off a request that is on its way.
    async fn event(&self, connection: &Connection, told: bool, last_request: Duration) -> Event {
        let mut draining = self.shared.draining.subscribe();
        let drain = async {
            drained(&mut draining).await;
            tokio::time::sleep(last_request).await;
        };
        tokio::select! {
            () = drain, if !told => Event::Drain,
            _ = connection.expired(self.limits()) => Event::Expired,
        }
    }

    fn limits(&self) -> Limits {
        Limits { header: self.options().header_timeout, keep_alive: self.options().keep_alive }
    }
}

/// Waits for the end of the process; for ever if whoever could say so is gone.
pub(crate) async fn drained(draining: &mut watch::Receiver<bool>) {
    if draining.wait_for(|&drain| drain).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What a future says without waiting.
fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn contains(nets: &[IpNet], address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    nets.iter().any(|net| net.contains(&ip))
}

/// Takes the PROXY header off a connection, and not a byte more.
async fn read_proxy_header(stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut bytes = [0; proxy_protocol::MAX_BYTES];
    loop {
        let len = stream.peek(&mut bytes).await?;
        match proxy_protocol::parse(bytes.get(..len).unwrap_or_default()) {
            Parsed::Header { len, client } => {
                take(stream, bytes.get_mut(..len).unwrap_or_default()).await?;
                return Ok(client);
            }
            Parsed::Invalid => return Err(io::ErrorKind::InvalidData.into()),
            Parsed::Partial if len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            // Peeking does not wait for more than there is.
            Parsed::Partial => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Reads bytes that are known to be there.
async fn take(stream: &TcpStream, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.readable().await?;
        match stream.try_read(bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => bytes = bytes.get_mut(len..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a cleartext connection begins with HTTP/2's preface. Waits for its first bytes.
async fn is_h2(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0; PREFACE.len()];
    loop {
        let len = stream.peek(&mut bytes).await?;
        let so_far = bytes.get(..len).unwrap_or_default();
        if len == 0 || len == PREFACE.len() || !PREFACE.starts_with(so_far) {
            return Ok(so_far == PREFACE);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
