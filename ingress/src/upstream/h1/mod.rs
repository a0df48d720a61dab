//! HTTP/1.1 to an endpoint: one request and its response at a time.
//!
//! Written by hand where the front is the HTTP library's, because the library's client is made for programs that send requests from
//! anywhere: each goes through a queue, its response through another, its body through a third, and a request that may have to be sent
//! again is copied first. Here the head is written from where it lies, the parser is the same (`httparse`), and what the parser leaves
//! open is refused rather than guessed (`parse`, `chunked`). See `docs/design/0011-ingress-proxy.md`.
//!
//! A connection has no task: whoever waits for the response drives it, so that a request passes from the client's socket to the
//! endpoint's without a wake-up in between.
//!
//! ```text
//!   idle ── begin ──▶ head awaited ──▶ body awaited ── whole ──▶ idle, if both sides are through
//!                     (the request's body may be on its way in both)
//! ```

mod chunked;
mod encode;
mod parse;
mod send;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use hyper::Method;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use self::chunked::Step;
use self::parse::{Field, Framing, ResponseHead};
use self::send::{Sending, Sent};
use super::body::RequestBody;
use super::exchange::{Failure, Limits, Received};
use super::patience::Patience;
use crate::outbound::Head;

/// What is read at once, at first and at most. It grows while reads fill it, so that large bodies cost few of them.
const MIN_READ_BYTES: usize = 8 << 10;
const MAX_READ_BYTES: usize = 64 << 10;
/// Below this room for a read, more is made.
const MIN_ROOM_BYTES: usize = 4 << 10;
/// Interim responses (1xx) before the one that counts.
const MAX_INTERIM: u32 = 16;

/// A connection. Boxed: it moves from the pool to its request, to the response's body and back.
#[derive(Debug)]
pub(crate) struct H1 {
    stream: TcpStream,
    input: BytesMut,
    read_size: usize,
    sending: Sending,
    framing: Framing,
    /// Nothing so far stands against another request.
    reusable: bool,
    /// Scratch space of the parser.
    fields: Vec<Field>,
    reading: Patience,
    writing: Patience,
}

/// What an endpoint sent is no HTTP/1.1, or could be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// The head.
    #[error("the head of the response is malformed")]
    Head,
    /// How long the body is.
    #[error("the response does not say clearly where it ends")]
    Framing,
    /// A chunk of the body.
    #[error("the response's chunks are malformed")]
    Chunk,
    /// It answers what was not asked.
    #[error("the endpoint switched protocols unasked")]
    Switch,
    /// It ends too early.
    #[error("the endpoint closed the connection")]
    Closed,
}

impl From<Malformed> for io::Error {
    fn from(of: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, of)
    }
}

impl H1 {
    pub(crate) fn new(stream: TcpStream) -> Box<Self> {
        Box::new(Self {
            stream,
            input: BytesMut::new(),
            read_size: MIN_READ_BYTES,
            sending: Sending::default(),
            framing: Framing::Length(0),
            reusable: true,
            fields: Vec::new(),
            reading: Patience::default(),
            writing: Patience::default(),
        })
    }

