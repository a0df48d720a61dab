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
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::connection::{Connection, HeadBytes};
use super::head_scan::HeadScanner;

/// The transport.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ClientIo {
    transport: Transport,
    connection: Arc<Connection>,
    /// HTTP/1.1 only.
    scanner: Option<Box<HeadScanner>>,
    send_timeout: Duration,
    stuck: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    pub(crate) fn new(
        transport: Transport,
        connection: Arc<Connection>,
        h1: bool,
        send_timeout: Duration,
    ) -> Self {
        let scanner = h1.then(Box::default);
        Self { transport, connection, scanner, send_timeout, stuck: None }
    }

    fn on_read(&mut self, bytes: &[u8]) {
        let place = self.connection.on_bytes();
        let Some(scanner) = &mut self.scanner else { return };
        match place {
            HeadBytes::First => scanner.restart(),
            HeadBytes::Inside => {}
            HeadBytes::Outside => return,
        }
        scanner.feed(bytes);
        self.connection.on_seen(scanner.seen());
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
        let closed = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        this.watch(cx, closed)
    }
}
