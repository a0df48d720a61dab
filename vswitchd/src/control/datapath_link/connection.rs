//! One connection to a datapath: requests of any thread go out, the supervisor's thread takes the
//! answers in and hands each to whoever waits for it.
//!
//! INVARIANT: a request is in `waiting` before its message is sent, and is taken out by exactly one
//! of: its answer, its time limit, the end of the connection.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use netdev::seqpacket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use parking_lot::Mutex;
use protocol::codec;
use protocol::link::{Envelope, FromDatapath, MAX_FDS, MAX_MESSAGE_BYTES, ToDatapath};

use super::LinkError;

type Answer = (FromDatapath, Vec<OwnedFd>);

/// See the module.
pub(super) struct Connection {
    socket: OwnedFd,
    next_id: AtomicU64,
    /// `None` once the connection has ended: nobody would answer.
    waiting: Mutex<Option<HashMap<u64, Sender<Answer>>>>,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, next_id: AtomicU64::new(1), waiting: Mutex::new(Some(HashMap::new())) }
    }

    /// Sends `body` and waits for its answer.
    pub(super) fn request(
        &self,
        body: ToDatapath,
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<Answer, LinkError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let message = codec::encode(&Envelope { id, body }, MAX_MESSAGE_BYTES)?;
        let (sender, answer) = bounded(1);
        match self.waiting.lock().as_mut() {
            Some(waiting) => waiting.insert(id, sender),
            None => return Err(LinkError::Lost),
        };
        if let Err(e) = seqpacket::send(self.socket.as_fd(), &message, fds) {
            self.forget(id);
            return Err(if is_hang_up(&e) { LinkError::Lost } else { e.into() });
        }
        answer.recv_timeout(limit).map_err(|e| match e {
            RecvTimeoutError::Timeout => {
                self.forget(id);
                LinkError::NoAnswer
            }
            RecvTimeoutError::Disconnected => LinkError::Lost,
        })
    }

    fn forget(&self, id: u64) {
        if let Some(waiting) = self.waiting.lock().as_mut() {
            waiting.remove(&id);
        }
    }

    /// Takes answers and events in until the connection ends.
    pub(super) fn serve(&self, mut on_event: impl FnMut(FromDatapath)) {
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        loop {
            match self.receive(&mut buffer) {
                Ok(Some((0, body, _))) => on_event(body),
                Ok(Some((id, body, fds))) => {
                    let waiter = self.waiting.lock().as_mut().and_then(|waiting| waiting.remove(&id));
                    // Whoever waited may have given up; its descriptors are closed here.
                    if let Some(waiter) = waiter {
                        let _ = waiter.send((body, fds));
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    if !is_hang_up(&e) {
                        tracing::warn!("the connection to the datapath process failed: {e}");
                    }
                    break;
                }
            }
        }
        // Wakes all who wait: their senders are dropped.
        self.waiting.lock().take();
    }

    /// The next message, within `limit`.
    pub(super) fn receive_within(&self, limit: Duration) -> io::Result<Option<(FromDatapath, Vec<OwnedFd>)>> {
        let mut readable = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut readable, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        Ok(self.receive(&mut buffer)?.map(|(_, body, fds)| (body, fds)))
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(u64, FromDatapath, Vec<OwnedFd>)>> {
        let (len, fds) = seqpacket::recv(self.socket.as_fd(), buffer, MAX_FDS)?;
        if len == 0 {
            return Ok(None);
        }
        let envelope: Envelope<FromDatapath> =
            codec::decode(buffer.get(..len).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(Some((envelope.id, envelope.body, fds)))
    }

    /// Ends the connection.
    pub(super) fn hang_up(&self) {
        // Already ended is as good.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}
