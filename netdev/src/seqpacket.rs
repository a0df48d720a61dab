//! `SOCK_SEQPACKET` Unix sockets: whole messages, in order, with descriptors attached
//! (`unix(7)`, `SCM_RIGHTS`).
//!
//! Every descriptor made here is close-on-exec. A message or its descriptors that do not fit are
//! an error, never a shorter message.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind,
    connect as connect_to, getsockopt, listen as listen_on, sendmsg, socket, socketpair,
};
use nix::sys::stat::{Mode, fchmod};

use crate::sys;

/// The kernel takes no more in one message (`SCM_MAX_FD`).
pub const MAX_FDS: usize = sys::scm::MAX_FDS;

/// Why a path socket could not be made or reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} socket {}", path.display())]
pub struct SocketError {
    /// "listen on" or "connect to".
    pub step: &'static str,
    /// Which.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// Who is at the other end, at the time it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id, in our PID namespace.
    pub pid: i32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Waits for a connection; `WouldBlock` if the listener is non-blocking and there is none.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        loop {
            match sys::fd::accept(self.0.as_fd()) {
                Ok(fd) => return Ok(fd),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

/// Listens on `path`, mode 0600. A socket file nobody listens on any more is replaced.
pub fn listen(path: &Path) -> Result<Listener, SocketError> {
    let fail = |source: io::Error| SocketError { step: "listen on", path: path.to_owned(), source };
    remove_stale(path).map_err(fail)?;
    listen_fresh(path).map_err(|errno| fail(errno.into()))
}

fn listen_fresh(path: &Path) -> nix::Result<Listener> {
    let fd = open_socket()?;
    // The mode of the file that bind makes is that of the socket's inode: set before, there is no
    // moment in which others may connect.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen_on(&fd, Backlog::new(8)?)?;
    Ok(Listener(fd))
}

/// Removes a socket file that refuses connections; anything else stays and makes bind fail.
fn remove_stale(path: &Path) -> io::Result<()> {
    let refused = |error: &SocketError| error.source.raw_os_error() == Some(libc::ECONNREFUSED);
    match connect(path) {
        Err(error) if refused(&error) => fs::remove_file(path),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Connects to the listener at `path`.
pub fn connect(path: &Path) -> Result<OwnedFd, SocketError> {
    let attempt = || {
        let fd = open_socket()?;
        connect_to(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(fd)
    };
    attempt().map_err(|errno: Errno| SocketError {
        step: "connect to",
        path: path.to_owned(),
        source: errno.into(),
    })
}

/// Two sockets connected to each other.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

fn open_socket() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
}

/// Sends one message with `fds`, which stay open here. `BrokenPipe` if nobody is there.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(message)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message into `buf` and up to `max_fds` descriptors. `(0, [])` is the end.
/// `InvalidData`: the message did not fit or had more descriptors; all of it is gone, its
/// descriptors closed.
pub fn recv(socket: BorrowedFd<'_>, buf: &mut [u8], max_fds: usize) -> io::Result<(usize, Vec<OwnedFd>)> {
    loop {
        match sys::scm::receive(socket, buf) {
            Ok(received) if received.truncated || received.fds.len() > max_fds => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(received) => return Ok((received.len, received.fds)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Who is at the other end of a path socket.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = getsockopt(&socket, PeerCredentials)?;
    Ok(Peer { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
}

/// The process at the other end, as a descriptor (Linux 6.5).
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(getsockopt(&socket, PeerPidfd)?)
}

/// Switches between waiting and `WouldBlock`.
pub fn set_nonblocking(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(socket, FcntlArg::F_SETFL(flags))?;
    Ok(())
}
