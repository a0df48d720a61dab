//! A daemon's read-only socket that knows one Ingress: the proxy is measured as it is delivered.

use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use protocol::codec::{self, CodecError, MAX_ADMIN_FRAME_BYTES};
use protocol::feed::{BackendPort, Changes, FeedChange, FeedPosition, RouteChange, ServiceBackends};
use protocol::message::{Kind, ReadRequest, Response};
use protocol::object::{Document, Timestamp};
use serde_json::{Value, json};

/// Answers followers until the process ends: everything at once, then nothing.
pub(super) fn serve(path: &Path, server: SocketAddr, certificate: &str, key: &str) -> Result<()> {
    let listener = UnixListener::bind(path)?;
    let all = changes(server, certificate, key)?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let all = all.clone();
            thread::spawn(move || follow(stream, &all));
        }
    });
    Ok(())
}

fn follow(mut stream: UnixStream, all: &Changes) -> Result<(), CodecError> {
    codec::write_preamble(&mut stream)?;
    codec::read_preamble(&mut stream)?;
    let position = FeedPosition { instance: 1, sequence: 1 };
    loop {
        if let ReadRequest::Follow(request) = codec::read_frame(&mut stream, MAX_ADMIN_FRAME_BYTES)? {
            if request.after.is_none() {
                codec::write_frame(&mut stream, &Response::Changes(all.clone()), MAX_ADMIN_FRAME_BYTES)?;
            } else {
                thread::sleep(Duration::from_millis(u64::from(request.patience_ms)));
            }
            codec::write_frame(&mut stream, &Response::Followed(position), MAX_ADMIN_FRAME_BYTES)?;
        }
    }
}

fn changes(server: SocketAddr, certificate: &str, key: &str) -> Result<Changes> {
    let backends = ServiceBackends {
        namespace: "default".parse()?,
        name: "web".parse()?,
        ports: vec![BackendPort {
            name: String::new(),
            number: 80,
            app_protocol: None,
            endpoints: vec![(server.ip(), server.port())],
        }],
    };
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "default",
            "annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "false"}},
        "spec": {"ingressClassName": "vpod",
            "tls": [{"hosts": ["bench.example"], "secretName": "web"}],
            "rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]},
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "web", "namespace": "default"},
        "stringData": {"tls.crt": certificate, "tls.key": key},
    });
    let changes = vec![
        FeedChange::Route(RouteChange::Backends(backends)),
        object(Kind::Secrets, &secret)?,
        object(Kind::Ingresses, &ingress)?,
    ];
    Ok(Changes { from_scratch: true, changes })
}

fn object(kind: Kind, object: &Value) -> Result<FeedChange> {
    let document = Document {
        namespace: Some("default".parse()?),
        name: "web".parse()?,
        created: Timestamp(0),
        json: object.to_string(),
        ready: 0,
        endpoints: 0,
    };
    Ok(FeedChange::Route(RouteChange::Object { kind, document }))
}
