//! Being told when the node's network changes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;

use super::{Address, NetlinkError, Request, after_message, open_socket, receive_datagram};

/// `RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR`.
const ADDRESS_GROUPS: u32 = 0x10 | 0x100;

/// `RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR`.
const ALL_GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100;

const REQUEST: Request<'_> = Request { operation: "watch", object: "addresses" };

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressChange {
    /// New, or changed.
    Added(Address),
    /// Gone.
    Removed(Address),
    /// The kernel dropped notifications because we were slow: list everything again.
    Missed,
}

/// Watches the namespace it was opened in.
#[derive(Debug)]
pub struct AddressMonitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl AddressMonitor {
    /// Watches from now on; what exists is told by [`super::Netlink::addresses`], asked afterwards.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = open_socket(ADDRESS_GROUPS).map_err(|source| NetlinkError::Open { source })?;
        Ok(Self { socket, buffer: Vec::new() })
    }

    /// Whether [`Self::recv`] waits, as it does at first.
    pub fn set_nonblocking(&self, on: bool) -> Result<(), NetlinkError> {
        self.socket.set_non_blocking(on).map_err(|source| REQUEST.kernel(source))
    }

    /// The next changes; empty if non-blocking and there are none.
    pub fn recv(&mut self) -> Result<Vec<AddressChange>, NetlinkError> {
        match receive_datagram(&self.socket, &mut self.buffer) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                return Ok(vec![AddressChange::Missed]);
            }
            Err(source) => return Err(REQUEST.kernel(source)),
        }
        let mut changes = Vec::new();
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| REQUEST.answer(error))?;
            rest = after_message(rest, message.header.length);
            let change = match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                    Address::from_message(&message).map(AddressChange::Added)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
                    Address::from_message(&message).map(AddressChange::Removed)
                }
                _ => None,
            };
            changes.extend(change);
        }
        Ok(changes)
    }
}

impl AsFd for AddressMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for AddressMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Tells that something about interfaces, addresses or IPv4 routes of the namespace it was opened in has
/// changed, and leaves it to the caller to look.
#[derive(Debug)]
pub struct ChangeMonitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl ChangeMonitor {
    /// Watches from now on.
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = open_socket(ALL_GROUPS).map_err(|source| NetlinkError::Open { source })?;
        Ok(Self { socket, buffer: Vec::new() })
    }

    /// Returns with the first change that [`Self::settle`] has not taken.
    pub fn wait(&mut self) -> Result<(), NetlinkError> {
        self.set_blocking(true)?;
        self.take().map(drop)
    }

    /// Returns after this time; what happened meanwhile counts as one with what was waited for.
    pub fn settle(&mut self, time: Duration) -> Result<(), NetlinkError> {
        std::thread::sleep(time);
        self.set_blocking(false)?;
        while self.take()? {}
        Ok(())
    }

    fn set_blocking(&self, on: bool) -> Result<(), NetlinkError> {
        self.socket.set_non_blocking(!on).map_err(|source| REQUEST.kernel(source))
    }

    /// Takes one notification; false if there is none.
    fn take(&mut self) -> Result<bool, NetlinkError> {
        match receive_datagram(&self.socket, &mut self.buffer) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // Some were dropped because we were slow, which is a change as well.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(source) => Err(REQUEST.kernel(source)),
        }
    }
}
