//! The program as it is delivered: it follows the feed, outlives the daemon, and drains when it is told to end.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::backend::Backend;
use common::client::{Raw, get};
use common::daemon::Daemon;
use common::{backends, eventually, ingress_object, rule, rules};
use serde_json::json;

/// The program; killed with the test.
struct Program {
    child: Child,
    http: SocketAddr,
    admin: SocketAddr,
}

/// An address where nobody listens now.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Program {
    fn start(directory: &Path) -> Self {
        let (http, https, admin) = (free(), free(), free());
        let config = directory.join("ingress.toml");
        let text = format!(
            "socket = {:?}\nhttp = \"{http}\"\nhttps = \"{https}\"\nhealth = \"{admin}\"\nready = \"{admin}\"\nworkers = 2\n",
            directory.join("ro.sock")
        );
        std::fs::write(&config, text).unwrap();
        // With fewer descriptors than it needs, unless it asks for more.
        let child = Command::new("sh")
            .args(["-c", "ulimit -Sn 256 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_vpod-ingress")])
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self { child, http, admin };
        eventually("the program listens", || TcpStream::connect(http).is_ok());
        program
    }

    fn status(&self, host: &str) -> Option<u16> {
        TcpStream::connect(self.http).ok()?;
        Raw::connect(self.http).try_request("GET", host, "/", &[], b"").ok().map(|reply| reply.status)
    }

    fn terminate(&self) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_follows_the_feed_and_keeps_what_it_knows_while_the_daemon_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ro.sock");
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let web = ingress_object("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let daemon = Daemon::start(&path, 1, vec![backends("web", None, &[one.address]), web.clone()]);
    let program = Program::start(directory.path());
    assert_eq!(get(program.http, "a.example", "/").header("x-name"), Some("one"));
    assert_eq!(get(program.admin, "x", "/ready").status, 200);

    daemon.tell(backends("web", None, &[two.address]));
    eventually("requests go to the other one", || {
        get(program.http, "a.example", "/").header("x-name") == Some("two")
    });

    daemon.die(&path);
    for _ in 0..20 {
        assert_eq!(program.status("a.example"), Some(200));
    }

    // Another daemon knows nothing of the position, and of another host.
    let other = ingress_object("other", json!({}), rules(&[rule("b.example", "/", "web")]));
    let _daemon = Daemon::start(&path, 2, vec![backends("web", None, &[one.address]), other]);
    eventually("the new host is served", || program.status("b.example") == Some(200));
    eventually("the old one is not", || program.status("a.example") == Some(404));
}

#[test]
fn it_takes_more_connections_than_it_is_started_with_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start("one");
    let web = ingress_object("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let changes = vec![backends("web", None, &[backend.address]), web];
    let _daemon = Daemon::start(&directory.path().join("ro.sock"), 1, changes);
    let program = Program::start(directory.path());
    let mut all: Vec<Raw> = (0..400).map(|_| Raw::connect(program.http)).collect();
    for client in &mut all {
        assert_eq!(client.get("a.example", "/").status, 200);
    }
}

#[test]
fn it_ends_in_order_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Backend::start("one");
    let web = ingress_object("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let changes = vec![backends("web", None, &[backend.address]), web];
    let _daemon = Daemon::start(&directory.path().join("ro.sock"), 1, changes);
    let mut program = Program::start(directory.path());
    let mut idle = Raw::connect(program.http);
    assert_eq!(idle.get("a.example", "/").status, 200);
    let mut busy = Raw::connect(program.http);
    busy.send("POST /stream HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    assert_eq!(busy.head().unwrap().0, 200);
    assert_eq!(busy.chunk().unwrap().unwrap(), b"first");

    program.terminate();
    eventually("it is not ready any more", || get(program.admin, "x", "/ready").status == 503);
    eventually("nobody gets in", || TcpStream::connect(program.http).is_err());
    assert!(idle.is_closed());
    busy.send("4\r\nlast\r\n0\r\n\r\n");
    assert_eq!(busy.chunk().unwrap().unwrap(), b"last");
    assert_eq!(busy.chunk().unwrap(), None);
    assert!(busy.is_closed());
    assert!(program.child.wait().unwrap().success());
}