    /// Whether the endpoint has kept quiet, and the connection open, while it was not used.
    pub(crate) fn is_alive(&self) -> bool {
        match self.stream.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => true,
            Poll::Ready(Err(_)) => false,
            // Readiness may be left over from a read that took all there was.
            Poll::Ready(Ok(())) => {
                matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }

    /// Sends a request and waits for the response's head.
    pub(crate) async fn exchange(
        &mut self,
        head: &Head,
        body: RequestBody,
        limits: Limits,
    ) -> Result<Received, Failure> {
        self.reading.limit(limits.read);
        self.writing.limit(limits.send);
        self.sending.begin(head, body);
        self.framing = Framing::Close;
        let to_head = head.method() == Method::HEAD;
        let mut interim = 0;
        let head = poll_fn(|cx| self.poll_head(cx, to_head, &mut interim)).await?;
        Ok(Received { status: head.status, headers: head.headers })
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        to_head: bool,
        interim: &mut u32,
    ) -> Poll<Result<ResponseHead, Failure>> {
        let sent = match self.sending.poll(&mut self.stream, cx) {
            Sent::Unsent(body) => return Poll::Ready(Err(Failure::NotSent(body))),
            Sent::BadBody => return Poll::Ready(Err(Failure::Broken(Malformed::Closed.into()))),
            sent => sent,
        };
        self.reusable &= sent != Sent::Refused;
        let broken = |error: io::Error| Poll::Ready(Err(Failure::Broken(error)));
        loop {
            match parse_head(&mut self.input, to_head, &mut self.fields) {
                Err(error) => return broken(error.into()),
                Ok(None) => {}
                Ok(Some(head)) if head.status.is_informational() => {
                    *interim += 1;
                    if *interim > MAX_INTERIM {
                        return broken(Malformed::Head.into());
                    }
                    continue;
                }
                Ok(Some(mut head)) => {
                    self.reading.calm();
                    self.reusable &= head.keep_alive;
                    self.framing = std::mem::replace(&mut head.framing, Framing::Close);
                    return Poll::Ready(Ok(head));
                }
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return broken(Malformed::Closed.into()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return broken(error),
                Poll::Pending => {
                    ready!(self.poll_late(cx, &sent));
                    return Poll::Ready(Err(Failure::Timeout));
                }
            }
        }
    }

    /// Ready when the endpoint has taken too long: to take the request, or to answer it. What the client takes is not its fault.
    fn poll_late(&mut self, cx: &mut Context<'_>, sent: &Sent) -> Poll<()> {
        match sent {
            Sent::Writing => self.writing.poll_over(cx, 0),
            Sent::Whole | Sent::Refused => self.reading.poll_over(cx, 0),
            Sent::AwaitingBody | Sent::BadBody | Sent::Unsent(_) => {
                self.writing.calm();
                self.reading.calm();
                Poll::Pending
            }
        }
    }

    /// The next piece of the response's body; `None` after the last.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.sending.is_under_way() {
            match self.sending.poll(&mut self.stream, cx) {
                Sent::BadBody | Sent::Unsent(_) => return Poll::Ready(Some(Err(Malformed::Closed.into()))),
                sent => self.reusable &= sent != Sent::Refused,
            }
        }
        loop {
            match self.take_data() {
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
                Ok(Step::Data(data)) => {
                    self.reading.calm();
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::More) => {}
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) if matches!(self.framing, Framing::Close) => {
                    self.framing = Framing::Length(0);
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Some(Err(Malformed::Closed.into()))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {
                    ready!(self.reading.poll_over(cx, 0));
                    return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
                }
            }
        }
    }

    fn take_data(&mut self) -> Result<Step, Malformed> {
        match &mut self.framing {
            Framing::Length(0) => Ok(Step::End),
            Framing::Chunks(chunked) => chunked.next(&mut self.input),
            Framing::Length(_) | Framing::Close if self.input.is_empty() => Ok(Step::More),
            Framing::Close => Ok(Step::Data(self.input.split().freeze())),
            Framing::Length(left) => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                *left = left.saturating_sub(len as u64);
                Ok(Step::Data(self.input.split_to(len).freeze()))
            }
        }
    }

    /// Whether the response's body is through.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.framing {
            Framing::Length(left) => *left == 0,
            Framing::Chunks(chunked) => chunked.is_done(),
            Framing::Close => false,
        }
    }

    /// How much of the response's body is to come, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.framing {
            Framing::Length(left) => Some(*left),
            Framing::Chunks(_) | Framing::Close => None,
        }
    }

    /// Whether it can take another request; it then holds no more memory than it must.
    pub(crate) fn rest(&mut self) -> bool {
        // Bytes that nobody asked for would be taken for the next response.
        if !(self.reusable && self.is_whole() && self.input.is_empty() && !self.sending.is_under_way()) {
            return false;
        }
        if self.read_size > MIN_READ_BYTES {
            self.input = BytesMut::new();
        }
        true
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < MIN_ROOM_BYTES.max(self.read_size / 2) {
            self.input.reserve(self.read_size);
        }
        let room = self.input.capacity() - self.input.len();
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx));
        if let Ok(len) = read {
            if len == room {
                self.read_size = (self.read_size * 2).min(MAX_READ_BYTES);
            } else if len < self.read_size / 4 {
                self.read_size = (self.read_size / 2).max(MIN_READ_BYTES);
            }
        }
        Poll::Ready(read)
    }
}

/// Nothing is parsed where nothing has come.
fn parse_head(
    input: &mut BytesMut,
    to_head: bool,
    fields: &mut Vec<Field>,
) -> Result<Option<ResponseHead>, Malformed> {
    if input.is_empty() {
        return Ok(None);
    }
    let head = parse::head(input, to_head, fields)?;
    if head.as_ref().is_some_and(|head| head.status == hyper::StatusCode::SWITCHING_PROTOCOLS) {
        return Err(Malformed::Switch);
    }
    Ok(head)
}
