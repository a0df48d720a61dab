//! `/health`, `/ready` and `/metrics`, each at its own address, as CoreDNS has them.
//!
//! One request a connection; connections are few, shared fairly among those who ask, and have `TIMEOUT` for all: a pod that opens
//! many, or reads slowly, keeps no probe from its answer.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::shares::Shares;
use crate::metrics::render;

/// Connections to one page at a time; further ones are closed.
const MAX_CONNECTIONS: usize = 64;
/// For a request and its answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// After `accept` failed: descriptors may be out.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Between looks at the own `/health`, as CoreDNS has it.
const LOOK: Duration = Duration::from_secs(1);

/// Where what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The process lives.
    Health,
    /// The cluster's names are known, and the end is not announced.
    Ready,
    /// Numbers.
    Metrics,
}

impl Page {
    fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Health | Self::Ready => "text/plain; charset=utf-8",
            Self::Metrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The page's status and text.
    #[must_use]
    pub fn text(self, shared: &Arc<Shared>) -> (u16, String) {
        match self {
            Self::Health => (200, "OK".to_owned()),
            Self::Ready if shared.leaving.load(Ordering::Relaxed) => (503, "leaving\n".to_owned()),
            Self::Ready if shared.names.load().is_none() => (503, "kubernetes\n".to_owned()),
            Self::Ready => (200, "OK".to_owned()),
            Self::Metrics => (200, render::text(shared)),
        }
    }

    fn answer(self, shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = if request.uri().path() == self.path() {
            self.text(shared)
        } else {
            (404, "404 page not found\n".to_owned())
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.kind()));
        response
    }
}

/// Opens a page's listener.
///
/// # Errors
/// If the address is taken or not ours.
pub fn open(page: Page, address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    super::tcp::open(address)
        .map_err(|error| anyhow::anyhow!("cannot serve {} at {address}: {error}", page.path()))
}

/// Serves a page for ever.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(page: Page, listener: std::net::TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Shares::<IpAddr>::new(MAX_CONNECTIONS, MAX_CONNECTIONS, 1);
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            sleep(BACK_OFF).await;
            continue;
        };
        let Some(place) = places.take(client.ip()) else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let answer = |request| std::future::ready(Ok::<_, Infallible>(page.answer(&shared, &request)));
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service_fn(answer));
            // A client that does not wait for its answer needs none.
            let _ = timeout(TIMEOUT, serving).await;
            drop(place);
        });
    }
}

/// Asks for the own `/health` for ever and counts how long that takes: long, where the machine or the process is overloaded.
pub async fn look_at_health(address: SocketAddr, shared: Arc<Shared>) {
    loop {
        sleep(LOOK).await;
        let begun = Instant::now();
        let answered = matches!(timeout(TIMEOUT, fetch(address)).await, Ok(Ok(())));
        shared.health.observe(begun.elapsed(), answered);
    }
}

async fn fetch(address: SocketAddr) -> io::Result<()> {
    // To an unspecified address is to the own machine (Linux).
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    if answer.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
