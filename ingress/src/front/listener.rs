//! Listening sockets: one per address and worker, and how a successor gets them.
//!
//! Each worker has a socket of its own at each address (`SO_REUSEPORT`), so that the kernel spreads connections.
//! A connection that the kernel has accepted for a socket is lost if that socket is closed; so an upgrade passes the
//! sockets themselves to the successor, over a Unix socket, before the predecessor lets go of them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use netdev::seqpacket;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, per socket; the kernel caps it by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Description of listeners in one message.
const MAX_MESSAGE_BYTES: usize = 32 << 10;
/// How long a predecessor may take to answer.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is served on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) scheme: Scheme,
    /// As configured: what a successor looks for.
    pub(crate) configured: SocketAddr,
    pub(crate) socket: TcpListener,
}

/// What is said about a listener that is passed on.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    scheme: Scheme,
    configured: SocketAddr,
}

impl Listener {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { scheme: self.scheme, configured: self.configured, socket: self.socket.try_clone()? })
    }
}

/// Opens `count` sockets at an address. With port 0 they share the one that the first is given.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn open(scheme: Scheme, configured: SocketAddr, count: usize) -> io::Result<Vec<Listener>> {
    let mut listeners: Vec<Listener> = Vec::with_capacity(count);
    for _ in 0..count {
        let address = match listeners.first() {
            Some(first) => first.socket.local_addr()?,
            None => configured,
        };
        listeners.push(Listener { scheme, configured, socket: bind(address)? });
    }
    Ok(listeners)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Asks the process that listens on `path` for its listeners. None if there is no such process.
///
/// # Errors
/// When there is one, and it does not answer as it should.
pub(crate) fn take_over(path: &Path) -> io::Result<Vec<Listener>> {
    let Ok(socket) = seqpacket::connect(path) else { return Ok(Vec::new()) };
    let socket = Socket::from(socket);
    socket.set_read_timeout(Some(HANDOVER_TIMEOUT))?;
    let mut message = vec![0; MAX_MESSAGE_BYTES];
    let (len, fds) = seqpacket::recv(socket.as_fd(), &mut message, seqpacket::MAX_FDS)?;
    let said: Vec<Description> = serde_json::from_slice(message.get(..len).unwrap_or_default())?;
    if said.len() != fds.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(said.into_iter().zip(fds).map(listener).collect())
}

fn listener((said, fd): (Description, OwnedFd)) -> Listener {
    Listener { scheme: said.scheme, configured: said.configured, socket: fd.into() }
}

/// Tells the predecessor that the listeners are served, so that it stops. It waits for this.
pub(crate) fn pass_on(to: &OwnedFd, listeners: &[&Listener]) -> io::Result<()> {
    let said: Vec<Description> =
        listeners.iter().map(|l| Description { scheme: l.scheme, configured: l.configured }).collect();
    let fds: Vec<_> = listeners.iter().map(|l| l.socket.as_fd()).collect();
    seqpacket::send(to.as_fd(), &serde_json::to_vec(&said)?, &fds)
}
