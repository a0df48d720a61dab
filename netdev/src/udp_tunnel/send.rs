//! Sending: a train becomes messages of what one `UDP_SEGMENT` may carry, and these one `sendmmsg`.

use std::io::{self, IoSlice};
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::UdpTunnel;
use crate::device::DeviceError;
use crate::sys::udp::{Outgoing, send_many};

/// Segments in one message: `UDP_MAX_SEGMENTS` of Linux before 6.9, and where `UDP_GRO` stops.
const MAX_SEGMENTS: usize = 64;
/// Largest payload of a UDP datagram over IPv4, which a message of segments must not exceed either.
const MAX_PAYLOAD: usize = 65_507;
/// Messages in one call where the kernel segments: the longest superframe of common segments is two.
const MESSAGES: usize = 4;
/// Messages in one call where it does not.
const SMALL_MESSAGES: usize = 32;
/// Parts of the messages of one call: a header and a payload each.
const PARTS: usize = 2 * MAX_SEGMENTS * MESSAGES;

/// Datagrams of one length, but for a shorter last one, to one place. Each is a header of `header_len`
/// bytes from `headers`, followed by at most `payload_size` bytes from `payload`: so payload of a
/// superframe stays where it was read, and only headers are made.
#[derive(Debug, Clone, Copy)]
pub struct Train<'a> {
    /// Where to.
    pub to: SocketAddrV4,
    /// Type of service of the outer header: DSCP and ECN.
    pub tos: u8,
    /// The same for all packets of a flow; chooses the source port.
    pub entropy: u32,
    /// One header after the other.
    pub headers: &'a [u8],
    /// Bytes of one header; not 0.
    pub header_len: usize,
    /// One payload after the other.
    pub payload: &'a [u8],
    /// Bytes of all payloads but the last; not 0.
    pub payload_size: usize,
}

/// What became of a train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelSent {
    /// The kernel took at least the first message.
    Sent,
    /// No room or memory just now.
    Full,
    /// Larger than the MTU of the interface.
    TooBig,
    /// No way there: no route, the interface is down, or a firewall.
    Unreachable,
}

impl UdpTunnel {
    /// Sends a train. Several threads may.
    ///
    /// # Errors
    /// What is not a state of queue or route.
    pub fn send(&self, train: &Train<'_>) -> Result<TunnelSent, DeviceError> {
        let sent = match self.senders.get(train.entropy as usize % self.senders.len().max(1)) {
            Some(socket) => self.send_from(socket.as_fd(), train),
            None => Err(Errno::EBADF),
        };
        match sent {
            Ok(()) => Ok(TunnelSent::Sent),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Ok(TunnelSent::Full),
            Err(Errno::EMSGSIZE) => Ok(TunnelSent::TooBig),
            // EINVAL: the socket's address is not the node's any more.
            Err(
                Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::ENETDOWN
                | Errno::EPERM
                | Errno::EACCES
                | Errno::EINVAL
                | Errno::EADDRNOTAVAIL
                | Errno::ENODEV,
            ) => Ok(TunnelSent::Unreachable),
            Err(errno) => {
                Err(DeviceError::Io { device: Arc::clone(&self.name), source: io::Error::from(errno) })
            }
        }
    }

    fn send_from(&self, socket: BorrowedFd<'_>, train: &Train<'_>) -> nix::Result<()> {
        let segments = train.segments();
        if segments == 1 {
            return send_messages::<1, 2>(socket, train, Cut::Single);
        }
        if !self.segments_in_software() {
            match send_messages::<MESSAGES, PARTS>(socket, train, Cut::InKernel) {
                Err(Errno::EIO) => self.segment_in_software(),
                // Either the kernel does not know the option, or the segments are too large for it.
                Err(Errno::EINVAL) => {
                    send_messages::<SMALL_MESSAGES, { 2 * SMALL_MESSAGES }>(socket, train, Cut::Single)?;
                    self.segment_in_software();
                    return Ok(());
                }
                other => return other,
            }
        }
        send_messages::<SMALL_MESSAGES, { 2 * SMALL_MESSAGES }>(socket, train, Cut::Single)
    }
}

/// Who cuts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// A message is one segment.
    Single,
    /// A message is as many as `UDP_SEGMENT` may carry.
    InKernel,
}

impl<'a> Train<'a> {
    /// How many datagrams it is.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.payload.len().div_ceil(self.payload_size.max(1)).max(1)
    }

    /// Header and payload of segment number `index`.
    fn segment(&self, index: usize) -> [IoSlice<'a>; 2] {
        let cut = |bytes: &'a [u8], size: usize| {
            let rest = bytes.get(index * size..).unwrap_or_default();
            IoSlice::new(rest.get(..size).unwrap_or(rest))
        };
        [cut(self.headers, self.header_len), cut(self.payload, self.payload_size)]
    }
}

/// Sends the train in messages of at most `PARTS` parts, `MESSAGES` a call. An error only if nothing was
/// sent: what follows a success is lost as if it were on the way, which is the sender's to notice.
fn send_messages<const MESSAGES: usize, const PARTS: usize>(
    socket: BorrowedFd<'_>,
    train: &Train<'_>,
    cut: Cut,
) -> nix::Result<()> {
    let segments = train.segments();
    let size = train.header_len + train.payload_size;
    let per_message = match cut {
        Cut::Single => 1,
        Cut::InKernel => (MAX_PAYLOAD / size.max(1)).clamp(1, MAX_SEGMENTS),
    };
    let segment_size = match cut {
        Cut::Single => None,
        Cut::InKernel => Some(u16::try_from(size).map_err(|_| Errno::EMSGSIZE)?),
    };
    let mut next = 0;
    while next < segments {
        let begin = next;
        let mut parts = [IoSlice::new(&[]); PARTS];
        let fitting = segments.min(begin + per_message * MESSAGES).min(begin + PARTS / 2);
        for (place, index) in parts.chunks_exact_mut(2).zip(begin..fitting) {
            place.copy_from_slice(&train.segment(index));
        }
        next = fitting;
        let used = parts.get(..2 * (fitting - begin)).unwrap_or_default();
        let mut chunks = used.chunks(2 * per_message);
        let count = chunks.len();
        let messages: [Outgoing<'_>; MESSAGES] = std::array::from_fn(|_| {
            let parts = chunks.next().unwrap_or_default();
            // A message of one segment needs no cutting.
            let segment_size = segment_size.filter(|_| parts.len() > 2);
            Outgoing { to: train.to, tos: train.tos, segment_size, parts }
        });
        match send_all::<MESSAGES>(socket, messages.get(..count).unwrap_or_default()) {
            Ok(()) => {}
            Err(errno) if begin == 0 => return Err(errno),
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

fn send_all<const N: usize>(socket: BorrowedFd<'_>, mut messages: &[Outgoing<'_>]) -> nix::Result<()> {
    let mut any = false;
    while !messages.is_empty() {
        match send_many::<N>(socket, messages) {
            Ok(sent) => messages = messages.get(sent.max(1)..).unwrap_or_default(),
            Err(Errno::EINTR) => continue,
            Err(_) if any => return Ok(()),
            Err(errno) => return Err(errno),
        }
        any = true;
    }
    Ok(())
}
