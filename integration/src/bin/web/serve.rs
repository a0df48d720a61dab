//! An endpoint. Told to end, it serves on for a while, as programs in pods should: who sends to it hears of its end a moment later.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tonic::body::Body;

use crate::grpc;

/// How long it serves on.
const LEAVING: Duration = Duration::from_secs(2);
/// More of a body is not repeated.
const MOST_BODY: usize = 1 << 16;

/// Names and ports, one after the other.
pub(crate) async fn serve(words: &[&str]) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    for pair in words.chunks(2) {
        let [name, port] = pair else { bail!("a name and no port") };
        let port: u16 = port.parse()?;
        let listener = TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("port {port}"))?;
        // As long as the process.
        tokio::spawn(accept(name.to_string().leak(), listener));
    }
    println!("ready");
    terminate.recv().await;
    tokio::time::sleep(LEAVING).await;
    Ok(())
}

async fn accept(name: &'static str, listener: TcpListener) {
    loop {
        // One that is gone before it was accepted is no reason to end.
        if let Ok((stream, client)) = listener.accept().await {
            tokio::spawn(connection(name, stream, client));
        }
    }
}

async fn connection(name: &'static str, stream: TcpStream, client: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(name, client, request).await) });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(name: &'static str, client: SocketAddr, request: Request<Incoming>) -> Response<Body> {
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return grpc::answer(name, request).await;
    }
    let (head, body) = request.into_parts();
    if let Some(milliseconds) = head.uri.path().strip_prefix("/slow/").and_then(|text| text.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    let body = http_body_util::Limited::new(body, MOST_BODY)
        .collect()
        .await
        .map(|all| all.to_bytes())
        .unwrap_or_default();
    let mut fields = Map::new();
    for (key, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match fields.get_mut(key.as_str()) {
            Some(Value::String(known)) => *known = format!("{known}, {value}"),
            _ => _ = fields.insert(key.to_string(), value.into()),
        }
    }
    let said = json!({
        "name": name,
        "client": client.ip().to_string(),
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("", |path| path.as_str()),
        "protocol": format!("{:?}", head.version),
        "host": head.uri.host().or_else(|| head.headers.get("host")?.to_str().ok()),
        "headers": fields,
        "body": String::from_utf8_lossy(&body),
    });
    let mut response = Response::new(Body::new(http_body_util::Full::new(Bytes::from(format!("{said}\n")))));
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    headers.insert("server", hyper::header::HeaderValue::from_static("web"));
    response
}
