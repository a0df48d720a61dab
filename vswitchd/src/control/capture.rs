//! `capture`: the datapath writes pcapng into one end of a stream, the client gets the other.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::codec::CodecError;
use protocol::link::{FromDatapath, ToDatapath};
use protocol::message::{ApiError, ErrorCode, PodRef, Response};

use super::error::chain;
use super::node::Control;
use super::pods::containers;
use super::server::Client;
use super::switch::unexpected;

/// Read at once; several superframes.
const CHUNK_BYTES: usize = 256 << 10;

/// A capture under way; ends when dropped.
pub(crate) struct Capture {
    stream: UnixStream,
}

/// Starts capturing at the port of `pod`.
pub(crate) fn start(control: &Control, pod: &PodRef, snaplen: u32) -> Result<Capture, ApiError> {
    let port = containers::usable(control, pod)?.port;
    let fail = |text: String| ApiError::new(ErrorCode::Unavailable, format!("capture of pod {pod}: {text}"));
    let (stream, sink) = UnixStream::pair().map_err(|e| fail(e.to_string()))?;
    sink.set_nonblocking(true).map_err(|e| fail(e.to_string()))?;
    let request = ToDatapath::StartCapture { port, snaplen };
    match control.switch.link().request(request, &[sink.as_fd()]) {
        Ok((FromDatapath::Done, _)) => Ok(Capture { stream }),
        Ok((other, _)) => Err(fail(chain(&unexpected(other)))),
        Err(error) => Err(fail(chain(&error))),
    }
}

impl Capture {
    /// Passes everything on until the client hangs up or the datapath ends the capture.
    pub(crate) fn send(mut self, client: &mut Client) -> Result<(), CodecError> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            if client_left(&self.stream, &client.stream)? {
                return Err(CodecError::Closed);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return client.send(&Response::Done),
                Ok(count) => client.send(&Response::Bytes(buffer[..count].to_vec()))?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Waits until there is something to pass on, or the client hung up, which is told by `true`. A client
/// says nothing during a capture, so anything it sends ends it too.
fn client_left(stream: &UnixStream, client: &UnixStream) -> Result<bool, CodecError> {
    let mut fds =
        [PollFd::new(stream.as_fd(), PollFlags::POLLIN), PollFd::new(client.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
            Ok(_) => return Ok(fds[1].any().unwrap_or(true)),
        }
    }
}
