//! What connections cost that say nothing: alone in its process, whose memory it measures.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::backend::Backend;
use common::client::get;
use common::{Bed, resident_bytes, rule, rules};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

/// The clients are in this process too; what they hold is counted against the ingress.
#[test]
fn thousands_of_idle_connections_cost_little() {
    const COUNT: usize = 9500;
    // Both ends are here; 20,000 is what containers commonly may have.
    let wanted = 2 * COUNT as u64 + 500;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard).expect("as many descriptors may be had");
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    get(bed.http, "a.example", "/");
    let before = resident_bytes();
    let mut idle: Vec<TcpStream> = Vec::new();
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(bed.http).unwrap();
        stream.write_all(b"GET /bytes/10 HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        idle.push(stream);
    }
    let each = resident_bytes().saturating_sub(before) / COUNT;
    assert!(each <= 20 << 10, "{each} bytes for each idle connection");
    assert_eq!(get(bed.http, "a.example", "/").status, 200);
}
