//! Endpoints that do not do as they should: what the client sees, and that nothing spills into another response.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::backend::Backend;
use common::client::{Raw, get};
use common::{ANNOTATION, Bed, rule, rules};
use serde_json::{Value, json};

/// Answers every request with these bytes, and keeps or closes the connection.
struct Canned {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

fn canned(response: &str, close: bool) -> Canned {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (response, counted) = (response.to_owned(), Arc::clone(&connections));
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            counted.fetch_add(1, Ordering::Relaxed);
            let response = response.clone();
            std::thread::spawn(move || {
                while read_head(&mut stream) {
                    if stream.write_all(response.as_bytes()).is_err() || close {
                        return;
                    }
                }
            });
        }
    });
    Canned { address, connections }
}

/// False when the other side has closed.
fn read_head(stream: &mut TcpStream) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn bed(endpoint: SocketAddr, annotations: Value) -> Bed {
    let bed = Bed::with(|s| s.options.eject_after = 0);
    bed.service("web", &[endpoint]);
    bed.route("web", annotations, rules(&[rule("a.example", "/", "web")]));
    bed
}

#[test]
fn responses_end_where_they_say() {
    let cases: &[(&str, bool, &str)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
            false,
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", true, "hello"),
        ("HTTP/1.0 200 OK\r\n\r\nhello", true, "hello"),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            false,
            "ok",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, ""),
    ];
    for (response, close, body) in cases {
        let endpoint = canned(response, *close);
        let bed = bed(endpoint.address, json!({}));
        let mut client = Raw::connect(bed.http);
        for _ in 0..3 {
            let reply = client.get("a.example", "/");
            assert_eq!((reply.status, reply.text().as_str()), (200, *body), "{response:?}");
        }
        let connections = endpoint.connections.load(Ordering::Relaxed);
        assert_eq!(connections, if *close { 3 } else { 1 }, "{response:?}");
    }
}

#[test]
fn responses_that_could_be_read_in_two_ways_are_not_passed_on() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(1000));
    let endless = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50);
    let cases = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 9999 What\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n",
        &long,
        &many,
        &endless,
    ];
    for response in cases {
        let bed = bed(canned(response, false).address, json!({}));
        let reply = Raw::connect(bed.http).try_request("GET", "a.example", "/", &[], b"");
        let status = reply.map(|reply| reply.status).map_err(|error| error.to_string());
        assert_eq!(status, Ok(502), "{}", &response[..response.len().min(100)]);
    }
}

/// The client must not take half a body for a whole one.
#[test]
fn responses_that_are_cut_off_are_cut_off_for_the_client() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    ] {
        let bed = bed(canned(response, true).address, json!({}));
        let mut client = Raw::connect(bed.http);
        let reply = client.try_request("GET", "a.example", "/", &[], b"");
        assert!(reply.is_err(), "{response:?} became {reply:?}");
    }
}

/// What an endpoint sends unasked would otherwise be the next client's response.
#[test]
fn bytes_that_nobody_asked_for_are_nobodys_response() {
    let extra =
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nrealHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake";
    let bed = bed(canned(extra, false).address, json!({}));
    for _ in 0..10 {
        assert_eq!(get(bed.http, "a.example", "/").text(), "real");
    }
}

#[test]
fn an_early_answer_to_a_large_body_is_passed_on() {
    let refusal = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n";
    let bed = bed(canned(refusal, false).address, json!({ format!("{ANNOTATION}/proxy-body-size"): "0" }));
    let mut client = Raw::connect(bed.http);
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\nthe beginning");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text().as_str()), (413, "no\n"));
}

#[test]
fn head_and_bodiless_responses_keep_their_connection() {
    let response = "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: x\r\n\r\n";
    let endpoint = canned(response, false);
    let bed = bed(endpoint.address, json!({}));
    let mut client = Raw::connect(bed.http);
    for method in ["GET", "HEAD", "GET"] {
        let reply = client.try_request(method, "a.example", "/", &[], b"").unwrap();
        assert_eq!((reply.status, reply.header("etag")), (304, Some("x")));
    }
    assert_eq!(endpoint.connections.load(Ordering::Relaxed), 1);
}

/// Accepts connections and never reads: what is written to it waits once the kernel's buffers are full.
fn deaf() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn limits_of_time_are_those_of_the_rule() {
    let backend = Backend::start("one");
    let limit = |name: &str| json!({ format!("{ANNOTATION}/{name}"): "1", format!("{ANNOTATION}/proxy-body-size"): "0" });
    let slow = bed(backend.address, limit("proxy-read-timeout"));
    assert_eq!(get(slow.http, "a.example", "/slow/60000").status, 504);
    let slow = bed(backend.address, limit("request-timeout"));
    assert_eq!(get(slow.http, "a.example", "/slow/60000").status, 504);

    let deaf = deaf();
    let sending = bed(deaf.local_addr().unwrap(), limit("proxy-send-timeout"));
    let mut client = Raw::connect(sending.http);
    client.tcp.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000000\r\n\r\n");
    while client.try_send([0; 65536]).is_ok() {}
    assert_eq!(client.reply().status, 504);
}

/// A response that comes byte by byte keeps within the time between two reads, and not within that of the whole.
#[test]
fn the_time_of_a_request_covers_its_body() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                read_head(&mut stream);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    let bed = bed(address, json!({ format!("{ANNOTATION}/request-timeout"): "1" }));
    let mut client = Raw::connect(bed.http);
    let reply = client.try_request("GET", "a.example", "/", &[], b"");
    assert!(reply.is_err(), "{reply:?}");
}

#[test]
fn a_connection_that_cannot_be_made_in_time_is_tried_elsewhere() {
    // A full backlog: the kernel answers no more SYNs.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the backlog has no end");
    }
    let backend = Backend::start("one");
    let bed = Bed::new();
    bed.service("web", &[address, backend.address]);
    let annotations = json!({ format!("{ANNOTATION}/proxy-connect-timeout"): "1" });
    bed.route("web", annotations, rules(&[rule("a.example", "/", "web")]));
    for _ in 0..4 {
        assert_eq!(get(bed.http, "a.example", "/").status, 200);
    }
}
