//! Bodies on their way: a client's to an endpoint, an endpoint's to a client. Never held as a whole.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::balance::Lease;
use super::exchange::H1;
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
    inner: Incoming,
    connection: Option<(H1, Rc<Pool>)>,
    lease: Lease,
    patience: Patience,
}

impl ResponseBody {
    pub(crate) fn new(
        inner: Incoming,
        connection: Option<(H1, Rc<Pool>)>,
        lease: Lease,
        patience: Duration,
    ) -> Self {
        Self { inner, connection, lease, patience: Patience::new(patience) }
    }

    /// The whole body has come.
    fn release(&mut self, cx: &mut Context<'_>) {
        if let Some((mut h1, pool)) = self.connection.take() {
            h1.drive(cx);
            if h1.is_idle() {
                pool.put(self.lease.endpoint().address, h1);
            }
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let first = Pin::new(&mut self.inner).poll_frame(cx);
        let Some((h1, _)) = self.connection.as_mut() else { return first };
        if first.is_ready() {
            return first;
        }
        h1.drive(cx);
        Pin::new(&mut self.inner).poll_frame(cx)
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
        match this.poll_inner(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.calm();
                if this.inner.is_end_stream() {
                    this.release(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.connection = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.release(cx);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.patience.poll_over(cx, 0));
                this.connection = None;
                Poll::Ready(Some(Err("the endpoint stopped sending".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body without bytes is dropped unread: its connection is as good as any.
        if self.connection.is_some() && self.inner.is_end_stream() {
            self.release(&mut Context::from_waker(Waker::noop()));
        }
    }
}
