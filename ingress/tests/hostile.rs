//! Clients that mean harm: each is answered by a protocol error or cut off, and others notice nothing.

mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::backend::Backend;
use common::client::{Raw, get};
use common::{Bed, eventually, resident_bytes, rule, rules};
use serde_json::json;
use vpod_ingress::Settings;

fn bed(change: impl FnOnce(&mut Settings)) -> (Bed, Backend) {
    let (bed, backend) = (Bed::with(change), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    (bed, backend)
}

/// What may have been smuggled would come to the endpoint as a request of its own.
#[test]
fn ambiguous_requests_are_refused_and_never_forwarded() {
    let (bed, backend) = bed(|_| {});
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\n";
    let cases: &[(&str, String, &[u16])] = &[
        (
            "length and chunks",
            format!("{head}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            &[400],
        ),
        (
            "chunks and length",
            format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{smuggled}"),
            &[400],
        ),
        ("two lengths", format!("{head}Content-Length: 0\r\nContent-Length: 6\r\n\r\n{smuggled}"), &[400]),
        ("a list of lengths", format!("{head}Content-Length: 0, 6\r\n\r\n{smuggled}"), &[400]),
        ("a signed length", format!("{head}Content-Length: +6\r\n\r\nabcdef{smuggled}"), &[400]),
        ("a negative length", format!("{head}Content-Length: -1\r\n\r\n{smuggled}"), &[400]),
        ("a hexadecimal length", format!("{head}Content-Length: 0x6\r\n\r\n{smuggled}"), &[400]),
        (
            "a length too long",
            format!("{head}Content-Length: 99999999999999999999999\r\n\r\n{smuggled}"),
            &[400],
        ),
        (
            "an unknown coding",
            format!("{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
            &[400, 501],
        ),
        (
            "chunked not last",
            format!("{head}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n{smuggled}"),
            &[400, 501],
        ),
        (
            "two codings",
            format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            &[400, 501],
        ),
        (
            "twice chunked",
            format!(
                "{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            &[400],
        ),
        (
            "a coding in old HTTP",
            format!(
                "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
            &[400],
        ),
        (
            "space before the colon",
            format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            &[400],
        ),
        (
            "a folded field",
            format!("{head}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            &[400],
        ),
        ("a field without a name", format!("{head}: x\r\n\r\n{smuggled}"), &[400]),
        (
            "a bare line feed",
            format!("POST / HTTP/1.1\r\nHost: a.example\nContent-Length: 0\r\n\r\n{smuggled}"),
            &[400],
        ),
        ("a bare carriage return", format!("{head}X: y\rZ: w\r\n\r\n{smuggled}"), &[400]),
        ("a zero byte", format!("{head}X: y\0z\r\n\r\n{smuggled}"), &[400]),
        (
            "two hosts",
            format!("GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n{smuggled}"),
            &[400],
        ),
        ("no host", format!("GET / HTTP/1.1\r\n\r\n{smuggled}"), &[400]),
        (
            "another host in the target",
            format!("GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n{smuggled}"),
            &[400],
        ),
        ("a host with a path", format!("GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n{smuggled}"), &[400]),
        ("a user in the host", format!("GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n{smuggled}"), &[400]),
        (
            "a target that is none",
            format!("GET a.example HTTP/1.1\r\nHost: a.example\r\n\r\n{smuggled}"),
            &[400],
        ),
        (
            "spaces in the target",
            format!("GET / HTTP/1.1 HTTP/1.1\r\nHost: a.example\r\n\r\n{smuggled}"),
            &[400],
        ),
        ("an unknown version", format!("GET / HTTP/1.2\r\nHost: a.example\r\n\r\n{smuggled}"), &[400, 505]),
        ("no HTTP", format!("\x16\x03\x01\x02\r\n\r\n{smuggled}"), &[400]),
        (
            "a tunnel",
            format!("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n{smuggled}"),
            &[405],
        ),
        ("a trace", format!("TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n{smuggled}"), &[405]),
    ];
    for (what, bytes, expected) in cases {
        let mut client = Raw::connect(bed.http);
        client.send(bytes);
        let reply = client.try_reply(false).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(expected.contains(&reply.status), "{what}: {reply:?}");
        assert!(client.is_closed(), "{what}: the connection goes on");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn malformed_chunks_end_the_request() {
    let (bed, backend) = bed(|_| {});
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases: &[(&str, String)] = &[
        ("no number", "xyz\r\n".to_owned()),
        ("a number too large", "ffffffffffffffffff\r\n".to_owned()),
        ("a negative number", "-1\r\n".to_owned()),
        ("no line end after data", "3\r\nabcdef\r\n".to_owned()),
        ("a bare line feed", "3\nabc\r\n0\r\n\r\n".to_owned()),
        ("an endless extension", format!("3;{}\r\nabc\r\n", "x".repeat(100_000))),
        ("endless trailers", format!("0\r\n{}\r\n", "X: y\r\n".repeat(10_000))),
    ];
    for (what, chunks) in cases {
        let mut client = Raw::connect(bed.http);
        client.send(head);
        let _ = client.try_send(chunks);
        // 400, or the end where the response has begun already
        if let Ok(reply) = client.try_reply(false) {
            assert_eq!(reply.status, 400, "{what}");
        }
        assert!(client.is_closed(), "{what}: the connection goes on");
    }
    let mut client = Raw::connect(bed.http);
    client.send(format!("{head}3;ext=1\r\nabc\r\n0\r\n\r\n"));
    let reply = client.reply();
    assert_eq!((reply.status, &reply.json()["body"]), (200, &json!(3)));
    assert!(backend.count() >= 1);
}

#[test]
fn heads_without_measure_are_refused() {
    let (bed, backend) = bed(|_| {});
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(100_000));
    let target = "x".repeat(100_000);
    let cases = [
        ("many fields", format!("GET / HTTP/1.1\r\nHost: a.example\r\n{many}\r\n")),
        ("a long field", format!("GET / HTTP/1.1\r\nHost: a.example\r\n{long}\r\n")),
        ("a long target", format!("GET /{target} HTTP/1.1\r\nHost: a.example\r\n\r\n")),
    ];
    for (what, head) in cases {
        let mut client = Raw::connect(bed.http);
        let _ = client.try_send(head);
        if let Ok(reply) = client.try_reply(false) {
            assert!(matches!(reply.status, 414 | 431), "{what}: {}", reply.status);
        }
        assert!(client.is_closed(), "{what}");
    }
    assert_eq!(backend.count(), 0);
}

#[test]
fn slow_heads_are_cut_off_and_slow_bodies_too() {
    let (bed, _backend) = bed(|s| {
        s.options.header_timeout = Duration::from_millis(500);
        s.options.send_timeout = Duration::from_millis(500);
    });
    let mut head = Raw::connect(bed.http);
    head.send("GET / HTTP/1.1\r\n");
    let began = Instant::now();
    // A byte now and then does not buy time.
    while head.try_send("X").is_ok() && began.elapsed() < common::PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(head.reply().status, 408);
    assert!(head.is_closed());
    assert!(began.elapsed() < Duration::from_secs(10));
    let mut body = Raw::connect(bed.http);
    body.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\nabc");
    assert_eq!(body.reply().status, 408);
    let mut handshake = Raw::connect(bed.https);
    handshake.send("\x16");
    assert!(handshake.is_closed());
    let mut preface = Raw::connect(bed.http);
    preface.send("PRI * HTTP/2.0\r\n");
    assert!(preface.is_closed());
    assert_eq!(get(bed.http, "a.example", "/").status, 200);
}

#[test]
fn idle_connections_are_closed_in_time() {
    let (bed, _backend) = bed(|s| s.options.keep_alive = Duration::from_millis(300));
    let mut silent = Raw::connect(bed.http);
    let mut used = Raw::connect(bed.http);
    assert_eq!(used.get("a.example", "/").status, 200);
    assert!(silent.is_closed() && used.is_closed());
}

#[test]
fn one_client_gets_no_more_than_its_share_of_connections() {
    let (bed, _backend) = bed(|s| s.options.max_connections_per_client = 5);
    let mut mine: Vec<Raw> = (0..5).map(|_| Raw::connect(bed.http)).collect();
    for client in &mut mine {
        assert_eq!(client.get("a.example", "/").status, 200);
    }
    assert!(Raw::connect(bed.http).is_closed());
    mine.pop();
    eventually("there is room again", || {
        Raw::connect(bed.http).try_request("GET", "a.example", "/", &[], b"").is_ok()
    });
}

/// Frames of HTTP/2, as bytes.
mod frames {
    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    pub(crate) fn preface() -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes
    }

    /// `GET /slow/2000` of `a.example`, in HPACK without compression.
    pub(crate) fn get(stream: u32) -> Vec<u8> {
        let mut block = vec![0x82, 0x86, 0x04];
        let path = b"/slow/2000";
        block.push(u8::try_from(path.len()).unwrap());
        block.extend(path);
        block.extend([0x01, 9]);
        block.extend(b"a.example");
        frame(1, 0x5, stream, &block)
    }

    pub(crate) fn reset(stream: u32) -> Vec<u8> {
        frame(3, 0, stream, &[0, 0, 0, 8])
    }
}

/// Sends until the server has had enough. True if it ended the connection.
fn flood(address: SocketAddr, pieces: impl Iterator<Item = Vec<u8>>) -> bool {
    let mut client = Raw::connect(address);
    client.tcp.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    client.send(frames::preface());
    for piece in pieces {
        if client.try_send(piece).is_err() {
            return true;
        }
    }
    client.tcp.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut rest = Vec::new();
    let read = client.stream.by_ref().take(64 << 20).read_to_end(&mut rest);
    read.is_ok() || rest.windows(9).any(|frame| frame[3] == 7 && frame[..2] == [0, 0])
}

#[test]
fn http2_floods_end_the_connection() {
    let (bed, backend) = bed(|_| {});
    let streams = (0..10_000).map(|n| n * 2 + 1);
    assert!(
        flood(bed.http, streams.clone().map(|s| [frames::get(s), frames::reset(s)].concat())),
        "rapid reset"
    );
    let open = frames::frame(1, 0, 1, &[0x82]);
    let more = frames::frame(9, 0, 1, &[0u8; 16_000]);
    assert!(flood(bed.http, std::iter::once(open).chain(std::iter::repeat_n(more, 2000))), "continuation");
    let empty = frames::frame(9, 0, 1, &[]);
    let open = frames::frame(1, 0, 1, &[0x82]);
    assert!(
        flood(bed.http, std::iter::once(open).chain(std::iter::repeat_n(empty, 100_000))),
        "empty continuation"
    );
    // The server answers these, or stops reading; others are served all the while.
    flood(bed.http, std::iter::repeat_n(frames::frame(6, 0, 0, &[0; 8]), 50_000));
    flood(bed.http, std::iter::repeat_n(frames::frame(4, 0, 0, &[]), 50_000));
    flood(bed.http, (0..500).map(|n| frames::get(n * 2 + 1)));
    assert_eq!(get(bed.http, "a.example", "/").status, 200);
    assert!(backend.count() < 2000, "{} requests came through", backend.count());
}

/// What a polite client gets, and what the process holds, while others flood it.
#[test]
fn polite_clients_are_served_within_bounds_beside_floods() {
    let (bed, _backend) = bed(|_| {});
    get(bed.http, "a.example", "/");
    let before = resident_bytes();
    let address = bed.http;
    let reset = |n: u32| [frames::get(n * 2 + 1), frames::reset(n * 2 + 1)].concat();
    let field = format!("X: {}\r\n", "y".repeat(1000));
    let floods: Vec<_> = (0..4)
        .map(|n| {
            let field = field.clone();
            std::thread::spawn(move || {
                for _ in 0..4 {
                    match n {
                        0 => drop(flood(address, (0..2000).map(reset))),
                        1 => drop(flood(address, std::iter::repeat_n(frames::frame(6, 0, 0, &[0; 8]), 5000))),
                        2 => drop(flood(address, std::iter::repeat_n(frames::frame(4, 0, 0, &[]), 5000))),
                        _ => {
                            let mut client = Raw::connect(address);
                            client.send("GET / HTTP/1.1\r\nHost: a.example\r\n");
                            while client.try_send(&field).is_ok() {}
                        }
                    }
                }
            })
        })
        .collect();
    let mut polite = Raw::connect(bed.http);
    let mut served = 0;
    while served < 50 || !floods.iter().all(std::thread::JoinHandle::is_finished) {
        assert_eq!(polite.get("a.example", "/bytes/1000").status, 200);
        served += 1;
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}
