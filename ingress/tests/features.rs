//! What the proxy does with requests, one promise a test, with real sockets on both sides.

mod common;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use common::backend::Backend;
use common::client::{Raw, get};
use common::{ANNOTATION, Bed, PATIENCE, backends, eventually, rule, rules};
use serde_json::{Value, json};

/// A bed with `a.example` leading to one endpoint.
fn simple(annotations: Value) -> (Bed, Backend) {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", annotations, rules(&[rule("a.example", "/", "web")]));
    (bed, backend)
}

fn annotation(name: &str, value: &str) -> Value {
    json!({ format!("{ANNOTATION}/{name}"): value })
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_request_reaches_its_endpoint_as_it_was_sent() {
    let (bed, _backend) = simple(json!({}));
    let mut client = Raw::connect(bed.http);
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
        let body: &[u8] = if method == "GET" { b"" } else { b"hello" };
        let fields = [("User-Agent", "tester/1"), ("Connection", "keep-alive, X-Hop"), ("X-Hop", "1")];
        let reply = client.request(method, "a.example", "/some/path?q=1&r=%20", &fields, body);
        assert_eq!(reply.status, 200);
        let said = reply.json();
        assert_eq!(
            (said["method"].as_str(), said["path"].as_str()),
            (Some(method), Some("/some/path?q=1&r=%20"))
        );
        assert_eq!(said["body"], body.len());
        assert_eq!(reply.told("user-agent").unwrap(), "tester/1");
        assert_eq!(reply.told("host").unwrap(), "a.example");
        assert_eq!(reply.told("x-hop"), None);
        assert_eq!(reply.told("x-forwarded-for").unwrap(), "127.0.0.1");
        assert_eq!(reply.told("x-forwarded-proto").unwrap(), "http");
        assert_eq!(reply.told("x-forwarded-host").unwrap(), "a.example");
        assert_eq!(reply.told("x-real-ip").unwrap(), "127.0.0.1");
        assert_eq!(reply.told("x-request-id"), reply.header("x-request-id").map(str::to_owned));
        for field in ["content-length", "content-type", "date", "server"] {
            assert!(reply.header(field).is_some(), "{field}");
        }
    }
}

