//! A client's byte stream: TCP or TLS, watched.
//!
//! What is read moves the connection's state and is shown to the head scanner; what cannot be written for too
//! long, because the client does not read, ends the connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::connection::{Activity, HeadBytes};
use super::head_scan::HeadScanner;
use super::rewound::Rewound;

/// What a client is told whose head did not come in time (RFC 9110 §15.5.9).
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nserver: vpod-ingress\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 20\r\n\r\n408 Request Timeout\n";

/// The transport.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Rewound),
    Tls(Box<TlsStream<Rewound>>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ClientIo {
    transport: Transport,
    activity: Arc<Activity>,
    /// HTTP/1.1 only.
    scanner: Option<Box<HeadScanner>>,
    send_timeout: Duration,
    stuck: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    pub(crate) fn new(
        transport: Transport,
        activity: Arc<Activity>,
        h1: bool,
        send_timeout: Duration,
    ) -> Self {
        let scanner = h1.then(Box::default);
        Self { transport, activity, scanner, send_timeout, stuck: None }
    }

    fn on_read(&mut self, bytes: &[u8]) {
        let place = self.activity.on_bytes();
        let Some(scanner) = &mut self.scanner else { return };
        match place {
            HeadBytes::First => scanner.restart(),
            HeadBytes::Inside => {}
            HeadBytes::Outside => return,
        }
        scanner.feed(bytes);
        self.activity.on_seen(scanner.seen());
    }

    /// Tells a client whose head did not come in time, as far as it takes that at once.
    fn say_why(&mut self, cx: &mut Context<'_>) {
        if self.scanner.take().is_some() && Pin::new(&mut *self).poll_write(cx, TOO_SLOW).is_ready() {
            let _ = Pin::new(self).poll_flush(cx);
        }
    }

    /// Passes on what a write said, and begins to count when it has to wait.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let limit = self.send_timeout;
        let timer = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.is_given_up() {
            this.say_why(cx);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if let Some(bytes) = buf.filled().get(before..)
            && !bytes.is_empty()
        {
            this.on_read(bytes);
        }
        read
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        this.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The socket is closed right after; a tunnel may close one direction.
        if matches!(this.transport, Transport::Plain(_)) && !this.activity.is_tunnel() {
            return Poll::Ready(Ok(()));
        }
        let closed = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        this.watch(cx, closed)
    }
}
