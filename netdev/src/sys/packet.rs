//! What a packet socket is bound to: `sockaddr_ll` (`packet(7)`) has no safe constructor, and nix wants more of it back than the
//! kernel gives.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// All protocols: such sockets see a frame before the hook of a `netdev` chain does.
#[expect(clippy::cast_possible_truncation, reason = "3")]
const ALL_PROTOCOLS: u16 = libc::ETH_P_ALL as u16;
#[expect(clippy::cast_possible_truncation, reason = "17")]
const FAMILY: libc::sa_family_t = libc::AF_PACKET as libc::sa_family_t;

/// Receives all frames of interface `ifindex` from now on, and sends there.
pub(crate) fn bind(socket: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    // SAFETY: `sockaddr_ll` is plain data; all zeroes is a valid value.
    let mut name: libc::sockaddr_ll = unsafe { mem::zeroed() };
    name.sll_family = FAMILY;
    name.sll_protocol = ALL_PROTOCOLS.to_be();
    name.sll_ifindex = i32::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    let len = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or_default();
    // SAFETY: reads one address of the length given, which outlives the call. The descriptor is borrowed,
    // so it is open.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), len) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Number of the interface that the socket is bound to; -1 once that is gone, 0 before it is bound.
pub(crate) fn bound_to(socket: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: `sockaddr_ll` is plain data; all zeroes is a valid value.
    let mut name: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut len = libc::socklen_t::try_from(size_of_val(&name)).unwrap_or_default();
    // SAFETY: writes at most `len` bytes of an address, which is as long, and how long it is. Both outlive
    // the call. The descriptor is borrowed, so it is open.
    let result = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut name).cast(), &raw mut len) };
    Errno::result(result)?;
    if name.sll_family == FAMILY { Ok(name.sll_ifindex) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
