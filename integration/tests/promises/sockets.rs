//! The control sockets take anything without harm: garbage, huge and slow frames; and the
//! read-only one changes nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use integration::TestNode;
use integration::node::pod_request;
use protocol::client::Client;
use protocol::codec::{self, MAX_ADMIN_FRAME_BYTES};
use protocol::message::{AdminRequest, Kind, ReadRequest, Response};

fn read_only(node: &TestNode) -> PathBuf {
    node.dir().join("run/ro.sock")
}

fn sockets(node: &TestNode) -> [PathBuf; 2] {
    [node.socket(), read_only(node)]
}

fn greeted(path: &PathBuf) -> UnixStream {
    let mut stream = UnixStream::connect(path).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    codec::write_preamble(&mut stream).expect("the daemon reads");
    codec::read_preamble(&mut stream).expect("the daemon greets");
    stream
}

/// The daemon hangs up, at most after an error response.
#[track_caller]
fn hangs_up(mut stream: UnixStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        // Data of ours it did not read resets the connection.
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the daemon keeps the connection: {e}"),
    }
}

#[track_caller]
fn serves_others(node: &TestNode) {
    let started = Instant::now();
    let _ = node.status();
    assert!(started.elapsed() < Duration::from_secs(2), "slow to answer");
}

#[test]
fn garbage_is_answered_by_hanging_up() {
    let mut node = TestNode::start();
    node.allow_log("WARN");
    for path in sockets(&node) {
        let mut stream = UnixStream::connect(&path).expect("the daemon listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        hangs_up(stream);
        // A good start, then a payload that is no message.
        let mut stream = greeted(&path);
        let _ = stream.write_all(&[&8_u32.to_le_bytes()[..], &[0xff; 8]].concat());
        hangs_up(stream);
        serves_others(&node);
    }
}

#[test]
fn a_huge_frame_is_refused_before_it_is_read() {
    let mut node = TestNode::start();
    node.allow_log("WARN");
    let resident = || {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", node.control_pid())).expect("it lives");
        statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
    };
    let before = resident();
    for path in sockets(&node) {
        for len in [u32::MAX, (MAX_ADMIN_FRAME_BYTES + 1).try_into().expect("fits")] {
            let mut stream = greeted(&path);
            let _ = stream.write_all(&len.to_le_bytes());
            hangs_up(stream);
        }
    }
    // A small message that claims a collection of 2^62 entries (bincode's varint marker 253).
    let mut stream = greeted(&node.socket());
    let payload = [&[1, 253][..], &(1_u64 << 62).to_le_bytes()].concat();
    let len = u32::try_from(payload.len()).expect("small");
    let _ = stream.write_all(&[&len.to_le_bytes()[..], &payload].concat());
    hangs_up(stream);
    assert!(resident() < before + (8 << 20), "memory grew from {before} to {}", resident());
    serves_others(&node);
}

#[test]
fn slow_and_silent_clients_do_not_hold_up_others() {
    let mut node = TestNode::start();
    node.allow_log("WARN");
    // Half a preamble, no preamble, half a frame.
    let mut slow: Vec<UnixStream> = Vec::new();
    for path in sockets(&node) {
        for _ in 0..6 {
            let mut half = UnixStream::connect(&path).expect("the daemon listens");
            let _ = half.write_all(b"VPO");
            slow.push(half);
            slow.push(UnixStream::connect(&path).expect("the daemon listens"));
        }
        let mut stream = greeted(&path);
        let _ = stream.write_all(&[100, 0, 0, 0, 1]);
        slow.push(stream);
    }
    serves_others(&node);
    let pod = node.create_pod("a");
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", pod.ip)).succeeded());
    for stream in slow {
        // A deadline ends each of them.
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        hangs_up(stream);
    }
}

#[test]
fn the_read_only_socket_refuses_every_change() {
    let mut node = TestNode::start();
    node.allow_log("WARN");
    let pod = node.create_pod("a");
    let mut client = Client::connect(&read_only(&node)).expect("the read-only socket listens");
    client.send_read(&ReadRequest::Status).expect("sent");
    assert!(matches!(client.receive(), Ok(Response::Status(_))));
    client.send_read(&ReadRequest::List { kind: Kind::Pods, namespace: None }).expect("sent");
    assert!(matches!(client.receive(), Ok(Response::Items(_))));
    let reference = integration::node::reference("default", "a");
    for mutation in [
        AdminRequest::CreatePod(Box::new(pod_request("b", &[]))),
        AdminRequest::DeletePod(reference.clone()),
        AdminRequest::EnterPod(reference),
        AdminRequest::SetLogFilter("trace".to_owned()),
    ] {
        let mut client = Client::connect(&read_only(&node)).expect("the read-only socket listens");
        client.set_timeout(Some(Duration::from_secs(20))).expect("not zero");
        let answer = client.request(&mutation);
        // Some encodings happen to be a valid *read* request; none may change anything.
        assert!(!matches!(answer, Ok(Response::Done | Response::Entry(_))), "{mutation:?}: {answer:?}");
    }
    assert_eq!(node.pods().len(), 1);
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", pod.ip)).succeeded());
}

#[test]
fn the_admin_socket_is_for_root_alone() {
    let node = TestNode::start();
    let mode = node.sh(&format!("stat -c '%a %U' {}", node.socket().display())).ok();
    assert_eq!(mode.trim(), "600 root");
}
