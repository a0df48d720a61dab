//! HTTP/2 on the front, by ALPN and by prior knowledge; HTTP/2 and gRPC to endpoints.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::backend::Backend;
use common::client::Seen;
use common::{ANNOTATION, Bed, backends, rule, rules};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpStream;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn cleartext(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

async fn tls(address: SocketAddr, name: &'static str) -> SendRequest<Full<Bytes>> {
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Seen::default()))
            .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

fn request(method: &str, uri: &str, body: &'static [u8]) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(uri)
        .version(Version::HTTP_2)
        .body(Full::new(Bytes::from_static(body)))
        .unwrap()
}

#[test]
fn the_front_speaks_http2_with_and_without_tls() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    block_on(async {
        for mut send in [cleartext(bed.http).await, tls(bed.https, "a.example").await] {
            let mut request = request("POST", "http://a.example/x?y=z", b"hello");
            request.headers_mut().append("cookie", "a=1".parse().unwrap());
            request.headers_mut().append("cookie", "b=2".parse().unwrap());
            let response = send.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let said: serde_json::Value =
                serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
            assert_eq!(
                (&said["path"], &said["body"], &said["version"]),
                (&json!("/x?y=z"), &json!(5), &json!("HTTP/1.1"))
            );
            let headers = said["headers"].to_string();
            assert!(headers.contains(r#"["host","a.example"]"#), "{headers}");
            assert!(headers.contains(r#"["cookie","a=1; b=2"]"#), "{headers}");
        }
    });
}

#[test]
fn many_streams_share_a_connection() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    block_on(async {
        let send = cleartext(bed.http).await;
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let mut send = send.clone();
            all.spawn(async move {
                let response =
                    send.send_request(request("GET", "http://a.example/bytes/70000", b"")).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes().len()
            });
        }
        while let Some(len) = all.join_next().await {
            assert_eq!(len.unwrap(), 70_000);
        }
    });
}

#[test]
fn endpoints_may_speak_h2c_by_port_or_by_annotation() {
    let (bed, backend) = (Bed::new(), Backend::h2c("h2"));
    bed.apply(vec![
        backends("by-port", Some("kubernetes.io/h2c"), &[backend.address]),
        backends("by-word", None, &[backend.address]),
    ]);
    bed.route("by-port", json!({}), rules(&[rule("port.example", "/", "by-port")]));
    let grpc = json!({ format!("{ANNOTATION}/backend-protocol"): "GRPC" });
    bed.route("by-word", grpc, rules(&[rule("word.example", "/", "by-word")]));
    for host in ["port.example", "word.example"] {
        let reply = common::client::get(bed.http, host, "/x");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["version"], "HTTP/2.0");
        assert_eq!(reply.json()["path"], format!("http://{host}/x"));
    }
}

#[test]
fn grpc_passes_with_its_trailers() {
    let (bed, backend) = (Bed::new(), Backend::h2c("h2"));
    bed.apply(vec![backends("grpc", Some("kubernetes.io/h2c"), &[backend.address])]);
    bed.route("grpc", json!({}), rules(&[rule("a.example", "/", "grpc")]));
    block_on(async {
        for mut send in [cleartext(bed.http).await, tls(bed.https, "a.example").await] {
            for _ in 0..3 {
                let mut request = request("POST", "http://a.example/grpc", b"\0\0\0\0\x05hello");
                request.headers_mut().insert("te", "trailers".parse().unwrap());
                request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
                let response = send.send_request(request).await.unwrap();
                assert_eq!(response.headers()["content-type"], "application/grpc");
                assert_eq!(response.headers()["x-te"], "trailers");
                let body = response.into_body().collect().await.unwrap();
                assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
                assert_eq!(body.to_bytes(), &b"\0\0\0\0\x05hello"[..]);
            }
        }
    });
}

#[test]
fn a_grpc_call_that_failed_at_once_has_no_body_and_no_trailers() {
    let (bed, backend) = (Bed::new(), Backend::h2c("h2"));
    bed.apply(vec![backends("grpc", Some("kubernetes.io/h2c"), &[backend.address])]);
    bed.route("grpc", json!({}), rules(&[rule("a.example", "/", "grpc")]));
    block_on(async {
        for mut send in [cleartext(bed.http).await, tls(bed.https, "a.example").await] {
            let response =
                send.send_request(request("POST", "http://a.example/grpc-error", b"x")).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["grpc-status"]),
                (200, &"5".parse().unwrap())
            );
            assert!(hyper::body::Body::is_end_stream(response.body()));
            let body = response.into_body().collect().await.unwrap();
            assert!(body.trailers().is_none() && body.to_bytes().is_empty());
        }
    });
}
