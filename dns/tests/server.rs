//! The whole server on loopback, told of a cluster by a `vswitchd` that is played here: over UDP and TCP, before it knows anything,
//! while it does, with hostile clients, and to its end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use protocol::codec::{self, MAX_ADMIN_FRAME_BYTES};
use protocol::feed::{
    Changes, FeedChange, FeedPosition, NameChange, NameTarget, NamedEndpoint, NamedPort, NamedService,
};
use protocol::link::Transport;
use protocol::message::{ReadRequest, Response};
use vpod_dns::config::Config;
use vpod_dns::run::Server;

const PATIENCE: Duration = Duration::from_secs(20);

/// Plays `vswitchd`: answers each request with the changes that come by the channel.
fn play_vswitchd(path: &std::path::Path, news: Receiver<Changes>) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        codec::read_preamble(&mut stream).unwrap();
        codec::write_preamble(&mut stream).unwrap();
        let mut sequence = 0;
        while let Ok(ReadRequest::Follow(_)) = codec::read_frame(&mut stream, MAX_ADMIN_FRAME_BYTES) {
            let Ok(changes) = news.recv() else { return };
            sequence += 1;
            for response in
                [Response::Changes(changes), Response::Followed(FeedPosition { instance: 1, sequence })]
            {
                codec::write_frame(&mut stream, &response, MAX_ADMIN_FRAME_BYTES).unwrap();
            }
        }
    });
}

