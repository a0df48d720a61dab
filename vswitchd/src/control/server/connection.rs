//! One connection: preambles, then requests one after another.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use protocol::codec::{
    self, CodecError, MAX_ADMIN_FRAME_BYTES, MAX_READ_FRAME_BYTES, read_frame, read_preamble, write_preamble,
};
use protocol::message::{AdminRequest, ApiError, ErrorCode, Items, ReadRequest, Response};

use super::super::node::Control;
use super::super::throttle::Throttle;
use super::listener::{Access, Peer, Place};
use super::requests;

/// For a preamble, or for a request from its first byte to its last.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// A client that watches asks every second or so.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// For one response; a client that does not read is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

static BAD_REQUESTS: Throttle = Throttle::new();

/// The way back to the client.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(super) peer: Peer,
}

impl Client {
    /// Who asks.
    pub(crate) const fn uid(&self) -> u32 {
        self.peer.uid
    }

    /// Nobody waits for an answer any more.
    pub(super) fn has_hung_up(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(self.stream.as_raw_fd(), &mut [0], flags), Ok(0) | Err(Errno::ECONNRESET))
    }

    /// Sends one response.
    pub(crate) fn send(&mut self, response: &Response) -> Result<(), CodecError> {
        codec::write_frame(&mut self.stream, response, MAX_ADMIN_FRAME_BYTES)
    }

    /// Sends rows, in as many responses as the frame limit needs.
    pub(super) fn send_items(&mut self, items: Items) -> Result<(), CodecError> {
        let response = Response::Items(items);
        let result = self.send(&response);
        let (Err(CodecError::TooLarge { .. }), Response::Items(items)) = (&result, response) else {
            return result;
        };
        match halves(items) {
            Some((first, second)) => {
                self.send_items(first)?;
                self.send_items(second)
            }
            None => result,
        }
    }
}

/// Both halves, unless there is only one row.
fn halves(items: Items) -> Option<(Items, Items)> {
    fn split<T>(mut rows: Vec<T>, wrap: fn(Vec<T>) -> Items) -> Option<(Items, Items)> {
        let middle = rows.len() / 2;
        let second = rows.split_off(middle);
        if rows.is_empty() { None } else { Some((wrap(rows), wrap(second))) }
    }
    match items {
        Items::Pods(rows) => split(rows, Items::Pods),
        Items::Nodes(rows) => split(rows, Items::Nodes),
        Items::Fdb(rows) => split(rows, Items::Fdb),
        Items::Neighbors(rows) => split(rows, Items::Neighbors),
        Items::Flows(rows) => split(rows, Items::Flows),
        Items::Connections(rows) => split(rows, Items::Connections),
        Items::Ports(rows) => split(rows, Items::Ports),
        Items::Drops(rows) => split(rows, Items::Drops),
        Items::Peers(rows) => split(rows, Items::Peers),
        Items::Routes(rows) => split(rows, Items::Routes),
        Items::Services(rows) => split(rows, Items::Services),
        Items::Endpoints(rows) => split(rows, Items::Endpoints),
        Items::EndpointSlices(rows) => split(rows, Items::EndpointSlices),
        Items::Namespaces(rows) => split(rows, Items::Namespaces),
        Items::Traffic(rows) => split(rows, Items::Traffic),
        Items::Denials(rows) => split(rows, Items::Denials),
        Items::Documents(kind, mut rows) => {
            let second = rows.split_off(rows.len() / 2);
            (!rows.is_empty()).then_some((Items::Documents(kind, rows), Items::Documents(kind, second)))
        }
    }
}

/// Serves a connection until its peer hangs up or misbehaves.
pub(super) fn serve(control: &Control, stream: UnixStream, peer: Peer, access: Access, place: &Place) {
    let mut client = Client { stream, peer };
    if let Err(error) = converse(control, &mut client, access, place) {
        match error {
            CodecError::Closed | CodecError::Io(_) => tracing::debug!(pid = peer.pid, "connection: {error}"),
            CodecError::NotVpod(_)
            | CodecError::Version { .. }
            | CodecError::TooLarge { .. }
            | CodecError::Malformed(_) => {
                if let Some(suppressed) = BAD_REQUESTS.pass(Instant::now()) {
                    tracing::warn!(uid = peer.uid, pid = peer.pid, suppressed, "control socket: {error}");
                }
                let text = format!("the request cannot be read: {error}");
                // The peer may not be able to read it; it is closed in any case.
                let _ = client.send(&Response::Error(ApiError::new(ErrorCode::Invalid, text)));
            }
        }
    }
}

fn converse(control: &Control, client: &mut Client, access: Access, place: &Place) -> Result<(), CodecError> {
    client.stream.set_write_timeout(Some(WRITE_LIMIT))?;
    write_preamble(&mut client.stream)?;
    let stream = client.stream.try_clone()?;
    read_preamble(&mut Deadline::new(&stream, REQUEST_LIMIT))?;
    loop {
        let mut input = Deadline::new(&stream, IDLE_LIMIT);
        let request = match access {
            Access::Admin => read_frame::<AdminRequest>(&mut input, MAX_ADMIN_FRAME_BYTES)?,
            Access::ReadOnly | Access::System => {
                AdminRequest::Read(read_frame::<ReadRequest>(&mut input, MAX_READ_FRAME_BYTES)?)
            }
        };
        place.set_busy(true);
        requests::answer(control, client, request)?;
        place.set_busy(false);
    }
}

/// Reads from a stream until a point in time: `first` for the first byte, [`REQUEST_LIMIT`] from
/// there to the end.
struct Deadline<'a> {
    stream: &'a UnixStream,
    until: Instant,
    begun: bool,
}

impl<'a> Deadline<'a> {
    fn new(stream: &'a UnixStream, first: Duration) -> Self {
        Self { stream, until: Instant::now() + first, begun: false }
    }
}

impl Read for Deadline<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let count = match (&mut &*self.stream).read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            other => other?,
        };
        if !self.begun {
            self.begun = true;
            self.until = Instant::now() + REQUEST_LIMIT;
        }
        Ok(count)
    }
}
