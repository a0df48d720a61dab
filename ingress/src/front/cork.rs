//! Small writes of an HTTP/2 connection, gathered until it has nothing more to say for now.
//!
//! The library flushes after every frame of data, so responses that are ready together would be a TLS record and a system call each. Here
//! a flush does nothing; [`Flushing`] does it after each time that it has polled the connection.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::io::ClientIo;

/// What is gathered at most: a TLS record.
const GATHERED_BYTES: usize = 16 << 10;
/// What is worth a copy; larger writes go out at once, behind what was gathered.
const COPIED_BYTES: usize = 4 << 10;
/// Pieces of one write: more wait for the next.
const PIECES: usize = 8;

/// The connection's side. One task polls both sides, one after the other.
#[derive(Debug)]
pub(super) struct Corked<W = ClientIo>(Rc<RefCell<Gathering<W>>>);

/// The side of who polls the connection.
#[derive(Debug)]
pub(super) struct Cork<W = ClientIo>(Rc<RefCell<Gathering<W>>>);

/// What is written to, and what has not been written yet.
#[derive(Debug)]
struct Gathering<W> {
    inner: W,
    gathered: BytesMut,
}

/// A connection that writes to a [`Corked`], with its cork.
pub(super) struct Flushing<C, W = ClientIo> {
    pub(super) connection: C,
    cork: Cork<W>,
    ended: bool,
}

pub(super) fn cork<W>(inner: W) -> (Corked<W>, Cork<W>) {
    let shared = Rc::new(RefCell::new(Gathering { inner, gathered: BytesMut::new() }));
    (Corked(Rc::clone(&shared)), Cork(shared))
}

impl<W: AsyncWrite + Unpin> Gathering<W> {
    /// Takes some of what is given: into the buffer, or with all of that to where it goes.
    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        if len < COPIED_BYTES && self.gathered.len() + len <= GATHERED_BYTES {
            bufs.iter().for_each(|buf| self.gathered.extend_from_slice(buf));
            return Poll::Ready(Ok(len));
        }
        loop {
            let mut pieces = [IoSlice::new(&[]); PIECES + 1];
            let all = std::iter::once(&*self.gathered).chain(bufs.iter().map(|buf| &**buf));
            for (piece, bytes) in pieces.iter_mut().zip(all) {
                *piece = IoSlice::new(bytes);
            }
            let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &pieces))?;
            let gathered = self.gathered.len();
            self.gathered.advance(written.min(gathered));
            // None of these, unless there is nothing else: a write of nothing means that nothing can be written.
            if written > gathered || written == 0 {
                return Poll::Ready(Ok(written.saturating_sub(gathered)));
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

impl<C, W> Flushing<C, W> {
    pub(super) fn new(connection: C, cork: Cork<W>) -> Self {
        Self { connection, cork, ended: false }
    }
}

/// Ready when the connection has ended and its last bytes are out, or cannot be written.
impl<C: Future + Unpin, W: AsyncWrite + Unpin> Future for Flushing<C, W> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.ended = this.ended || Pin::new(&mut this.connection).poll(cx).is_ready();
        match this.cork.0.borrow_mut().poll_flush(cx) {
            Poll::Ready(Ok(())) if !this.ended => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<W: AsyncRead + Unpin> AsyncRead for Corked<W> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().inner).poll_read(cx, buf)
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Corked<W> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.borrow_mut();
        ready!(gathering.poll_flush(cx))?;
        Pin::new(&mut gathering.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Takes as much at a time as it is told, 0 is not now; and counts.
    #[derive(Debug, Default)]
    struct Taking {
        takes: Vec<usize>,
        taken: Vec<u8>,
        writes: usize,
    }

    impl AsyncWrite for Taking {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let takes = self.takes.pop().unwrap_or(usize::MAX).min(buf.len());
            if takes == 0 {
                return Poll::Pending;
            }
            self.writes += 1;
            self.taken.extend_from_slice(&buf[..takes]);
            Poll::Ready(Ok(takes))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn polled<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
        Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn small_writes_go_out_together_when_the_connection_waits() {
        let (mut corked, cork) = cork(Taking::default());
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..5 {
            assert!(Pin::new(&mut corked).poll_write(&mut cx, &[1; 1100]).is_ready());
            assert!(Pin::new(&mut corked).poll_flush(&mut cx).is_ready());
        }
        assert_eq!(corked.0.borrow().inner.writes, 0);
        assert!(polled(&mut Flushing::new(std::future::pending::<()>(), cork)).is_pending());
        let (writes, taken) = (corked.0.borrow().inner.writes, corked.0.borrow().inner.taken.len());
        assert_eq!((writes, taken), (1, 5500));
    }

    #[test]
    fn a_connection_has_ended_when_its_last_bytes_are_out() {
        let taking = Taking { takes: vec![0, 3], ..Taking::default() };
        let (mut corked, cork) = cork(taking);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut corked).poll_write(&mut cx, b"goodbye").is_ready());
        let mut flushing = Flushing::new(std::future::ready(()), cork);
        assert!(polled(&mut flushing).is_pending());
        assert!(polled(&mut flushing).is_ready(), "the connection is not polled again");
        assert_eq!(corked.0.borrow().inner.taken, b"goodbye");
    }

    proptest! {
        #[test]
        fn all_bytes_come_out_in_order(
            writes in proptest::collection::vec((0usize..9000, 0usize..3000), 1..40),
            takes in proptest::collection::vec(0usize..12_000, 0..60),
        ) {
            let (mut corked, cork) = cork(Taking { takes, ..Taking::default() });
            let mut flushing = Flushing::new(std::future::pending::<()>(), cork);
            let mut cx = Context::from_waker(Waker::noop());
            let mut wanted: Vec<u8> = Vec::new();
            for (at, (first, second)) in writes.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..first + second).map(|n| (n + at).to_le_bytes()[0]).collect();
                let mut left = &bytes[..];
                while !left.is_empty() {
                    let (one, two) = left.split_at(first.min(left.len()));
                    let bufs = [IoSlice::new(one), IoSlice::new(two)];
                    match Pin::new(&mut corked).poll_write_vectored(&mut cx, &bufs) {
                        Poll::Ready(taken) => left = &left[taken.unwrap()..],
                        Poll::Pending => prop_assert!(polled(&mut flushing).is_pending()),
                    }
                }
                wanted.extend_from_slice(&bytes);
            }
            while !corked.0.borrow().gathered.is_empty() {
                prop_assert!(polled(&mut flushing).is_pending());
            }
            prop_assert!(corked.0.borrow().gathered.capacity() <= 2 * GATHERED_BYTES);
            prop_assert_eq!(&corked.0.borrow().inner.taken, &wanted);
        }
    }
}
