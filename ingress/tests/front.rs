//! What stands before HTTP: PROXY headers from those who may send them, and WebSockets inside of TLS.

mod common;

use std::io::Read;

use common::backend::Backend;
use common::client::{Raw, Stream};
use common::{Bed, rule, rules};
use serde_json::json;

fn bed(proxies: &str) -> (Bed, Backend) {
    let proxies = vec![proxies.parse().unwrap()];
    let (bed, backend) = (Bed::with(|s| s.proxy_protocol = proxies), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    (bed, backend)
}

/// Version 2, `PROXY`, TCP over IPv4: 192.0.2.7:5000 to 10.0.0.1:80.
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x13\x88\0\x50";
/// `LOCAL`: the balancer asks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn both_versions_of_the_header_are_understood() {
    let (bed, _backend) = bed("127.0.0.0/8");
    let cases: [(&[u8], &str); 4] = [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (VERSION_2, "192.0.2.7"),
        (LOCAL, "127.0.0.1"),
    ];
    for (header, client) in cases {
        // With the request in one piece, and in two.
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let mut whole = Raw::connect(bed.http);
        whole.send([header, request].concat());
        assert_eq!(whole.reply().told("x-real-ip").unwrap(), client);
        let mut cut = Raw::connect(bed.http);
        cut.send(header).send(request);
        assert_eq!(cut.reply().told("x-real-ip").unwrap(), client);
    }
}

/// A stranger's header is no HTTP, and makes nobody another.
#[test]
fn a_header_from_a_stranger_is_a_bad_request() {
    let (bed, backend) = bed("10.0.0.0/8");
    for header in [&b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n"[..], VERSION_2] {
        let mut client = Raw::connect(bed.http);
        client.send([header, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"].concat());
        if let Ok(reply) = client.try_reply(false) {
            assert_eq!(reply.status, 400);
        }
        assert!(client.is_closed());
    }
    assert_eq!(backend.count(), 0);
    assert_eq!(Raw::connect(bed.http).get("a.example", "/").told("x-real-ip").unwrap(), "127.0.0.1");
}

fn websocket(client: &mut Raw) {
    client.send("GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.reply().status, 101);
    for text in ["hello", "again"] {
        client.send(text);
        let mut echo = [0; 5];
        client.stream.read_exact(&mut echo).unwrap();
        assert_eq!(echo, text.as_bytes());
    }
}

#[test]
fn websockets_pass_inside_of_tls() {
    let (bed, _backend) = bed("10.0.0.0/8");
    websocket(&mut Raw::tls(bed.https, "a.example"));
}

/// Who closes his direction may still read: the tunnel passes that on.
#[test]
fn a_tunnel_closes_one_direction_at_a_time() {
    let (bed, _backend) = bed("10.0.0.0/8");
    let mut client = Raw::connect(bed.http);
    websocket(&mut client);
    client.send("last!");
    client.tcp.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let stream: &mut dyn Stream = client.stream.get_mut();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last!");
}
