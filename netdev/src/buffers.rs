//! Socket buffers for superframes.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::udp::set_option;

/// What a sending socket may queue: the way out is short. The kernel's default holds three superframes.
const SEND_BYTES: i32 = 8 * 1024 * 1024;
/// What a receiving one may queue; the kernel doubles it, and counts what its own structures take. That
/// is some nine hundred superframes; a TAP holds five hundred (`TUN_READQ_SIZE`). With a
/// quarter of it eight TCP streams filled it whenever the daemon had to wait for a processor, and lost a
/// thousand segments a second.
const RECEIVE_BYTES: i32 = 32 * 1024 * 1024;

/// Makes both large: beyond the system's maximum only with `CAP_NET_ADMIN`; as much as there is without.
pub(crate) fn enlarge(socket: BorrowedFd<'_>) -> io::Result<()> {
    for (force, ask, bytes) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE_BYTES),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_BYTES),
    ] {
        set_option(socket, libc::SOL_SOCKET, force, bytes)
            .or_else(|_| set_option(socket, libc::SOL_SOCKET, ask, bytes))?;
    }
    Ok(())
}
