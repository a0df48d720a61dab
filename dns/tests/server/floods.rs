//! Floods of real sockets beside polite clients, who are answered all the same. What is counted is answers, never time: a polite client
//! asks again as resolvers do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use socket2::{Domain, Socket, Type};

use crate::bed::{self, Bed, WEB, framed, query, read_framed, web};

/// Before a polite client asks again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it asks for one answer.
const ATTEMPTS: usize = 10;

/// Sends from threads of its own until dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Flood {
    fn start(threads: usize, flood: impl Fn(u64) + Send + Sync + Clone + 'static) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..threads)
            .map(|_| {
                let (stop, sent, flood) = (Arc::clone(&stop), Arc::clone(&sent), flood.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        flood(sent.fetch_add(1, Ordering::Relaxed));
                    }
                })
            })
            .collect();
        Self { stop, sent, threads }
    }

    /// Of queries over UDP, from `source` and many ports.
    fn udp(
        source: &str,
        server: SocketAddr,
        message: impl Fn(u64) -> Vec<u8> + Send + Sync + Clone + 'static,
    ) -> Self {
        let sockets: Arc<Vec<_>> = Arc::new(
            (0..16)
                .map(|_| {
                    let socket = UdpSocket::bind((source, 0)).unwrap();
                    socket.connect(server).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket
                })
                .collect(),
        );
        Self::start(2, move |turn| {
            let at = usize::try_from(turn).unwrap() % sockets.len();
            // What the kernel does not take is a flood's own matter.
            let _ = sockets[at].send(&message(turn));
            let _ = sockets[at].recv(&mut [0; 2048]);
        })
    }

    /// Waits until it has sent so much.
    fn reaches(&self, sent: u64) {
        while self.sent.load(Ordering::Relaxed) < sent {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// Asks from `source`, again if there is no answer in time; the answer's code and number of records.
fn ask_politely(source: &str, server: SocketAddr, name: &str) -> Option<(ResponseCode, usize)> {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    let mut buffer = [0; 2048];
    let mut last = None;
    for _ in 0..ATTEMPTS {
        socket.send(&query(7, name, RecordType::A, None)).unwrap();
        if let Ok(len) = socket.recv(&mut buffer) {
            let answer = Message::from_vec(&buffer[..len]).unwrap();
            let code = answer.metadata.response_code;
            last = Some((code, answer.answers.len()));
            // That is for the other server's sake, which a slow machine may keep from answering.
            if code != ResponseCode::ServFail {
                break;
            }
        }
    }
    last
}

fn connect(source: &str, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

#[test]
fn a_flood_over_udp_leaves_the_polite_their_answers() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    // Names that there are, and that there are not.
    let messages: [fn(u64) -> Vec<u8>; 2] = [
        |_| query(1, WEB, RecordType::A, Some(1232)),
        |turn| query(1, &format!("n{turn}.default.svc.cluster.local."), RecordType::A, Some(1232)),
    ];
    for message in messages {
        let flood = Flood::udp("127.0.0.2", bed.address, message);
        flood.reaches(10_000);
        for _ in 0..50 {
            assert_eq!(ask_politely("127.0.0.3", bed.address, WEB), Some((ResponseCode::NoError, 1)));
        }
    }
}

#[test]
fn a_flood_of_names_outside_leaves_the_polite_their_places_and_the_memory_bounded() {
    let (upstream, _) = bed::upstream(|name| !name.starts_with("stalled"));
    let bed = Bed::start(move |config| {
        config.upstreams = vec![upstream.to_string()];
        config.max_concurrent = 64;
        config.cache_entries = 1000;
    });
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let shared = bed.shared();
    // Every one of them is another name; a server that does not answer some is not asked no more.
    let flood = Flood::udp("127.0.0.2", bed.address, |turn| {
        query(1, &format!("n{turn}.flood.example."), RecordType::A, None)
    });
    flood.reaches(20_000);
    for turn in 0..30 {
        let name = format!("polite{turn}.example.");
        assert_eq!(ask_politely("127.0.0.3", bed.address, &name), Some((ResponseCode::NoError, 1)), "{name}");
        assert_eq!(ask_politely("127.0.0.3", bed.address, WEB), Some((ResponseCode::NoError, 1)));
        assert!(shared.waiting.held() <= 64 && shared.outside.under_way() <= 64);
        // Rounded up to its shards.
        assert!(shared.outside.cache().len() <= 1000 + 64, "{}", shared.outside.cache().len());
    }
    assert!(shared.outside.cache().len() > 500, "the flood got there");
}

#[test]
fn one_clients_stalled_questions_leave_places_for_others() {
    // Silent for some names: who asks for them waits for two seconds.
    let (upstream, _) = bed::upstream(|name| !name.starts_with("stalled"));
    let bed = Bed::start(move |config| {
        config.upstreams = vec![upstream.to_string()];
        config.max_concurrent = 32;
    });
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let flood = Flood::udp("127.0.0.2", bed.address, |turn| {
        query(1, &format!("stalled{turn}.example."), RecordType::A, None)
    });
    flood.reaches(5000);
    for turn in 0..5 {
        let name = format!("polite{turn}.example.");
        assert_eq!(ask_politely("127.0.0.3", bed.address, &name), Some((ResponseCode::NoError, 1)), "{name}");
        assert_eq!(ask_politely("127.0.0.3", bed.address, WEB), Some((ResponseCode::NoError, 1)));
    }
    assert!(bed.shared().waiting.refused() > 0, "the flood was refused");
}

#[test]
fn many_slow_connections_of_one_client_leave_places_for_others() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let slow = |source: &str| -> Vec<TcpStream> {
        let slow = |_| {
            let mut stream = connect(source, bed.address).ok()?;
            stream.write_all(&[0, 50, 1]).ok()?;
            Some(stream)
        };
        (0..300).filter_map(slow).collect()
    };
    let held: Vec<_> = ["127.0.0.2", "127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"].map(slow).into();
    let connections = &bed.shared().connections;
    assert!(connections.held() < vpod_dns::server::tcp::MAX_CONNECTIONS, "some are left");
    let mut polite = connect("127.0.0.3", bed.address).unwrap();
    polite.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    polite.write_all(&framed(&query(1, WEB, RecordType::A, None))).unwrap();
    assert_eq!(read_framed(&mut polite).answers.len(), 1);
    drop(held);
    // Longer than any query.
    let mut stream = bed.tcp();
    stream.write_all(&[0xff, 0xff, 0]).unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap_or_default(), 0, "it is closed");
}

#[test]
fn slow_readers_of_pages_keep_no_probe_from_its_answer() {
    let bed = Bed::start(|_| {});
    let health = bed.health;
    let slow: Vec<_> = (0..200).filter_map(|_| TcpStream::connect(health).ok()).collect();
    // The places of one client are half; those that are slow are closed after a while, so it is asked again.
    let fetched = (0..ATTEMPTS).any(|_| {
        let mut stream = connect("127.0.0.3", health).unwrap();
        stream.set_read_timeout(Some(AGAIN)).unwrap();
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        text.starts_with(b"HTTP/1.1 200 OK\r\n")
    });
    assert!(fetched);
    drop(slow);
}