#[test]
fn connections_on_both_sides_are_kept() {
    let (bed, backend) = simple(json!({}));
    let mut client = Raw::connect(bed.http);
    for path in ["/", "/bytes/0", "/bytes/1", "/bytes/100000", "/status/204", "/status/304", "/status/404"] {
        for _ in 0..3 {
            client.get("a.example", path);
        }
        client
            .try_request("HEAD", "a.example", path, &[], b"")
            .map(|_| ())
            .unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    assert_eq!(backend.connections.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn errors_have_pages_of_our_own() {
    let (bed, _backend) = simple(json!({}));
    assert_eq!(get(bed.http, "b.example", "/").status, 404);
    bed.apply(vec![backends("empty", None, &[]), backends("dead", None, &[nobody()])]);
    bed.route("empty", json!({}), rules(&[rule("empty.example", "/", "empty")]));
    bed.route("dead", json!({}), rules(&[rule("dead.example", "/", "dead")]));
    assert_eq!(get(bed.http, "empty.example", "/").status, 503);
    let reply = get(bed.http, "dead.example", "/");
    assert_eq!(reply.status, 502);
    assert!(reply.text().starts_with("502 Bad Gateway"));
    assert_eq!(reply.header("server"), Some("vpod-ingress"));
}

#[test]
fn a_service_that_does_not_exist_is_an_error_of_the_server() {
    let bed = Bed::new();
    bed.apply(vec![common::ingress_object("web", json!({}), rules(&[rule("a.example", "/", "none")]))]);
    assert!(bed.ingress.problems()[0].contains("none"), "{:?}", bed.ingress.problems());
    assert_eq!(get(bed.http, "a.example", "/").status, 500);
}

#[test]
fn requests_go_round_all_endpoints() {
    let bed = Bed::new();
    let all: Vec<Backend> = (0..10).map(|n| Backend::start(&format!("n{n}"))).collect();
    bed.service("web", &all.iter().map(|b| b.address).collect::<Vec<_>>());
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let names: HashSet<String> =
        (0..100).map(|_| get(bed.http, "a.example", "/").header("x-name").unwrap().to_owned()).collect();
    assert_eq!(names.len(), 10);
}

#[test]
fn a_dead_endpoint_costs_no_request_and_is_left_alone() {
    let (bed, backend) = (Bed::new(), Backend::start("alive"));
    bed.service("web", &[nobody(), backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    for n in 0..50 {
        let body: &[u8] = if n % 2 == 0 { b"" } else { b"posted" };
        let method = if n % 2 == 0 { "GET" } else { "POST" };
        let reply = Raw::connect(bed.http).request(method, "a.example", "/", &[], body);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["body"], body.len());
    }
    assert_eq!(backend.count(), 50);
    let errors =
        bed.metric("ingress_upstream_errors_total{namespace=\"default\",service=\"web\",reason=\"connect\"}");
    assert!((3.0..20.0).contains(&errors), "{errors} tries of an endpoint that is dead");
}

/// Accepts, reads a request and closes: as an endpoint that dies.
fn breaks_off() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    address
}

#[test]
fn only_what_may_be_sent_twice_is() {
    let (bed, backend) = (Bed::with(|s| s.options.eject_after = 0), Backend::start("alive"));
    bed.service("web", &[breaks_off(), backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    for _ in 0..10 {
        assert_eq!(get(bed.http, "a.example", "/").status, 200);
    }
    let posts: Vec<u16> =
        (0..10).map(|_| Raw::connect(bed.http).request("POST", "a.example", "/", &[], b"x").status).collect();
    assert!(posts.contains(&502) && posts.contains(&200), "{posts:?}");
}

#[test]
fn https_is_demanded_where_tls_is_configured() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    let (certificate, key) = certificate("a.example");
    bed.apply(vec![common::secret("tls", &certificate, &key)]);
    let mut spec = rules(&[rule("a.example", "/", "web")]);
    spec["tls"] = json!([{"hosts": ["a.example"], "secretName": "tls"}]);
    bed.route("web", json!({}), spec);
    let reply = get(bed.http, "a.example", "/x?y=z");
    assert_eq!(reply.status, 308);
    assert_eq!(reply.header("location"), Some("https://a.example/x?y=z"));
    for versions in [[&rustls::version::TLS12], [&rustls::version::TLS13]] {
        let mut client = Raw::tls_version(bed.https, "a.example", &versions);
        let reply = client.get("a.example", "/");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.told("x-forwarded-proto").unwrap(), "https");
    }
}

fn certificate(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let (bed, backend) = simple(annotation("proxy-body-size", "1k"));
    let reply = Raw::connect(bed.http).request("POST", "a.example", "/", &[], &[b'x'; 1024]);
    assert_eq!(reply.status, 200);
    let mut client = Raw::connect(bed.http);
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1025\r\n\r\n");
    assert_eq!(client.reply().status, 413);
    assert!(client.is_closed());
    let mut client = Raw::connect(bed.http);
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n");
    let _ = client.try_send([b'x'; 0x800]);
    assert_eq!(client.reply().status, 413);
    assert!(backend.count() <= 2);
}

#[test]
fn bodies_stream_both_ways() {
    let (bed, _backend) = simple(annotation("proxy-body-size", "0"));
    let mut client = Raw::connect(bed.http);
    client.send("POST /stream HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nfirst\r\n");
    let (status, _) = client.head().unwrap();
    assert_eq!(status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"first");
    for n in 0..20 {
        let piece = format!("piece-{n:02}");
        client.send(format!("8\r\n{piece}\r\n"));
        assert_eq!(client.chunk().unwrap().unwrap(), piece.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk().unwrap(), None);
    assert_eq!(client.get("a.example", "/").status, 200);
}

#[test]
fn large_bodies_pass_unchanged_in_length() {
    let (bed, _backend) = simple(annotation("proxy-body-size", "0"));
    let reply = Raw::connect(bed.http).request("PUT", "a.example", "/", &[], &vec![b'x'; 3 << 20]);
    assert_eq!(reply.json()["body"], 3 << 20);
    assert_eq!(get(bed.http, "a.example", "/bytes/5000000").body.len(), 5_000_000);
}

#[test]
fn a_client_that_expects_to_be_told_to_go_on_is() {
    let (bed, _backend) = simple(json!({}));
    let mut client = Raw::connect(bed.http);
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap().0, 100);
    client.send("hello");
    let reply = client.reply();
    assert_eq!(reply.json()["body"], 5);
    assert_eq!(reply.told("expect"), None);
}

#[test]
fn websockets_pass() {
    let (bed, _backend) = simple(json!({}));
    let mut client = Raw::connect(bed.http);
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("upgrade")), (101, Some("websocket")));
    for text in ["hello", "again"] {
        client.send(text);
        let mut echo = [0; 5];
        client.stream.read_exact(&mut echo).unwrap();
        assert_eq!(echo, text.as_bytes());
    }
    eventually("one upgrade is counted", || (bed.metric("ingress_upgrades") - 1.0).abs() < 0.1);
}

#[test]
fn an_upgrade_to_h2c_is_not_tunnelled() {
    let (bed, _backend) = simple(json!({}));
    let fields = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
    ];
    let reply = Raw::connect(bed.http).request("GET", "a.example", "/", &fields, b"");
    assert_eq!(reply.status, 200);
    assert_eq!((reply.told("upgrade"), reply.told("http2-settings")), (None, None));
}

