//! rtnetlink, one blocking request after the other.
//!
//! A [`Netlink`] talks to the namespace it was opened in, from whichever thread it is used later.
//! Every change is acknowledged by the kernel before the call returns. Errors name the operation
//! and its object and keep the kernel's errno.

mod address;
mod link;
mod monitor;
mod route;
mod ruleset;

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

pub use address::Address;
pub use link::{Link, LinkChange};
pub use monitor::{AddressChange, AddressMonitor, ChangeMonitor};
pub use route::Route;
pub use ruleset::ruleset_generation;

/// A dump arrives in parts of at most this (`NLMSG_GOODSIZE` is one page, dumps use up to 32 KiB).
const RECEIVE_BYTES: usize = 64 * 1024;
/// Dumps interrupted by a concurrent change (`NLM_F_DUMP_INTR`) are asked for again, this often.
const DUMP_ATTEMPTS: usize = 8;
/// `NLM_F_DUMP_INTR`: the dump is inconsistent.
const DUMP_INTERRUPTED: u16 = 0x10;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("cannot open a netlink socket")]
    Open {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("cannot {operation} {object}")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something the kernel said could not be understood.
    #[error("cannot {operation} {object}: unexpected answer: {reason}")]
    Answer {
        /// What was tried.
        operation: &'static str,
        /// On what.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl NetlinkError {
    /// The kernel's errno.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open { source } | Self::Kernel { source, .. } => source.raw_os_error(),
            Self::Answer { .. } => None,
        }
    }

    /// What was to be made exists.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// What was to be used or removed does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENODEV | libc::ESRCH | libc::ENOENT | libc::EADDRNOTAVAIL | libc::ENXIO)
        )
    }
}

/// A connection to the kernel's routing subsystem.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What a request is about, for its error.
struct Request<'a> {
    operation: &'static str,
    object: &'a str,
}

impl Request<'_> {
    fn kernel(&self, source: io::Error) -> NetlinkError {
        NetlinkError::Kernel { operation: self.operation, object: self.object.to_owned(), source }
    }

    fn answer(&self, reason: impl ToString) -> NetlinkError {
        NetlinkError::Answer {
            operation: self.operation,
            object: self.object.to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl Netlink {
    /// Connects to the calling thread's namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = open_socket(0).map_err(|source| NetlinkError::Open { source })?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Sends a change and waits for its acknowledgement. `flags` beside request and ack.
    fn change(
        &mut self,
        request: &Request<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.send(request, message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.receive(request, |_, _| {})
    }

    /// Asks for one object; its answer is followed by an acknowledgement.
    fn ask(
        &mut self,
        request: &Request<'_>,
        message: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
        let mut answer = None;
        self.send(request, message, NLM_F_REQUEST | NLM_F_ACK)?;
        self.receive(request, |_, message| answer = Some(message))?;
        Ok(answer)
    }

    /// Asks for all objects of a kind.
    fn dump(
        &mut self,
        request: &Request<'_>,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut rows = Vec::new();
            let mut interrupted = false;
            self.send(request, message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            self.receive(request, |header, message| {
                interrupted |= header.flags & DUMP_INTERRUPTED != 0;
                rows.push(message);
            })?;
            if !interrupted {
                return Ok(rows);
            }
        }
        Err(request.kernel(io::Error::from_raw_os_error(libc::EBUSY)))
    }

    fn send(
        &mut self,
        request: &Request<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        retry(|| self.socket.send(&bytes, 0)).map(drop).map_err(|source| request.kernel(source))
    }

    /// Reads until the acknowledgement, the error or the end of the dump.
    fn receive(
        &mut self,
        request: &Request<'_>,
        mut row: impl FnMut(&NetlinkHeader, RouteNetlinkMessage),
    ) -> Result<(), NetlinkError> {
        loop {
            receive_datagram(&self.socket, &mut self.buffer).map_err(|source| request.kernel(source))?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| request.answer(error))?;
                rest = after_message(rest, message.header.length);
                // The end of an earlier request whose answer could not be read.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match take(message.payload).map_err(|source| request.kernel(source))? {
                    ControlFlow::Continue(Some(answer)) => row(&message.header, answer),
                    ControlFlow::Continue(None) => {}
                    ControlFlow::Break(()) => return Ok(()),
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn take(
    payload: NetlinkPayload<RouteNetlinkMessage>,
) -> io::Result<ControlFlow<(), Option<RouteNetlinkMessage>>> {
    match payload {
        NetlinkPayload::InnerMessage(message) => Ok(ControlFlow::Continue(Some(message))),
        NetlinkPayload::Done(done) if done.code < 0 => Err(io::Error::from_raw_os_error(-done.code)),
        NetlinkPayload::Done(_) => Ok(ControlFlow::Break(())),
        NetlinkPayload::Error(error) => match error.code {
            None => Ok(ControlFlow::Break(())),
            Some(_) => Err(error.to_io()),
        },
        // Nothing to do with the request; the enum is open.
        _ => Ok(ControlFlow::Continue(None)),
    }
}

fn open_socket(groups: u32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, groups))?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// One datagram; a longer one than [`RECEIVE_BYTES`] is an error rather than half an answer.
fn receive_datagram(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    buffer.reserve(RECEIVE_BYTES);
    let len = retry(|| socket.recv(buffer, libc::MSG_TRUNC))?;
    if len > buffer.len() {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok(())
}

/// Messages are padded to four bytes (`NLMSG_ALIGN`).
fn after_message(bytes: &[u8], length: u32) -> &[u8] {
    let length = usize::try_from(length).unwrap_or(usize::MAX).max(1);
    bytes.get(length.saturating_add(3) & !3..).unwrap_or_default()
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn index_object(ifindex: u32) -> String {
    format!("interface {ifindex}")
}
