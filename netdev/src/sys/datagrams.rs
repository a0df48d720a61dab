//! Datagrams of strangers, several in one call: `recvmmsg(2)` that waits for the first, `sendmmsg(2)` back to where they came from.

use std::io::{IoSlice, IoSliceMut};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;

/// Datagrams in one call, either way.
pub(crate) const MAX_DATAGRAMS: usize = 32;

#[expect(clippy::cast_possible_truncation, reason = "28")]
const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

/// Where a datagram came from, as the kernel says it: the larger of the two kinds of addresses, of which IPv4 fills a part.
#[derive(Clone, Copy)]
pub struct Source {
    name: libc::sockaddr_in6,
    len: libc::socklen_t,
}

impl Source {
    pub(crate) const NONE: Self = Self {
        name: libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
        len: 0,
    };

    /// As an address; `None` for one of another kind.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let port = u16::from_be(self.name.sin6_port);
        match i32::from(self.name.sin6_family) {
            // `sockaddr_in` has the port in the same place, and the address behind it, where this one has flow information.
            libc::AF_INET => {
                Some((IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(self.name.sin6_flowinfo))), port).into())
            }
            libc::AF_INET6 => Some((IpAddr::V6(Ipv6Addr::from(self.name.sin6_addr.s6_addr)), port).into()),
            _ => None,
        }
    }
}

/// Waits for a datagram (as long as the socket's timeout says) and takes what else is there, one a buffer; says how many.
/// What is longer than its buffer has a length of zero.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    received: &mut [(usize, Source)],
) -> nix::Result<usize> {
    // SAFETY: plain data; all zeroes is a valid value.
    let mut headers: [libc::mmsghdr; MAX_DATAGRAMS] = unsafe { mem::zeroed() };
    let count = buffers.len().min(received.len()).min(MAX_DATAGRAMS);
    for ((header, buffer), (_, source)) in headers.iter_mut().zip(buffers.iter_mut()).zip(received.iter_mut())
    {
        let header = &mut header.msg_hdr;
        header.msg_name = ptr::from_mut(&mut source.name).cast();
        header.msg_namelen = NAME_LEN;
        // `IoSliceMut` is guaranteed to have the layout of `iovec`.
        header.msg_iov = ptr::from_mut(buffer).cast();
        header.msg_iovlen = 1;
    }
    let wanted = libc::c_uint::try_from(count).unwrap_or_default();
    // SAFETY: the first `count` headers name an address and one buffer each, of the lengths given, all exclusively
    // borrowed until the call returns; a null timeout is allowed. The descriptor is borrowed, so it is open.
    let got = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            wanted,
            libc::MSG_WAITFORONE as _,
            ptr::null_mut(),
        )
    };
    let got = Errno::result(got).map(|got| usize::try_from(got).unwrap_or_default())?;
    for (header, (len, source)) in headers.iter().zip(received.iter_mut()).take(got) {
        let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        *len = if cut { 0 } else { usize::try_from(header.msg_len).unwrap_or_default() };
        source.len = header.msg_hdr.msg_namelen.min(NAME_LEN);
    }
    Ok(got)
}

/// Sends each message to its place without waiting; says how many the kernel took, an error only if none.
pub(crate) fn send(socket: BorrowedFd<'_>, messages: &[(IoSlice<'_>, Source)]) -> nix::Result<usize> {
    // SAFETY: plain data; all zeroes is a valid value.
    let mut headers: [libc::mmsghdr; MAX_DATAGRAMS] = unsafe { mem::zeroed() };
    let count = messages.len().min(MAX_DATAGRAMS);
    for (header, (message, source)) in headers.iter_mut().zip(messages) {
        let header = &mut header.msg_hdr;
        header.msg_name = ptr::from_ref(&source.name).cast_mut().cast();
        header.msg_namelen = source.len;
        // `IoSlice` is guaranteed to have the layout of `iovec`; sending writes to none of them.
        header.msg_iov = ptr::from_ref(message).cast_mut().cast();
        header.msg_iovlen = 1;
    }
    let wanted = libc::c_uint::try_from(count).unwrap_or_default();
    // SAFETY: the first `count` headers name an address and a buffer of the lengths given, all of which outlive the call.
    // The descriptor is borrowed, so it is open.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), wanted, libc::MSG_DONTWAIT as _) };
    Errno::result(sent).map(|sent| usize::try_from(sent).unwrap_or_default())
}

/// What the kernel holds for a socket that was not received yet, and what it may hold, in its own bytes: a datagram counts with its
/// bookkeeping.
pub(crate) fn queued(socket: BorrowedFd<'_>) -> nix::Result<(u32, u32)> {
    // `SK_MEMINFO_VARS` of Linux 4.12; an older kernel fills fewer.
    let mut numbers = [0_u32; 9];
    #[expect(clippy::cast_possible_truncation, reason = "36")]
    let mut len = size_of_val(&numbers) as libc::socklen_t;
    // SAFETY: the kernel writes `len` bytes at most, which is how long the array is, and the length it wrote; both are exclusively
    // borrowed until the call returns. The descriptor is borrowed, so it is open.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            numbers.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    Errno::result(done)?;
    let [queued, limit, ..] = numbers;
    Ok((queued, limit))
}
