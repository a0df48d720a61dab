//! The node's end of the tunnel: UDP sockets that carry VXLAN between nodes.
//!
//! # How it works
//!
//! One socket, bound to the tunnel's address and port, receives. [`SEND_SOCKETS`] others send: a UDP
//! socket has one source port, and the underlay (ECMP), a receiver's NIC and its workers
//! (`SO_REUSEPORT`) all spread load by it, so flows are spread over the sockets (RFC 7348 §5). A filter
//! makes the kernel discard what is sent *to* those, so that no queue of theirs fills up.
//!
//! Segmentation is the kernel's where it can: a [`Train`] of equal segments is one message with
//! `UDP_SEGMENT`, which the next node's `UDP_GRO` makes one again. Where the kernel refuses (EIO: the
//! way out has no checksum offload and the kernel is old), each segment is a message of its own, and
//! that is remembered.
//!
//! Nothing is fragmented, by us or on the way: `IP_PMTUDISC_PROBE` sets "don't fragment" and ignores
//! what ICMP made the kernel believe about a path (`ip(7)`). What is larger than the interface's MTU
//! is [`TunnelSent::TooBig`].
//!
//! All descriptors may be passed on ([`UdpTunnel::into_fds`], [`UdpTunnel::from_fds`]): everything that
//! needs a right or an option is done when the sockets are made.

mod receive;
mod send;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::link::TUNNEL_DESCRIPTORS;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use crate::buffers;
use crate::sys::udp::set_option;

pub use receive::{Datagram, Inbox};
pub use send::{Train, TunnelSent};

/// Sending sockets of one tunnel; with the receiving one they are what is passed on.
pub const SEND_SOCKETS: usize = TUNNEL_DESCRIPTORS - 1;

/// Source ports (RFC 7348 §5 wants 49152–65535), but for those that are set apart for translated
/// connections of pods, from 61000 on.
const SOURCE_PORTS: std::ops::Range<u16> = 49_152..61_000;

/// Hops of outer packets (RFC 1700's default, as Linux's).
const OUTER_TTL: u32 = 64;

/// How a tunnel's sockets are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpTunnelOptions {
    /// Outer source address; an address of the namespace.
    pub address: Ipv4Addr,
    /// UDP port that receives; 0 lets the kernel choose.
    pub port: u16,
    /// Others may receive at the same port: several workers share it.
    pub reuse_port: bool,
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
#[error("tunnel {address}: cannot {step}")]
pub struct UdpTunnelError {
    /// Address and port.
    pub address: SocketAddrV4,
    /// What was tried.
    pub step: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// See the module.
#[derive(Debug)]
pub struct UdpTunnel {
    receiver: OwnedFd,
    /// INVARIANT: [`SEND_SOCKETS`] of them.
    senders: Vec<OwnedFd>,
    name: Arc<str>,
    /// The kernel has refused to segment.
    segments_in_software: AtomicBool,
}

impl UdpTunnel {
    /// Makes the sockets, in the calling thread's namespace.
    ///
    /// # Errors
    /// Names the step: the address is not there or in use, or an option is unknown to the kernel.
    pub fn bind(options: &UdpTunnelOptions) -> Result<Self, UdpTunnelError> {
        let address = SocketAddrV4::new(options.address, options.port);
        let failed = |step| move |source| UdpTunnelError { address, step, source };
        let socket = open(address)?;
        if options.reuse_port {
            socket.set_reuse_port(true).map_err(failed("share the port"))?;
        }
        socket.set_recv_tos_v4(true).map_err(failed("ask for the type of service"))?;
        // Without it (Linux before 5.0) each datagram is received by itself.
        let _ = set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
        socket.bind(&SockAddr::from(address)).map_err(failed("bind the receiving socket"))?;
        let senders =
            (0..SEND_SOCKETS).map(|number| sender(options.address, number)).collect::<Result<_, _>>();
        Ok(Self::new(socket.into(), senders?))
    }

