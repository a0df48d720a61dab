//! Receiving messages with descriptors (`SCM_RIGHTS`, `cmsg(3)`).
//!
//! Ours because a message whose descriptors were cut off (`MSG_CTRUNC`: too many, or our table is
//! full) still installs some of them, and those must be owned to be closed.

use std::io::{self, IoSliceMut};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use super::fd::owned;

/// The kernel's `SCM_MAX_FD`: the most descriptors one message can carry.
pub(crate) const MAX_FDS: usize = 253;
/// Room for one control message header and that many descriptors; as `u64`s for alignment.
const CONTROL_WORDS: usize = 2 + (MAX_FDS * size_of::<RawFd>()).div_ceil(size_of::<u64>());

/// One received message.
pub(crate) struct Received {
    pub(crate) len: usize,
    pub(crate) fds: Vec<OwnedFd>,
    /// Part of the data or of the descriptors did not fit and is lost.
    pub(crate) truncated: bool,
}

/// `recvmsg(2)`; descriptors are close-on-exec.
pub(crate) fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut iov = [IoSliceMut::new(buf)];
    // SAFETY: `msghdr` is plain data; all zeroes is a valid value (no name, no buffers).
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    // `IoSliceMut` is guaranteed to have the layout of `iovec`.
    header.msg_iov = iov.as_mut_ptr().cast();
    header.msg_iovlen = 1;
    // `size_t` with glibc, `socklen_t` with musl.
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: `header` names one buffer and one control area of the lengths given, both exclusively
    // borrowed until the call returns. The descriptor is borrowed, so it is open.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let Ok(len) = usize::try_from(len) else {
        return Err(io::Error::last_os_error());
    };
    let fds = take_descriptors(&header);
    let truncated = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    Ok(Received { len, fds, truncated })
}

/// Owns every descriptor in the control area of `header`, which recvmsg has just filled.
fn take_descriptors(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: `msg_control` and `msg_controllen` describe what the kernel wrote into an aligned
    // area that is still alive; the result is null or the first control header in it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so it is a complete control header inside the area.
        let control = unsafe { ptr::read(message) };
        if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: same header; the result points behind it.
            let data = unsafe { libc::CMSG_DATA(message) }.cast::<RawFd>();
            // SAFETY: CMSG_LEN only computes.
            let header_len = unsafe { libc::CMSG_LEN(0) } as usize;
            let control_len: usize = control.cmsg_len as _;
            let count = control_len.saturating_sub(header_len) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: the kernel wrote `cmsg_len` bytes, that is `count` descriptors, and they
                // lie inside the area.
                let fd = unsafe { ptr::read_unaligned(data.add(index)) };
                // SAFETY: the kernel made it for this message and nobody else knows it.
                fds.push(unsafe { owned(fd) });
            }
        }
        // SAFETY: `message` is a header inside the area; the result is null or the next one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    fds
}
