//! The client against daemons that are away, slow, foreign or broken: each has an error that says
//! which, and what to do.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use protocol::client::Client;
use protocol::codec::{self, MAX_ADMIN_FRAME_BYTES};
use protocol::message::{AdminRequest, ApiError, ErrorCode, Items, Kind, ReadRequest, Response};

struct Socket(PathBuf);

impl Socket {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("protocol-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    /// Lets `answer` play the daemon for one connection.
    fn serve(&self, answer: impl FnOnce(UnixStream) + Send + 'static) -> JoinHandle<()> {
        let listener = UnixListener::bind(&self.0).unwrap();
        thread::spawn(move || answer(listener.accept().unwrap().0))
    }

    fn connect_error(&self) -> String {
        Client::connect(&self.0).err().expect("a connection").to_string()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn hello(stream: &mut UnixStream) {
    codec::write_preamble(stream).unwrap();
    codec::read_preamble(stream).unwrap();
}

fn request(stream: &mut UnixStream) -> AdminRequest {
    codec::read_frame(stream, MAX_ADMIN_FRAME_BYTES).unwrap()
}

fn answer(stream: &mut UnixStream, response: &Response) {
    codec::write_frame(stream, response, MAX_ADMIN_FRAME_BYTES).unwrap();
}

fn list() -> AdminRequest {
    AdminRequest::Read(ReadRequest::List { kind: Kind::Fdb, namespace: None })
}

#[test]
fn no_daemon_is_named_with_its_socket() {
    let socket = Socket::new("absent");
    let error = socket.connect_error();
    assert!(error.contains("absent.sock") && error.contains("is the daemon running?"), "{error}");
    drop(UnixListener::bind(&socket.0).unwrap());
    let error = socket.connect_error();
    assert!(error.contains("Connection refused") && error.contains("is the daemon running?"), "{error}");
}

#[test]
fn another_release_and_another_program_are_told_apart() {
    let socket = Socket::new("release");
    let daemon = socket.serve(|mut stream| stream.write_all(b"VPOD\xff\xff\x01\0").unwrap());
    let error = socket.connect_error();
    assert!(error.contains("version 65535") && error.contains("that came with the daemon"), "{error}");
    daemon.join().unwrap();
    std::fs::remove_file(&socket.0).unwrap();
    let daemon = socket.serve(|mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request").unwrap());
    let error = socket.connect_error();
    assert!(error.contains("does not speak the vpod protocol"), "{error}");
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_hangs_up_is_explained() {
    let socket = Socket::new("hangup");
    let daemon = socket.serve(|mut stream| {
        hello(&mut stream);
        request(&mut stream);
    });
    let error = Client::connect(&socket.0).unwrap().request(&list()).unwrap_err().to_string();
    assert!(error.contains("closed the connection before it answered"), "{error}");
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_never_answers_is_given_up() {
    let socket = Socket::new("silent");
    let daemon = socket.serve(|mut stream| {
        hello(&mut stream);
        // Until the client is gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut client = Client::connect(&socket.0).unwrap();
    client.set_timeout(Some(Duration::from_millis(20))).unwrap();
    let error = client.request(&list()).unwrap_err().to_string();
    assert!(error.contains("did not answer in time"), "{error}");
    drop(client);
    daemon.join().unwrap();
}

#[test]
fn garbage_is_malformed_and_a_huge_frame_is_not_read() {
    for (bytes, text) in [
        (&b"\x01\0\0\0\xff"[..], "malformed message"),
        (&b"\xff\xff\xff\xff"[..], "a frame of 4294967295 bytes was announced"),
    ] {
        let socket = Socket::new("garbage");
        let daemon = socket.serve(|mut stream| {
            hello(&mut stream);
            request(&mut stream);
            stream.write_all(bytes).unwrap();
        });
        let error = Client::connect(&socket.0).unwrap().request(&list()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        daemon.join().unwrap();
    }
}

#[test]
fn lists_come_in_pages_and_end_with_done() {
    let socket = Socket::new("pages");
    let daemon = socket.serve(|mut stream| {
        hello(&mut stream);
        assert_eq!(request(&mut stream), list());
        answer(&mut stream, &Response::Items(Items::Fdb(Vec::new())));
        answer(&mut stream, &Response::Items(Items::Fdb(Vec::new())));
        answer(&mut stream, &Response::Done);
        request(&mut stream);
        answer(&mut stream, &Response::Items(Items::Fdb(Vec::new())));
        answer(&mut stream, &Response::Error(ApiError::new(ErrorCode::Unavailable, "the datapath is away")));
        request(&mut stream);
        answer(&mut stream, &Response::Bytes(Vec::new()));
    });
    let mut client = Client::connect(&socket.0).unwrap();
    assert_eq!(client.list(&list()).unwrap().len(), 2);
    assert_eq!(client.list(&list()).unwrap_err().to_string(), "the datapath is away");
    assert!(client.list(&list()).unwrap_err().to_string().contains("does not fit the request"));
    daemon.join().unwrap();
}

#[test]
fn a_daemon_that_refuses_the_connection_is_heard() {
    let socket = Socket::new("refused");
    let listener = UnixListener::bind(&socket.0).unwrap();
    let path = socket.0.clone();
    let refuse = |listener: &UnixListener| {
        let mut stream = listener.accept().unwrap().0;
        codec::write_preamble(&mut stream).unwrap();
        answer(&mut stream, &Response::Error(ApiError::new(ErrorCode::Unavailable, "too many connections")));
    };
    // Refused before the client has said a word, and after its greeting.
    let early = thread::spawn(move || Client::connect(&path).and_then(|mut client| client.request(&list())));
    refuse(&listener);
    assert_eq!(early.join().unwrap().unwrap_err().to_string(), "too many connections");
    let path = socket.0.clone();
    let (connected, late) = std::sync::mpsc::channel();
    let client = thread::spawn(move || {
        let mut client = Client::connect(&path).unwrap();
        late.recv().unwrap();
        client.request(&list())
    });
    let mut stream = listener.accept().unwrap().0;
    codec::write_preamble(&mut stream).unwrap();
    // Its greeting has arrived, so it is connected whatever comes after.
    codec::read_preamble(&mut stream).unwrap();
    answer(&mut stream, &Response::Error(ApiError::new(ErrorCode::Unavailable, "too many connections")));
    drop(stream);
    connected.send(()).unwrap();
    assert_eq!(client.join().unwrap().unwrap_err().to_string(), "too many connections");
}