#[test]
fn requests_beyond_the_rate_are_told_when_to_come_again() {
    let mut annotations = annotation("limit-rps", "1");
    annotations[format!("{ANNOTATION}/limit-burst-multiplier")] = json!("2");
    let (bed, backend) = simple(annotations);
    let replies: Vec<_> = (0..20).map(|_| get(bed.http, "a.example", "/")).collect();
    let limited = replies.iter().find(|r| r.status == 429).unwrap();
    assert!(limited.header("retry-after").is_some());
    assert_eq!(replies[0].status, 200);
    assert!(backend.count() < 15, "{} of 20 passed", backend.count());
}

#[test]
fn a_cookie_keeps_clients_at_their_endpoint() {
    let bed = Bed::new();
    let all: Vec<Backend> = (0..5).map(|n| Backend::start(&format!("n{n}"))).collect();
    bed.service("web", &all.iter().map(|b| b.address).collect::<Vec<_>>());
    bed.route("web", annotation("affinity", "cookie"), rules(&[rule("a.example", "/", "web")]));
    let first = get(bed.http, "a.example", "/");
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..10 {
        let reply = Raw::connect(bed.http).request("GET", "a.example", "/", &[("Cookie", &cookie)], b"");
        assert_eq!(reply.header("x-name"), first.header("x-name"));
        assert_eq!(reply.header("set-cookie"), None);
    }
    let gone = first.header("x-name").unwrap();
    let left: Vec<SocketAddr> =
        all.iter().enumerate().filter(|(n, _)| format!("n{n}") != gone).map(|(_, b)| b.address).collect();
    bed.service("web", &left);
    let moved = Raw::connect(bed.http).request("GET", "a.example", "/", &[("Cookie", &cookie)], b"");
    assert_eq!(moved.status, 200);
    assert!(moved.header("set-cookie").is_some());
}

#[test]
fn an_endpoint_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let (bed, _backend) = simple(annotation("proxy-read-timeout", "1"));
    let reply = get(bed.http, "a.example", "/slow/20000");
    assert_eq!(reply.status, 504);
}

#[test]
fn pages_of_other_origins_are_answered_for_the_service() {
    let (bed, backend) = simple(annotation("enable-cors", "true"));
    let fields = [("Origin", "https://b.example"), ("Access-Control-Request-Method", "PUT")];
    let reply = Raw::connect(bed.http).request("OPTIONS", "a.example", "/", &fields, b"");
    assert_eq!(reply.status, 204);
    assert!(reply.header("access-control-allow-origin").is_some());
    assert!(reply.header("access-control-allow-methods").is_some());
    assert_eq!(backend.count(), 0);
    let reply =
        Raw::connect(bed.http).request("GET", "a.example", "/", &[("Origin", "https://b.example")], b"");
    assert_eq!(reply.status, 200);
    assert!(reply.header("access-control-allow-origin").is_some());
}

