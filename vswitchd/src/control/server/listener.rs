//! Accepting connections, and how many there may be.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use parking_lot::Mutex;
use protocol::codec::{MAX_ADMIN_FRAME_BYTES, write_frame, write_preamble};
use protocol::message::{ApiError, ErrorCode, Response};

use super::super::node::Control;
use super::super::throttle::Throttle;
use super::connection;

/// On each socket.
const MAX_CONNECTIONS: usize = 64;
/// Of one user other than root, on each socket.
const MAX_CONNECTIONS_PER_USER: usize = 16;
/// Without a free descriptor, accepting again at once would only spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// For the few bytes that tell a peer it is refused.
const REFUSAL_LIMIT: Duration = Duration::from_millis(100);

static ACCEPT_ERRORS: Throttle = Throttle::new();
static REFUSED: Throttle = Throttle::new();

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("control socket {}: {source}", path.display())]
pub(crate) struct ServerError {
    path: PathBuf,
    source: io::Error,
}

/// Who a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Root and the daemon's own user, everything.
    Admin,
    /// Whoever the socket's mode lets in, without mutations.
    ReadOnly,
    /// The same for programs in system pods, whoever they run as: its directory is closed to everybody else.
    System,
}

/// A connected process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(super) uid: u32,
    pub(super) pid: i32,
}

/// Opens the socket at `path` and serves it on threads of its own, until the process ends.
pub(crate) fn serve(control: &Arc<Control>, path: &Path, access: Access) -> Result<(), ServerError> {
    let fail = |source| ServerError { path: path.to_owned(), source };
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
        Ok(()) | Err(_) => {}
    }
    // Bound under a name of its own and renamed once its mode is right, so that nobody can connect
    // in between.
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(fail)?;
    let mode = match access {
        Access::Admin => 0o600,
        Access::ReadOnly => 0o660,
        Access::System => 0o666,
    };
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).map_err(fail)?;
    fs::rename(&temporary, path).map_err(fail)?;
    let server = Server { control: Arc::clone(control), access, connections: Arc::default() };
    thread::Builder::new().name("accept".to_owned()).spawn(move || server.accept(&listener)).map_err(fail)?;
    Ok(())
}

struct Server {
    control: Arc<Control>,
    access: Access,
    connections: Arc<Mutex<Connections>>,
}

/// Connections of one socket.
#[derive(Default)]
pub(super) struct Connections {
    next: u64,
    open: BTreeMap<u64, Open>,
}

struct Open {
    uid: u32,
    /// Since when it has had no request under way; `None` while it has one.
    idle_since: Option<Instant>,
    stream: UnixStream,
}

/// A place among the connections, given back when dropped.
pub(super) struct Place {
    connections: Arc<Mutex<Connections>>,
    id: u64,
}

impl Place {
    /// A request is under way, or not any more.
    pub(super) fn set_busy(&self, busy: bool) {
        if let Some(open) = self.connections.lock().open.get_mut(&self.id) {
            open.idle_since = if busy { None } else { Some(Instant::now()) };
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

impl Server {
    fn accept(&self, listener: &UnixListener) {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if let Some(suppressed) = ACCEPT_ERRORS.pass(Instant::now()) {
                        tracing::error!(suppressed, "control socket: cannot accept a connection: {error}");
                    }
                    thread::sleep(ACCEPT_BACKOFF);
                }
            }
        }
    }

    fn admit(&self, stream: UnixStream) {
        let credentials = match getsockopt(&stream, PeerCredentials) {
            Ok(credentials) => credentials,
            Err(errno) => {
                tracing::warn!("control socket: peer without credentials: {errno}");
                return;
            }
        };
        let peer = Peer { uid: credentials.uid(), pid: credentials.pid() };
        let own = nix::unistd::geteuid().as_raw();
        if self.access == Access::Admin && peer.uid != 0 && peer.uid != own {
            if let Some(suppressed) = REFUSED.pass(Instant::now()) {
                tracing::warn!(uid = peer.uid, pid = peer.pid, suppressed, "admin socket: caller refused");
            }
            let text = format!("user {} may not use the admin socket; only root may", peer.uid);
            refuse(stream, ApiError::new(ErrorCode::Forbidden, text));
            return;
        }
        let place = match self.place(peer, &stream) {
            Ok(place) => place,
            Err(error) => {
                refuse(stream, error);
                return;
            }
        };
        let control = Arc::clone(&self.control);
        let access = self.access;
        let spawned = thread::Builder::new()
            .name("connection".to_owned())
            .spawn(move || connection::serve(&control, stream, peer, access, &place));
        if let Err(error) = spawned {
            tracing::error!("control socket: no thread for a connection: {error}");
        }
    }

    /// Registers a connection; where the cap is reached, one that has been idle makes room.
    fn place(&self, peer: Peer, stream: &UnixStream) -> Result<Place, ApiError> {
        let unavailable = |text: String| ApiError::new(ErrorCode::Unavailable, text);
        let stream =
            stream.try_clone().map_err(|e| unavailable(format!("vswitchd has no descriptor left: {e}")))?;
        let mut connections = self.connections.lock();
        let of_user = connections.open.values().filter(|open| open.uid == peer.uid).count();
        let user_is_full = peer.uid != 0 && of_user >= MAX_CONNECTIONS_PER_USER;
        if user_is_full || connections.open.len() >= MAX_CONNECTIONS {
            let candidates =
                connections.open.iter().filter(|(_, open)| !user_is_full || open.uid == peer.uid);
            let idle = candidates.filter_map(|(id, open)| Some((open.idle_since?, *id))).min();
            let Some((_, id)) = idle else {
                return Err(unavailable("too many requests at once; try again".to_owned()));
            };
            if let Some(evicted) = connections.open.remove(&id) {
                let _ = evicted.stream.shutdown(Shutdown::Both);
            }
        }
        let id = connections.next;
        connections.next += 1;
        connections.open.insert(id, Open { uid: peer.uid, idle_since: Some(Instant::now()), stream });
        Ok(Place { connections: Arc::clone(&self.connections), id })
    }
}

/// Tells a peer why, without waiting for it.
fn refuse(mut stream: UnixStream, error: ApiError) {
    let _ = stream.set_write_timeout(Some(REFUSAL_LIMIT));
    let _ = write_preamble(&mut stream);
    let _ = write_frame(&mut stream, &Response::Error(error), MAX_ADMIN_FRAME_BYTES);
}
