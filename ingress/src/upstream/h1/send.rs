//! A request on its way out: the head, then the body as it comes from the client.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Body;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::encode::{self, Coding};
use crate::outbound::Head;
use crate::upstream::body::RequestBody;

/// Pieces up to this size are copied behind what waits to be written, larger ones are written from where they lie.
const MAX_COPY_BYTES: usize = 4 << 10;

/// See the module. INVARIANT: `small` goes out before `large`.
#[derive(Debug)]
pub(super) struct Sending {
    small: BytesMut,
    large: Bytes,
    /// `large` is a chunk, whose line end is still to be written.
    chunk_is_open: bool,
    body: RequestBody,
    coding: Coding,
    /// Anything has left, or has been taken from the body.
    begun: bool,
}

/// How far a request has got.
#[derive(Debug)]
pub(super) enum Sent {
    /// All of it is out.
    Whole,
    /// The endpoint takes no more for now.
    Writing,
    /// The client has not sent more yet.
    AwaitingBody,
    /// The client's body is bad; it knows why.
    BadBody,
    /// The endpoint takes no more at all, but may have answered.
    Refused,
    /// The connection is dead, and nothing has left by it.
    Unsent(RequestBody),
}

impl PartialEq for Sent {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            small: BytesMut::new(),
            large: Bytes::new(),
            chunk_is_open: false,
            body: RequestBody::Empty,
            coding: Coding::Nothing,
            begun: false,
        }
    }
}

impl Sending {
    pub(super) fn begin(&mut self, head: &Head, body: RequestBody) {
        self.begun = false;
        self.coding = encode::head(head, &body, &mut self.small);
        self.body = body;
    }

    /// Whether something is left to be sent.
    pub(super) fn is_under_way(&self) -> bool {
        self.coding != Coding::Nothing || !self.small.is_empty() || !self.large.is_empty()
    }

    /// Sends what can be sent without waiting.
    pub(super) fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Sent {
        loop {
            let awaiting = match self.poll_body(cx) {
                Poll::Ready(Err(())) => return Sent::BadBody,
                Poll::Ready(Ok(())) => false,
                Poll::Pending => true,
            };
            if self.small.is_empty() && self.large.is_empty() {
                if self.coding == Coding::Nothing {
                    return Sent::Whole;
                }
                if awaiting {
                    return Sent::AwaitingBody;
                }
                continue;
            }
            match self.poll_write(stream, cx) {
                Poll::Pending => return Sent::Writing,
                Poll::Ready(Ok(())) => self.begun = true,
                Poll::Ready(Err(_)) => return self.give_up(),
            }
        }
    }

    fn give_up(&mut self) -> Sent {
        let body = std::mem::replace(&mut self.body, RequestBody::Empty);
        let begun = self.begun;
        *self = Self::default();
        if begun { Sent::Refused } else { Sent::Unsent(body) }
    }

    /// Takes a piece of the body, if there is room for it.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        if self.coding == Coding::Nothing || !self.large.is_empty() || self.small.len() > MAX_COPY_BYTES {
            return Poll::Ready(Ok(()));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return Poll::Pending };
        self.begun = true;
        Poll::Ready(match frame {
            None => self.end(),
            Some(Err(_)) => Err(()),
            // Trailers are about this connection's message; they end here.
            Some(Ok(frame)) => frame.into_data().map_or(Ok(()), |data| self.take(data)),
        })
    }

    fn take(&mut self, data: Bytes) -> Result<(), ()> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.coding {
            Coding::Length(left) => *left = left.checked_sub(data.len() as u64).ok_or(())?,
            Coding::Chunks => self.small.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes()),
            Coding::Nothing => return Err(()),
        }
        let chunk = self.coding == Coding::Chunks;
        if data.len() > MAX_COPY_BYTES {
            self.large = data;
            self.chunk_is_open = chunk;
        } else {
            self.small.extend_from_slice(&data);
            if chunk {
                self.small.extend_from_slice(b"\r\n");
            }
        }
        if self.coding == Coding::Length(0) {
            return self.end();
        }
        Ok(())
    }

    /// The client's body is through.
    fn end(&mut self) -> Result<(), ()> {
        self.body = RequestBody::Empty;
        match std::mem::replace(&mut self.coding, Coding::Nothing) {
            Coding::Length(1..) => return Err(()),
            Coding::Chunks => self.small.extend_from_slice(b"0\r\n\r\n"),
            Coding::Length(0) | Coding::Nothing => {}
        }
        Ok(())
    }

    fn poll_write(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = Pin::new(stream);
        let written = if self.large.is_empty() {
            stream.poll_write(cx, &self.small)
        } else {
            stream.poll_write_vectored(cx, &[IoSlice::new(&self.small), IoSlice::new(&self.large)])
        };
        let Poll::Ready(written) = written else { return Poll::Pending };
        let written = written?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_small = written.min(self.small.len());
        self.small.advance(of_small);
        self.large.advance(written - of_small);
        if self.large.is_empty() && self.chunk_is_open {
            self.chunk_is_open = false;
            self.small.extend_from_slice(b"\r\n");
        }
        Poll::Ready(Ok(()))
    }
}