struct Bed {
    server: Option<Server>,
    address: SocketAddr,
    news: Sender<Changes>,
    _directory: tempfile::TempDir,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Bed {
    fn start(adjust: impl Fn(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (news, receiver) = channel();
        let socket = directory.path().join("ro.sock");
        play_vswitchd(&socket, receiver);
        // A free port may be taken by another test before it is used: then others are tried.
        let server = (0..20).find_map(|_| {
            let mut config = Config {
                socket: socket.clone(),
                listen: vec![free_address()],
                health: free_address(),
                ready: free_address(),
                metrics: free_address(),
                workers: 2,
                ..Config::default()
            };
            adjust(&mut config);
            Server::start(&config).ok()
        });
        let server = server.unwrap();
        let address = server.addresses()[0];
        Self { server: Some(server), address, news, _directory: directory }
    }

    fn tell(&self, from_scratch: bool, changes: Vec<NameChange>) {
        let changes = changes.into_iter().map(FeedChange::Name).collect();
        self.news.send(Changes { from_scratch, changes }).unwrap();
    }

    fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self, name: &str, kind: RecordType) -> Message {
        let socket = self.udp();
        socket.send(&query(1, name, kind, None)).unwrap();
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..len]).unwrap()
    }

    /// Asks until the answer has `count` records.
    fn wait_for(&self, name: &str, count: usize) -> Message {
        let begun = Instant::now();
        loop {
            let answer = self.ask(name, RecordType::A);
            if answer.answers.len() == count && answer.metadata.response_code != ResponseCode::ServFail {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "{answer:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

fn query(id: u16, name: &str, kind: RecordType, udp_bytes: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(size) = udp_bytes {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

fn read_framed(stream: &mut TcpStream) -> Message {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).unwrap();
    Message::from_vec(&message).unwrap()
}

fn web(last: u8) -> NameChange {
    NameChange::Service(NamedService {
        namespace: "default".parse().unwrap(),
        name: "web".parse().unwrap(),
        target: NameTarget::Cluster {
            addresses: vec![[10, 96, 0, last].into()],
            ports: vec![NamedPort { name: Some("http".to_owned()), transport: Transport::Tcp, number: 80 }],
        },
    })
}

fn many(endpoints: u8) -> NameChange {
    let endpoint = |last| NamedEndpoint {
        address: [10, 244, 0, last].into(),
        hostname: None,
        pod: None,
        ports: vec![NamedPort { name: None, transport: Transport::Tcp, number: 80 }],
    };
    NameChange::Service(NamedService {
        namespace: "default".parse().unwrap(),
        name: "many".parse().unwrap(),
        target: NameTarget::Headless { endpoints: (0..endpoints).map(endpoint).collect() },
    })
}

const WEB: &str = "web.default.svc.cluster.local.";
const MANY: &str = "many.default.svc.cluster.local.";

#[test]
fn nothing_is_said_before_anything_is_known_and_then_the_truth() {
    let bed = Bed::start(|_| {});
    assert_eq!(bed.ask(WEB, RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(bed.ask("example.com.", RecordType::A).metadata.response_code, ResponseCode::Refused);
    let ready = |bed: &Bed| vpod_dns::server::http::Page::Ready.text(bed.server.as_ref().unwrap().shared()).0;
    assert_eq!(ready(&bed), 503);
    bed.tell(true, vec![web(1)]);
    let answer = bed.wait_for(WEB, 1);
    assert_eq!(answer.answers[0].data.to_string(), "10.96.0.1");
    assert_eq!(ready(&bed), 200);
    bed.tell(false, vec![many(3)]);
    bed.wait_for(MANY, 3);
    bed.tell(true, vec![web(1)]);
    assert_eq!(bed.wait_for(MANY, 0).metadata.response_code, ResponseCode::NXDomain);
    let metrics = vpod_dns::server::http::Page::Metrics.text(bed.server.as_ref().unwrap().shared()).1;
    for line in [
        "coredns_dns_requests_total{server=\"dns://:53\",zone=\"cluster.local.\",view=\"\",proto=\"udp\",family=\"1\",type=\"A\"}",
        "rcode=\"NXDOMAIN\",plugin=\"kubernetes\"}",
        "coredns_dns_request_duration_seconds_bucket",
        "vpod_dns_synced 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn large_answers_are_cut_off_over_udp_and_whole_over_tcp() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![many(200)]);
    // 512 bytes without header and question, at 16 bytes an address.
    let plain = bed.wait_for(MANY, 29);
    assert!(plain.metadata.truncation);
    for (size, limit) in [(0, 512), (512, 512), (1000, 1000), (1232, 1232), (65_535, 1232)] {
        let socket = bed.udp();
        socket.send(&query(2, MANY, RecordType::A, Some(size))).unwrap();
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        assert!(len <= limit && len > limit - 16, "{size}: {len}");
        let answer = Message::from_vec(&buffer[..len]).unwrap();
        assert!(answer.metadata.truncation && answer.edns.is_some());
    }
    let mut stream = bed.tcp();
    stream.write_all(&framed(&query(3, MANY, RecordType::SRV, None))).unwrap();
    let whole = read_framed(&mut stream);
    assert!(!whole.metadata.truncation);
    assert_eq!((whole.answers.len(), whole.additionals.len()), (200, 200));
    // Pipelined, and in pieces of one byte.
    let mut both = framed(&query(4, MANY, RecordType::A, None));
    both.extend(framed(&query(5, MANY, RecordType::AAAA, None)));
    for byte in both {
        stream.write_all(&[byte]).unwrap();
    }
    let ids = [read_framed(&mut stream).metadata.id, read_framed(&mut stream).metadata.id];
    assert_eq!(ids, [4, 5]);
}

#[test]
fn every_address_is_first_sometimes() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![many(4)]);
    bed.wait_for(MANY, 4);
    let firsts: std::collections::BTreeSet<_> =
        (0..64).map(|_| bed.ask(MANY, RecordType::A).answers[0].data.to_string()).collect();
    assert_eq!(firsts.len(), 4, "{firsts:?}");
}

#[test]
fn names_outside_are_forwarded_kept_and_aliases_completed() {
    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let (sender, asked) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, from)) = upstream.recv_from(&mut buffer) {
            let mut message = Message::from_vec(&buffer[..len]).unwrap();
            let name = message.queries[0].name.clone();
            message.metadata.message_type = MessageType::Response;
            if message.queries[0].query_type == RecordType::A {
                let data = hickory_proto::rr::RData::A(hickory_proto::rr::rdata::A::new(192, 0, 2, 1));
                message.answers = vec![hickory_proto::rr::Record::from_rdata(name.clone(), 60, data)];
                let _ = sender.send(name.to_lowercase().to_string());
            }
            let _ = upstream.send_to(&message.to_vec().unwrap(), from);
        }
    });
    let bed = Bed::start(move |config| config.upstreams = vec![address.to_string()]);
    let alias = NameChange::Service(NamedService {
        namespace: "default".parse().unwrap(),
        name: "out".parse().unwrap(),
        target: NameTarget::External { name: "www.example".to_owned() },
    });
    bed.tell(true, vec![alias, web(1)]);
    bed.wait_for(WEB, 1);
    let answer = bed.ask("Host.Example.", RecordType::A);
    assert!(answer.queries[0].name.eq_case(&Name::from_ascii("Host.Example.").unwrap()));
    assert!(answer.metadata.recursion_available && !answer.metadata.authoritative);
    assert_eq!(answer.answers[0].data.to_string(), "192.0.2.1");
    assert_eq!(bed.ask("host.example.", RecordType::A).answers.len(), 1);
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), ["host.example."], "the second was known");
    let alias = bed.ask("out.default.svc.cluster.local.", RecordType::A);
    let texts: Vec<_> = alias.answers.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(texts, ["www.example.", "192.0.2.1"]);
}

