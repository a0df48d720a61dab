//! Taking ownership of descriptor numbers the kernel handed out.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::SockFlag;

/// Owns `fd`.
///
/// # Safety
/// `fd` is open and nobody else closes it: it comes straight from a call that made it.
pub(crate) unsafe fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: passed on to the caller.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `accept4(2)` with close-on-exec.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let fd = nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: a result that is no error is a new descriptor nobody else knows.
    Ok(unsafe { owned(fd) })
}

/// A close-on-exec duplicate of a descriptor of a crate that only shows its number.
pub(crate) fn duplicate(fd: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: fcntl(F_DUPFD_CLOEXEC) touches no memory; a number that is not open is EBADF.
    let result = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    let new = nix::errno::Errno::result(result)?;
    // SAFETY: a result that is no error is a new descriptor nobody else knows.
    Ok(unsafe { owned(new) })
}