    /// Takes over descriptors in the order of [`into_fds`](Self::into_fds); `None` if they are not as
    /// many.
    #[must_use]
    pub fn from_fds(fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        let receiver = fds.next()?;
        let senders: Vec<_> = fds.collect();
        (senders.len() == SEND_SOCKETS).then(|| Self::new(receiver, senders))
    }

    fn new(receiver: OwnedFd, senders: Vec<OwnedFd>) -> Self {
        let name = local_address(receiver.as_fd()).map_or_else(|_| "?".to_owned(), |a| a.to_string());
        Self { receiver, senders, name: name.into(), segments_in_software: AtomicBool::new(false) }
    }

    /// The descriptors, the receiving one first.
    #[must_use]
    pub fn into_fds(self) -> Vec<OwnedFd> {
        std::iter::once(self.receiver).chain(self.senders).collect()
    }

    /// Duplicates of the descriptors, in the same order.
    ///
    /// # Errors
    /// The process has no room for more.
    pub fn duplicate_fds(&self) -> io::Result<Vec<OwnedFd>> {
        self.fds().map(|fd| fd.try_clone_to_owned()).collect()
    }

    /// The descriptors, in the same order.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.receiver.as_fd()).chain(self.senders.iter().map(AsFd::as_fd))
    }

    /// Address and port, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it receives.
    ///
    /// # Errors
    /// The descriptor is not a socket.
    pub fn local_address(&self) -> io::Result<SocketAddrV4> {
        local_address(self.receiver.as_fd())
    }

    /// Whether segments are sent one by one because the kernel refused to cut them.
    #[must_use]
    pub fn segments_in_software(&self) -> bool {
        self.segments_in_software.load(Ordering::Relaxed)
    }

    /// Has segments sent one by one, as where the kernel refuses to cut them.
    pub fn segment_in_software(&self) {
        self.segments_in_software.store(true, Ordering::Relaxed);
    }
}

impl AsFd for UdpTunnel {
    /// The one to poll.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl AsRawFd for UdpTunnel {
    fn as_raw_fd(&self) -> RawFd {
        self.receiver.as_raw_fd()
    }
}

/// What both sorts of socket have in common.
fn open(address: SocketAddrV4) -> Result<Socket, UdpTunnelError> {
    let failed = |step| move |source| UdpTunnelError { address, step, source };
    let kind = Type::DGRAM.cloexec().nonblocking();
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::UDP)).map_err(failed("open a socket"))?;
    socket.set_ttl_v4(OUTER_TTL).map_err(failed("set the time to live"))?;
    set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
        .map_err(failed("forbid fragmentation"))?;
    buffers::enlarge(socket.as_fd()).map_err(failed("set the buffer size"))?;
    Ok(socket)
}

/// A socket that only sends. Each tries other ports first, so that few collide.
fn sender(address: Ipv4Addr, number: usize) -> Result<OwnedFd, UdpTunnelError> {
    let unbound = SocketAddrV4::new(address, 0);
    let failed = |step| move |source| UdpTunnelError { address: unbound, step, source };
    let socket = open(unbound)?;
    // BPF_RET | BPF_K with 0: keep no byte of anything.
    let discard = [SockFilter::new(0x06, 0, 0, 0)];
    socket.attach_filter(&discard).map_err(failed("discard what comes to a sending socket"))?;
    let len = SOURCE_PORTS.len();
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in SOURCE_PORTS.cycle().skip(number * len / SEND_SOCKETS).take(len) {
        match socket.bind(&SockAddr::from(SocketAddrV4::new(address, port))) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(failed("bind a sending socket")(error)),
        }
    }
    Err(failed("find a free source port")(last))
}

fn local_address(socket: BorrowedFd<'_>) -> io::Result<SocketAddrV4> {
    let name: nix::sys::socket::SockaddrIn = nix::sys::socket::getsockname(socket.as_raw_fd())?;
    Ok(name.into())
}