#[test]
fn a_dead_upstream_does_not_touch_the_clusters_names() {
    // Bound, and never read.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let bed = Bed::start(move |config| config.upstreams = vec![address.to_string()]);
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let outside = bed.udp();
    for id in 0..500 {
        outside.send(&query(id, &format!("n{id}.example."), RecordType::A, None)).unwrap();
    }
    for _ in 0..50 {
        assert_eq!(bed.ask(WEB, RecordType::A).answers.len(), 1);
    }
    let mut buffer = [0; 512];
    let len = outside.recv(&mut buffer).unwrap();
    let answer = Message::from_vec(&buffer[..len]).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn hostile_messages_are_refused_or_ignored_and_never_answered_at_length() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![web(1), many(200)]);
    bed.wait_for(WEB, 1);
    let good = query(9, WEB, RecordType::A, Some(1232));
    let socket = bed.udp();
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let mut buffer = [0; 65_535];
    socket.set_nonblocking(true).unwrap();
    for round in 0..4000 {
        let mut bytes = good.clone();
        if round % 4 == 0 {
            bytes = (0..random() % 600).map(|_| u8::try_from(random() % 256).unwrap()).collect();
        } else {
            for _ in 0..=random() % 4 {
                let at = random() % bytes.len();
                bytes[at] = u8::try_from(random() % 256).unwrap();
            }
            bytes.truncate(bytes.len() - (random() % bytes.len()) * (round % 2));
        }
        socket.send(&bytes).unwrap();
        while let Ok(len) = socket.recv(&mut buffer) {
            assert!(len <= 1232);
            assert!(Message::from_vec(&buffer[..len]).is_ok(), "{:?}", &buffer[..len]);
        }
    }
    // Longer than any query.
    socket.send(&[0; 9000]).unwrap();
    assert_eq!(bed.ask(WEB, RecordType::A).answers.len(), 1);
    for (kind, class_chaos) in [(RecordType::TXT, true), (RecordType::AXFR, false), (RecordType::IXFR, false)]
    {
        let mut bytes = query(1, "cluster.local.", kind, None);
        if class_chaos {
            *bytes.last_mut().unwrap() = 3;
        }
        let socket = bed.udp();
        socket.send(&bytes).unwrap();
        let len = socket.recv(&mut buffer).unwrap();
        let answer = Message::from_vec(&buffer[..len]).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{kind}");
    }
}

#[test]
fn slow_and_many_connections_hold_nobody_up() {
    let bed = Bed::start(|_| {});
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let mut slow: Vec<_> = (0..100).map(|_| bed.tcp()).collect();
    for stream in &mut slow {
        stream.write_all(&[0, 50, 1]).unwrap();
    }
    let mut stream = bed.tcp();
    stream.write_all(&framed(&query(1, WEB, RecordType::A, None))).unwrap();
    assert_eq!(read_framed(&mut stream).answers.len(), 1);
    drop(stream);
    // One address has 128 places; beyond, connections end at once, and UDP goes on.
    let more: Vec<_> = (0..200).map(|_| TcpStream::connect(bed.address)).collect();
    assert_eq!(bed.ask(WEB, RecordType::A).answers.len(), 1);
    let connections = &bed.server.as_ref().unwrap().shared().connections;
    assert!(connections.load(std::sync::atomic::Ordering::Relaxed) <= vpod_dns::server::tcp::MAX_OF_ONE);
    drop(more);
    // What answers itself is no client.
    let mut stream = slow.pop().unwrap();
    drop(slow);
    stream.write_all(&[0; 49]).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

#[test]
fn whoever_has_not_heard_of_the_end_is_answered() {
    let mut bed = Bed::start(|_| {});
    bed.tell(true, vec![web(1)]);
    bed.wait_for(WEB, 1);
    let server = bed.server.take().unwrap();
    thread::scope(|scope| {
        let leaving = scope.spawn(|| server.leave(Duration::from_millis(300)));
        while !leaving.is_finished() {
            assert_eq!(bed.ask(WEB, RecordType::A).answers.len(), 1);
        }
    });
    assert_eq!(vpod_dns::server::http::Page::Ready.text(server.shared()).0, 503);
    server.stop();
}
