//! Accepts connections, and sees them through.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::connection::{Activity, Limits};
use super::greet::{self, Greeted};
use super::listener::Scheme;
use super::serve::at_once;
use super::watchdog::{Event, Watchdog, Watched};
use crate::settings::Options;
use crate::tables::Shared;
use crate::upstream::pool::Pool;
use crate::worker::Served;

/// How long a connection stays open for a last request when the process drains: the client may ask once more, and its answer says that
/// the connection ends. To close it at once would cut off a request that is on its way.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// Pause after an error that would come again at once, as when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What serves connections on one worker.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Rc<Pool>,
    watchdog: Rc<Watchdog>,
    /// Held by each connection: their number tells when the worker may end.
    pub(super) alive: Rc<()>,
}

impl Server {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let options = &shared.settings.options;
        let pool = Rc::new(Pool::new(options));
        let limits = Limits { header: options.header_timeout, keep_alive: options.keep_alive };
        Self { shared, pool, watchdog: Rc::new(Watchdog::new(limits)), alive: Rc::new(()) }
    }

    /// Connections that are served.
    pub(crate) fn connections(&self) -> usize {
        Rc::strong_count(&self.alive) - 1
    }

    pub(super) fn options(&self) -> &Options {
        &self.shared.settings.options
    }

    /// Accepts until the process drains, or the listener is not wanted any more.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub(crate) async fn accept(self: Rc<Self>, served: Served) -> io::Result<()> {
        let Served { listener, tls, mut closed } = served;
        let tls = tls.map(TlsAcceptor::from);
        let socket = TcpListener::from_std(listener.socket)?;
        let port = socket.local_addr()?.port();
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
                () = shut(&mut closed) => break,
            };
            match stream {
                Ok((stream, peer)) => {
                    accepted.inc();
                    self.spawn(stream, peer, port, tls.clone());
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // What the kernel has accepted already would be reset when the socket closes.
        while let Some(Ok((stream, peer))) = at_once(socket.accept()) {
            self.spawn(stream, peer, port, tls.clone());
        }
        Ok(())
    }

    /// Looks after the times of connections, and tells them when the process drains; for ever.
    pub(crate) async fn watch(self: Rc<Self>) {
        let mut draining = self.shared.draining.subscribe();
        let mut last_request = std::pin::pin!(async {
            drained(&mut draining).await;
            tokio::time::sleep(LAST_REQUEST).await;
        });
        let mut drain = false;
        loop {
            tokio::select! {
                () = self.watchdog.next_look() => {}
                () = last_request.as_mut(), if !drain => drain = true,
            }
            self.watchdog.look(drain);
        }
    }

    fn spawn(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, port: u16, tls: Option<TlsAcceptor>) {
        tokio::task::spawn_local(Rc::clone(self).connection(stream, peer, port, tls));
    }

    async fn connection(
        self: Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        port: u16,
        tls: Option<TlsAcceptor>,
    ) {
        let _alive = Rc::clone(&self.alive);
        let metrics = &self.shared.metrics;
        let Some(place) = self.shared.connections.enter(peer.ip().to_canonical()) else {
            metrics.refused_connections.inc();
            return;
        };
        metrics.open_connections.inc();
        let with_proxy_header = greet::sends_proxy_header(&self.shared.settings.proxy_protocol, peer);
        let is_tls = tls.is_some();
        let activity = if is_tls || with_proxy_header { Activity::in_head() } else { Activity::idle() };
        let watched = self.watchdog.watch(Arc::new(activity));
        let mut serving = match self.greet(stream, peer, tls, with_proxy_header, &watched).await {
            Ok(greeted) => greeted.map(|greeted| self.serving(greeted, port, &watched, place)),
            Err(error) => {
                if is_tls {
                    metrics.tls_failures.inc();
                }
                tracing::debug!(%error, %peer, "connection ended");
                None
            }
        };
        // By reference: moved, it would be in this future twice.
        if let Some(serving) = &mut serving {
            serving.await;
        }
        metrics.open_connections.dec();
    }

    async fn greet(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        with_proxy_header: bool,
        watched: &Watched,
    ) -> io::Result<Option<Greeted>> {
        let activity = watched.activity();
        let mut greeted = std::pin::pin!(greet::greet(stream, peer, tls, with_proxy_header, activity));
        loop {
            tokio::select! {
                biased;
                greeted = greeted.as_mut() => return greeted,
                event = watched.event() => match event {
                    Event::Expired(_) => return Err(io::ErrorKind::TimedOut.into()),
                    Event::Drain if activity.is_idle() => return Ok(None),
                    Event::Drain => {}
                }
            }
        }
    }
}

/// Waits until a listener is closed.
async fn shut(closed: &mut Option<watch::Receiver<bool>>) {
    match closed {
        Some(closed) => drained(closed).await,
        None => std::future::pending().await,
    }
}

/// Waits for the end of the process; for ever if whoever could say so is gone.
pub(crate) async fn drained(draining: &mut watch::Receiver<bool>) {
    if draining.wait_for(|&drain| drain).await.is_err() {
        std::future::pending::<()>().await;
    }
}
