//! A server on loopback, told of a cluster by a `vswitchd` that is played here.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
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
use vpod_dns::server::Shared;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

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

pub(crate) struct Bed {
    pub(crate) server: Option<Server>,
    pub(crate) address: SocketAddr,
    pub(crate) health: SocketAddr,
    news: Sender<Changes>,
    _directory: tempfile::TempDir,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Bed {
    pub(crate) fn start(adjust: impl Fn(&mut Config)) -> Self {
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
            Server::start(&config).ok().map(|server| (server, config.health))
        });
        let (server, health) = server.unwrap();
        let address = server.addresses()[0];
        Self { server: Some(server), address, health, news, _directory: directory }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(self.server.as_ref().unwrap().shared())
    }

    pub(crate) fn tell(&self, from_scratch: bool, changes: Vec<NameChange>) {
        let changes = changes.into_iter().map(FeedChange::Name).collect();
        self.news.send(Changes { from_scratch, changes }).unwrap();
    }

    pub(crate) fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn ask(&self, name: &str, kind: RecordType) -> Message {
        let socket = self.udp();
        socket.send(&query(1, name, kind, None)).unwrap();
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..len]).unwrap()
    }

    /// Asks until the answer has `count` records.
    pub(crate) fn wait_for(&self, name: &str, count: usize) -> Message {
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

pub(crate) fn query(id: u16, name: &str, kind: RecordType, udp_bytes: Option<u16>) -> Vec<u8> {
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

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

pub(crate) fn read_framed(stream: &mut TcpStream) -> Message {
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut message).unwrap();
    Message::from_vec(&message).unwrap()
}

pub(crate) fn web(last: u8) -> NameChange {
    NameChange::Service(NamedService {
        namespace: "default".parse().unwrap(),
        name: "web".parse().unwrap(),
        target: NameTarget::Cluster {
            addresses: vec![[10, 96, 0, last].into()],
            ports: vec![NamedPort { name: Some("http".to_owned()), transport: Transport::Tcp, number: 80 }],
        },
    })
}

pub(crate) fn many(endpoints: u8) -> NameChange {
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

pub(crate) const WEB: &str = "web.default.svc.cluster.local.";
pub(crate) const MANY: &str = "many.default.svc.cluster.local.";

/// A server for names outside, which says each name that it is asked for the address of, and answers those that `answers` says.
pub(crate) fn upstream(answers: impl Fn(&str) -> bool + Send + 'static) -> (SocketAddr, Receiver<String>) {
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
            if answers(&name.to_lowercase().to_string()) {
                let _ = upstream.send_to(&message.to_vec().unwrap(), from);
            }
        }
    });
    (address, asked)
}
