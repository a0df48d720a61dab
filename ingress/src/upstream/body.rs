//! Bodies on their way: a client's to an endpoint, an endpoint's to a client. Never held as a whole.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::balance::Lease;
use super::h1::H1;
use super::patience::Patience;
use super::pool::Pool;
use crate::clock::now_ms;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a client's body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    /// More than the route allows.
    #[error("the request body is larger than allowed")]
    TooLarge,
    /// Nothing came for too long.
    #[error("the request body came too slowly")]
    TooSlow,
    /// It is malformed, or the client is gone.
    #[error("the request body ended early")]
    Broken,
}

/// What the sender of a request knows about its body on the way.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) fault: Cell<Option<BodyFault>>,
    /// When the last piece passed.
    pub(crate) at_ms: Cell<u64>,
    pub(crate) bytes: Cell<u64>,
}

/// A request's body.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// There is none; such a request can be sent twice.
    Empty,
    /// As it comes from the client.
    Stream(Box<Streamed>),
}

/// See [`RequestBody`].
#[derive(Debug)]
pub(crate) struct Streamed {
    inner: Incoming,
    /// Bytes that may still come.
    left: u64,
    patience: Patience,
    progress: Rc<Progress>,
}

impl RequestBody {
    pub(crate) fn stream(inner: Incoming, limit: u64, patience: Duration, progress: Rc<Progress>) -> Self {
        let left = if limit == 0 { u64::MAX } else { limit };
        Self::Stream(Box::new(Streamed { inner, left, patience: Patience::new(patience), progress }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Streamed {
    fn fail<T>(&self, fault: BodyFault) -> Poll<Option<Result<T, BoxError>>> {
        self.progress.fault.set(Some(fault));
        Poll::Ready(Some(Err(fault.into())))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.patience.poll_over(cx, 0));
                return self.fail(BodyFault::TooSlow);
            }
        };
        self.patience.calm();
        match frame {
            None => Poll::Ready(None),
            Some(Err(_)) => self.fail(BodyFault::Broken),
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = self.left.checked_sub(len) else {
                    return self.fail(BodyFault::TooLarge);
                };
                self.left = left;
                self.progress.at_ms.set(now_ms());
                self.progress.bytes.set(self.progress.bytes.get().saturating_add(len));
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(streamed) => streamed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(streamed) => streamed.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(streamed) => streamed.inner.size_hint(),
        }
    }
}

/// A response's body. Over HTTP/1.1 it drives the connection it comes from, in the task of whoever reads it,
/// and gives it back to the pool when it is through.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    lease: Lease,
    /// When the whole response must have come.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Where a response's body comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A connection of its own.
    H1(Box<H1>, Rc<Pool>),
    /// A shared one, which others drive; and how long to wait for a piece.
    Shared(Incoming, Patience),
    /// Nothing more.
    Over,
}

impl ResponseBody {
    pub(crate) fn new(source: Source, lease: Lease, deadline: Option<Instant>) -> Self {
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        let mut body = Self { source, lease, deadline };
        body.release();
        body
    }

    /// Gives the connection back if the whole body has come.
    fn release(&mut self) {
        if !matches!(&self.source, Source::H1(h1, _) if h1.is_whole()) {
            return;
        }
        if let Source::H1(h1, pool) = std::mem::replace(&mut self.source, Source::Over) {
            pool.put(self.lease.endpoint().address, h1);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = this.source.poll_frame(cx);
        match frame {
            Poll::Pending => {
                let Some(deadline) = &mut this.deadline else { return Poll::Pending };
                ready!(deadline.as_mut().poll(cx));
                this.source = Source::Over;
                Poll::Ready(Some(Err("the response took too long".into())))
            }
            Poll::Ready(frame) => {
                match &frame {
                    Some(Ok(_)) => this.release(),
                    Some(Err(_)) => this.source = Source::Over,
                    None => this.release(),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::H1(h1, _) => h1.is_whole(),
            Source::Shared(body, _) => body.is_end_stream(),
            Source::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::H1(h1, _) => h1.length().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Shared(body, _) => body.size_hint(),
            Source::Over => SizeHint::with_exact(0),
        }
    }
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            Self::Over => Poll::Ready(None),
            Self::H1(h1, _) => {
                h1.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data).map_err(Into::into)))
            }
            Self::Shared(body, patience) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => {
                    patience.calm();
                    Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
                }
                Poll::Pending => {
                    ready!(patience.poll_over(cx, 0));
                    Poll::Ready(Some(Err("the endpoint stopped sending".into())))
                }
            },
        }
    }
}
