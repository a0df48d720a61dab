//! Process descriptors: a process that cannot be confused with a later one of the same number.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use super::fd::owned;

/// `pidfd_open(2)` (Linux 5.3); close-on-exec by definition.
pub(crate) fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: two integers, no memory.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(result).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a result that is no error is a new descriptor nobody else knows.
    Ok(unsafe { owned(fd) })
}

/// `pidfd_send_signal(2)` (Linux 5.1), as `kill(2)` would.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = ptr::null();
    // SAFETY: a null `siginfo` is allowed and means what kill(2) would fill in. The descriptor is
    // borrowed, so it is open.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
