//! Both ends of a truth table: serves ports by TCP, UDP and SCTP, and tries those of others.
//!
//! ```text
//! prober PORT…
//! ```
//!
//! It says `ready` once it serves. Then, line by line on standard input:
//!
//! - `try WORD…`: a word is `ADDRESS/PROTOCOL/PORT/EXPECTED`, `EXPECTED` is 1 or 0. Tries all at once: until it succeeds if that is
//!   expected, for a moment if not. Answers one line of 1s and 0s, in their order.
//! - `seen`: answers one line of `SOURCE/PROTOCOL/PORT`, whose requests have come here since the last time.
//!
//! SCTP is a header around a few bytes in raw packets: few kernels that tests run on have the protocol.

use std::collections::BTreeSet;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, socket,
};

/// For what is expected to succeed.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what is expected to fail: far longer than what succeeds takes.
const MOMENT: Duration = Duration::from_millis(150);
/// Between two datagrams of one try: one may be lost while addresses are resolved.
const AGAIN: Duration = Duration::from_millis(100);
const SCTP_HEADER: usize = 12;
const REQUEST: &[u8; 4] = b"ping";
const ANSWER: &[u8; 4] = b"pong";

/// An answer that comes late is none of the next try's.
static NEXT: AtomicU16 = AtomicU16::new(0);

type Seen = Arc<Mutex<BTreeSet<String>>>;

fn main() -> anyhow::Result<()> {
    let ports = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<Vec<u16>, _>>()?;
    let seen = Seen::default();
    for port in &ports {
        serve_tcp(*port, &seen)?;
        serve_udp(*port, &seen)?;
    }
    let sctp = Arc::new(Sctp::open(ports, &seen)?);
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let answer = match words.next() {
            Some("try") => try_all(words, &sctp)?,
            Some("seen") => {
                let seen =
                    std::mem::take(&mut *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
                seen.into_iter().collect::<Vec<_>>().join(" ")
            }
            other => bail!("{other:?} is no command"),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn note(seen: &Seen, source: IpAddr, protocol: &str, port: u16) {
    let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    seen.insert(format!("{source}/{protocol}/{port}"));
}

fn serve_tcp(port: u16, seen: &Seen) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if let Ok(peer) = stream.peer_addr() {
                note(&seen, peer.ip(), "tcp", port);
            }
            let _ = stream.write_all(ANSWER);
        }
    });
    Ok(())
}

fn serve_udp(port: u16, seen: &Seen) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            note(&seen, from.ip(), "udp", port);
            let _ = socket.send_to(ANSWER, from);
        }
    });
    Ok(())
}

/// Who waits for an answer of SCTP: address and port of the other end, own port.
type Waiting = Arc<Mutex<Vec<((Ipv4Addr, u16, u16), Sender<()>)>>>;

struct Sctp {
    socket: Arc<OwnedFd>,
    waiting: Waiting,
}

impl Sctp {
    fn open(ports: Vec<u16>, seen: &Seen) -> anyhow::Result<Self> {
        let (family, kind) = (AddressFamily::Inet, SockType::Raw);
        let raw = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp)
            .context("a raw socket of SCTP")?;
        let this = Self { socket: Arc::new(raw), waiting: Waiting::default() };
        let (socket, waiting, seen) = (Arc::clone(&this.socket), Arc::clone(&this.waiting), Arc::clone(seen));
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok(len) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                let Some(packet) = buffer.get(..len).and_then(SctpPacket::read) else { continue };
                if packet.is_request && ports.contains(&packet.to) {
                    note(&seen, packet.source.into(), "sctp", packet.to);
                    let _ = send(&socket, packet.source, packet.to, packet.from, ANSWER);
                } else if !packet.is_request {
                    let key = (packet.source, packet.from, packet.to);
                    let waiting = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    for (_, sender) in waiting.iter().filter(|(waiting, _)| *waiting == key) {
                        let _ = sender.send(());
                    }
                }
            }
        });
        Ok(this)
    }

    fn wait_for(&self, key: (Ipv4Addr, u16, u16)) -> Receiver<()> {
        let (sender, receiver) = channel();
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((key, sender));
        receiver
    }
}

struct SctpPacket {
    source: Ipv4Addr,
    from: u16,
    to: u16,
    is_request: bool,
}

impl SctpPacket {
    /// From the IP header on, as raw sockets have it.
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = usize::from(bytes.first()? & 0x0f) * 4;
        let source: [u8; 4] = bytes.get(12..16)?.try_into().ok()?;
        let sctp = bytes.get(header..)?;
        let port = |at: usize| Some(u16::from_be_bytes(sctp.get(at..at + 2)?.try_into().ok()?));
        let is_request = sctp.get(SCTP_HEADER..SCTP_HEADER + 4)? == REQUEST;
        Some(Self { source: source.into(), from: port(0)?, to: port(2)?, is_request })
    }
}

fn send(socket: &OwnedFd, to: Ipv4Addr, from_port: u16, to_port: u16, payload: &[u8]) -> nix::Result<usize> {
    // Ports, verification tag, and a checksum that nobody looks at between the ends.
    let mut packet = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
    packet.resize(SCTP_HEADER, 0);
    packet.extend_from_slice(payload);
    let address = SockaddrIn::from(std::net::SocketAddrV4::new(to, 0));
    sendto(socket.as_raw_fd(), &packet, &address, MsgFlags::empty())
}

fn try_all<'a>(words: impl Iterator<Item = &'a str>, sctp: &Arc<Sctp>) -> anyhow::Result<String> {
    let mut tries = Vec::new();
    for word in words {
        let parts: Vec<&str> = word.split('/').collect();
        let [address, protocol, port, expected] = parts[..] else { bail!("{word} is nothing to try") };
        let (address, port): (Ipv4Addr, u16) = (address.parse()?, port.parse()?);
        let patience = if expected == "1" { PATIENCE } else { MOMENT };
        let own_port = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 50_000;
        let (protocol, sctp) = (protocol.to_owned(), Arc::clone(sctp));
        tries.push(thread::spawn(move || match &*protocol {
            "tcp" => try_tcp(address, port, patience),
            "udp" => try_udp(address, port, patience),
            _ => try_sctp(&sctp, address, port, own_port, patience),
        }));
    }
    let succeeded = tries.into_iter().map(|one| one.join().is_ok_and(|succeeded| succeeded));
    Ok(succeeded.map(|succeeded| if succeeded { '1' } else { '0' }).collect())
}

fn try_tcp(address: Ipv4Addr, port: u16, patience: Duration) -> bool {
    let place = SocketAddr::from((address, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&place, patience) else { return false };
    let _ = stream.set_read_timeout(Some(patience));
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).is_ok()
}

fn try_udp(address: Ipv4Addr, port: u16, patience: Duration) -> bool {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return false };
    let _ = socket.set_read_timeout(Some(AGAIN));
    let deadline = Instant::now() + patience;
    let mut answer = [0; 4];
    while Instant::now() < deadline {
        let _ = socket.send_to(REQUEST, (address, port));
        if socket.recv_from(&mut answer).is_ok() {
            return true;
        }
    }
    false
}

fn try_sctp(sctp: &Sctp, address: Ipv4Addr, port: u16, own_port: u16, patience: Duration) -> bool {
    let answer = sctp.wait_for((address, port, own_port));
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        let _ = send(&sctp.socket, address, own_port, port, REQUEST);
        match answer.recv_timeout(AGAIN) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
    false
}
