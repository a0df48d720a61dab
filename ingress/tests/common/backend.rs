//! Endpoints. What they answer says what they were asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

type Body = BoxBody<Bytes, Infallible>;

/// An HTTP server on a thread of its own; it ends when dropped.
pub struct Backend {
    pub address: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    pub connections: Arc<AtomicU32>,
    stop: watch::Sender<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    H2c,
}

impl Backend {
    pub fn start(name: &str) -> Self {
        Self::speaking(name, Speaks::Http1)
    }

    pub fn h2c(name: &str) -> Self {
        Self::speaking(name, Speaks::H2c)
    }

    fn speaking(name: &str, speaks: Speaks) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let backend = Self { address, requests: Arc::default(), connections: Arc::default(), stop };
        let (requests, connections) = (Arc::clone(&backend.requests), Arc::clone(&backend.connections));
        let name: Arc<str> = name.into();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, name, speaks, requests, connections, stopped));
        });
        backend
    }

    /// Answers what is under way and ends, as a pod does.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub fn count(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(
    listener: std::net::TcpListener,
    name: Arc<str>,
    speaks: Speaks,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicU32>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut serving = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = stopped.changed() => break,
        };
        let _ = stream.set_nodelay(true);
        connections.fetch_add(1, Ordering::Relaxed);
        let (name, requests) = (Arc::clone(&name), Arc::clone(&requests));
        let service = service_fn(move |request| {
            requests.fetch_add(1, Ordering::Relaxed);
            answer(Arc::clone(&name), request)
        });
        let mut stopped = stopped.clone();
        serving.spawn(async move {
            let io = TokioIo::new(stream);
            if speaks == Speaks::H2c {
                let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, service);
                tokio::select! { _ = serving => {}, _ = stopped.changed() => {} }
                return;
            }
            let serving =
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades();
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                _ = serving.as_mut() => return,
                _ = stopped.changed() => {}
            }
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        });
    }
    drop(listener);
    let _ =
        tokio::time::timeout(Duration::from_secs(10), async { while serving.join_next().await.is_some() {} })
            .await;
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

async fn answer(name: Arc<str>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
    if path == "/ws" {
        return Ok(upgrade(request));
    }
    if path == "/grpc" {
        return Ok(grpc(request).await);
    }
    if path == "/grpc-error" {
        return Ok(trailers_only());
    }
    if let Some(code) = number("/status/") {
        let mut response = Response::new(full(name.to_string()));
        *response.status_mut() = u16::try_from(code).unwrap().try_into().unwrap();
        return Ok(response);
    }
    if let Some(bytes) = number("/bytes/") {
        return Ok(Response::new(full(vec![b'x'; usize::try_from(bytes).unwrap()])));
    }
    if let Some(ms) = number("/slow/") {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
    if path == "/stream" {
        return Ok(stream(request));
    }
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect();
    let (parts, body) = request.into_parts();
    let received = match body.collect().await {
        Ok(body) => body.to_bytes().len(),
        // Whoever sent it is gone.
        Err(_) => 0,
    };
    let said = json!({
        "name": &*name, "method": parts.method.as_str(), "path": parts.uri.to_string(),
        "version": format!("{:?}", parts.version), "headers": headers, "body": received,
    });
    let mut response = Response::new(full(said.to_string()));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response.headers_mut().insert("server", HeaderValue::from_static("backend"));
    response.headers_mut().insert("x-name", HeaderValue::from_str(&name).unwrap());
    Ok(response)
}

/// Sends back each piece as it comes: neither side is ever whole.
fn stream(request: Request<Incoming>) -> Response<Body> {
    let (pieces, queue) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if pieces.send(Ok(frame)).await.is_err() {
                return;
            }
        }
    });
    Response::new(BodyExt::boxed(Queue(queue)))
}

struct Queue(mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl hyper::body::Body for Queue {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx)
    }
}

/// As gRPC answers: a message, and the status in the trailers.
async fn grpc(request: Request<Incoming>) -> Response<Body> {
    let te = request.headers().get("te").cloned();
    let message = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let mut trailers = hyper::HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if let Some(te) = te {
        response.headers_mut().insert("x-te", te);
    }
    response
}

/// As gRPC says that a call has failed before there was a message: no body, and the status in the head.
fn trailers_only() -> Response<Body> {
    let mut response = Response::new(http_body_util::Empty::new().boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
    response
}

/// Switches, and sends back what comes.
fn upgrade(request: Request<Incoming>) -> Response<Body> {
    if !request.headers().contains_key("upgrade") {
        let mut response = Response::new(full("no upgrade"));
        *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
        return response;
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut io = TokioIo::new(upgraded);
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = io.read(&mut buffer).await {
            if io.write_all(&buffer[..len]).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(full(""));
    *response.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
    response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    response
}
