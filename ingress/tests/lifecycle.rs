//! What changes while requests are under way: routes, endpoints, certificates, and the process itself.

mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::backend::Backend;
use common::client::{Raw, get};
use common::{Bed, eventually, rule, rules};
use serde_json::json;
use vpod_ingress::{Ingress, Scheme};

/// Clients that ask without a pause, half of them on new connections.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..4).map(|n| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || client(address, n % 2 == 0, &stop, &done))
        });
        Self { clients: clients.collect(), stop, done }
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// What went wrong.
    fn failures(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    }
}

fn client(address: SocketAddr, keep: bool, stop: &AtomicBool, done: &AtomicUsize) -> Vec<String> {
    let mut failures = Vec::new();
    let mut kept = Raw::connect(address);
    while !stop.load(Ordering::Relaxed) {
        if !keep {
            kept = Raw::connect(address);
        }
        match kept.try_request("GET", "a.example", "/", &[], b"") {
            Ok(reply) if reply.status == 200 => {
                done.fetch_add(1, Ordering::Relaxed);
                // A server that is going away says so; a polite client listens.
                if reply.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) {
                    kept = Raw::connect(address);
                }
            }
            Ok(reply) => failures.push(format!("{} {}", reply.status, reply.text())),
            Err(error) => {
                failures.push(error.to_string());
                kept = Raw::connect(address);
            }
        }
    }
    failures
}

fn websocket(address: SocketAddr) -> Raw {
    let mut client = Raw::connect(address);
    client.send("GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.reply().status, 101);
    client
}

#[track_caller]
fn echoes(client: &mut Raw) {
    client.send("ping!");
    let mut echo = [0; 5];
    client.stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"ping!");
}

#[test]
fn no_request_fails_and_no_websocket_is_cut_by_500_route_changes() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let mut sockets: Vec<Raw> = (0..20).map(|_| websocket(bed.http)).collect();
    let load = Load::start(bed.http);
    for n in 0..500 {
        let other = format!("h{}.example", n % 50);
        bed.route("web", json!({}), rules(&[rule("a.example", "/", "web"), rule(&other, "/", "web")]));
        if n % 100 == 0 {
            sockets.iter_mut().for_each(echoes);
        }
    }
    eventually("requests were made", || load.done() > 100);
    sockets.iter_mut().for_each(echoes);
    assert_eq!(load.failures(), Vec::<String>::new());
    assert!(bed.metric("ingress_reloads_total") >= 500.0);
}

#[test]
fn no_request_fails_while_endpoints_roll() {
    let bed = Bed::new();
    let mut endpoints: Vec<Backend> = (0..3).map(|n| Backend::start(&format!("n{n}"))).collect();
    let addresses = |all: &[Backend]| all.iter().map(|b| b.address).collect::<Vec<_>>();
    bed.service("web", &addresses(&endpoints));
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let load = Load::start(bed.http);
    for n in 3..23 {
        endpoints.push(Backend::start(&format!("n{n}")));
        bed.service("web", &addresses(&endpoints));
        let oldest = endpoints.remove(0);
        // every second pod ends before the ingress is told, as pods do that crash
        if n % 2 == 0 {
            oldest.stop();
            std::thread::sleep(Duration::from_millis(20));
        }
        bed.service("web", &addresses(&endpoints));
        oldest.stop();
        let before = load.done();
        eventually("requests go on", || load.done() > before + 20);
    }
    assert_eq!(load.failures(), Vec::<String>::new());
}

fn certificate(name: &str) -> (String, String, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem(), certificate.der().to_vec())
}

#[test]
fn certificates_are_chosen_by_name_and_replaced_under_open_connections() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    let (a, b, newer) = (certificate("a.example"), certificate("b.example"), certificate("a.example"));
    bed.apply(vec![common::secret("a", &a.0, &a.1), common::secret("b", &b.0, &b.1)]);
    let mut spec = rules(&[rule("a.example", "/", "web"), rule("b.example", "/", "web")]);
    spec["tls"] =
        json!([{"hosts": ["a.example"], "secretName": "a"}, {"hosts": ["b.example"], "secretName": "b"}]);
    bed.route("web", json!({}), spec);
    let mut open = Raw::tls(bed.https, "a.example");
    assert_eq!(open.certificate.as_ref(), Some(&a.2));
    assert_eq!(Raw::tls(bed.https, "b.example").certificate.as_ref(), Some(&b.2));
    let fallback = Raw::tls(bed.https, "c.example").certificate.unwrap();
    assert!(fallback != a.2 && fallback != b.2);
    assert_eq!(open.get("a.example", "/").status, 200);
    bed.apply(vec![common::secret("a", &newer.0, &newer.1)]);
    assert_eq!(open.get("a.example", "/").status, 200);
    assert_eq!(Raw::tls(bed.https, "a.example").certificate.as_ref(), Some(&newer.2));
    assert_eq!(open.get("a.example", "/").status, 200);
}

#[test]
fn a_bad_object_changes_nothing() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let mut bad = rule("a.example", "no-slash", "web");
    bad["http"]["paths"][0]["pathType"] = json!("Exact");
    bed.apply(vec![common::ingress_object("web", json!({}), rules(&[bad]))]);
    assert!(bed.ingress.problems()[0].contains("web"), "{:?}", bed.ingress.problems());
    assert_eq!(get(bed.http, "a.example", "/").status, 200);
}

#[test]
fn draining_ends_idle_connections_and_lets_requests_end() {
    let (bed, backend) = (Bed::new(), Backend::start("one"));
    bed.service("web", &[backend.address]);
    bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    let mut idle = Raw::connect(bed.http);
    assert_eq!(idle.get("a.example", "/").status, 200);
    let mut busy = Raw::connect(bed.http);
    busy.send("GET /slow/1000 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    eventually("it is under way", || backend.count() == 2);
    bed.ingress.drain();
    assert!(idle.is_closed());
    assert_eq!(busy.reply().status, 200);
    bed.ingress.join();
    assert!(std::net::TcpStream::connect(bed.http).is_err());
}

#[test]
fn an_upgrade_hands_the_listeners_over_and_no_request_fails() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handover.sock");
    let backend = Backend::start("one");
    let set = |s: &mut vpod_ingress::Settings| {
        s.handover = Some(path.clone());
        s.metrics = Some("127.0.0.1:0".parse().unwrap());
    };
    let first = Bed::with(set);
    let prepare = |bed: &Bed| {
        bed.service("web", &[backend.address]);
        bed.route("web", json!({}), rules(&[rule("a.example", "/", "web")]));
    };
    prepare(&first);
    let mut open = websocket(first.http);
    let load = Load::start(first.http);
    eventually("requests are made", || load.done() > 50);
    // The tables must be there before the first connection is: a program gets them from its feed before it takes over.
    let mut settings = common::settings();
    set(&mut settings);
    let second = Ingress::start_with(settings, |ingress| {
        let bed = std::mem::ManuallyDrop::new(Bed {
            ingress: Arc::clone(ingress),
            http: first.http,
            https: first.https,
            admin: first.admin,
        });
        prepare(&bed);
        Ok(())
    })
    .unwrap();
    assert_eq!(second.addresses(Scheme::Http), [first.http]);
    eventually("the first lets go", || first.ingress.is_handed_over());
    let before = load.done();
    eventually("requests go on", || load.done() > before + 100);
    echoes(&mut open);
    assert_eq!(load.failures(), Vec::<String>::new());
    second.drain();
}