#[test]
fn the_balancer_says_who_the_client_is() {
    let (bed, backend) =
        (Bed::with(|s| s.proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()]), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let mut client = Raw::connect(bed.http);
    client.send("PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n");
    for _ in 0..2 {
        assert_eq!(client.get("a.example", "/").told("x-forwarded-for").unwrap(), "192.0.2.7");
    }
    // cut anywhere
    let mut client = Raw::connect(bed.http);
    client.send("PROXY TCP4 192.0.");
    std::thread::sleep(Duration::from_millis(50));
    client.send("2.9 10.0.0.1 5000 80\r");
    std::thread::sleep(Duration::from_millis(50));
    client.send("\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(client.reply().told("x-real-ip").unwrap(), "192.0.2.9");
    // without, the connection ends
    let mut client = Raw::connect(bed.http);
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(client.is_closed());
}

#[test]
fn trusted_proxies_say_who_the_client_is() {
    let (bed, backend) =
        (Bed::with(|s| s.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let fields = [("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-Proto", "https")];
    let reply = Raw::connect(bed.http).request("GET", "a.example", "/", &fields, b"");
    assert_eq!(reply.told("x-forwarded-for").unwrap(), "198.51.100.7, 127.0.0.1");
    assert_eq!(reply.told("x-real-ip").unwrap(), "198.51.100.7");
    assert_eq!(reply.told("x-forwarded-proto").unwrap(), "https");
}

#[test]
fn weights_share_requests_between_versions() {
    let (bed, old, new) = (Bed::new(), Backend::start("old"), Backend::start("new"));
    bed.service("old", &[old.address]);
    bed.service("new", &[new.address]);
    bed.route("main", json!({}), rules(&[rule("a.example", "/", "old")]));
    let canary = json!({
        format!("{ANNOTATION}/canary"): "true",
        format!("{ANNOTATION}/canary-weight"): "30",
        format!("{ANNOTATION}/canary-by-header"): "x-canary",
    });
    bed.route("canary", canary, rules(&[rule("a.example", "/", "new")]));
    let mut client = Raw::connect(bed.http);
    for _ in 0..500 {
        client.get("a.example", "/");
    }
    let share = new.count();
    assert!((80..230).contains(&share), "{share} of 500");
    for (value, name) in [("always", "new"), ("never", "old")] {
        for _ in 0..5 {
            let reply = client.request("GET", "a.example", "/", &[("X-Canary", value)], b"");
            assert_eq!(reply.header("x-name"), Some(name));
        }
    }
}

#[test]
fn metrics_and_health_are_told() {
    let (bed, _backend) = simple(json!({}));
    for _ in 0..3 {
        get(bed.http, "a.example", "/");
    }
    get(bed.http, "none.example", "/");
    let ok = "ingress_requests_total{namespace=\"default\",service=\"web\",code=\"2xx\"}";
    eventually("three requests are counted", || (bed.metric(ok) - 3.0).abs() < 0.1);
    let bad = "ingress_requests_total{namespace=\"\",service=\"\",code=\"4xx\"}";
    eventually("the other one too", || (bed.metric(bad) - 1.0).abs() < 0.1);
    assert_eq!(get(bed.admin, "x", "/health").status, 200);
    assert_eq!(get(bed.admin, "x", "/ready").status, 200);
    let unsynced = Bed::new();
    assert_eq!(get(unsynced.admin, "x", "/ready").status, 503);
}

#[test]
fn requests_are_logged_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (bed, backend) = (Bed::with(|s| s.access_log = Some(path.clone())), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    Raw::connect(bed.http).request("GET", "a.example", "/x?y", &[("X-Request-Id", "id-1")], b"");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("a line is written", || read().ends_with('\n'));
    let line: Value = serde_json::from_str(read().lines().next().unwrap()).unwrap();
    assert_eq!(line["request_id"], "id-1");
    assert_eq!(
        (&line["host"], &line["path"], &line["status"]),
        (&json!("a.example"), &json!("/x?y"), &json!(200))
    );
    assert_eq!(line["endpoint"], backend.address.to_string());
    assert_eq!(line["service"], "default/web:80");
}

#[test]
fn a_slow_client_does_not_hold_a_fast_one() {
    let (bed, _backend) = simple(json!({}));
    let mut slow = Raw::connect(bed.http);
    slow.send("GET /bytes/50000000 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    for _ in 0..20 {
        assert_eq!(get(bed.http, "a.example", "/").status, 200);
    }
    slow.tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(slow.reply().body.len(), 50_000_000);
    slow.stream.get_mut().flush().unwrap();
}
