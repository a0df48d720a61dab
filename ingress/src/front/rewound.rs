//! A client's TCP stream of which something has been read already: to find a PROXY header, or which HTTP is spoken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Room for what is read ahead: the whole head of most requests.
const FIRST_BYTES: usize = 2 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rewound {
    first: BytesMut,
    stream: TcpStream,
}

impl Rewound {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { first: BytesMut::new(), stream }
    }

    /// Reads more ahead. False at the end of the stream, or of what may be read ahead.
    pub(crate) async fn read_ahead(&mut self) -> io::Result<bool> {
        if self.first.capacity() == 0 {
            self.first.reserve(FIRST_BYTES);
        }
        if self.first.len() >= FIRST_BYTES {
            return Ok(false);
        }
        Ok(self.stream.read_buf(&mut self.first).await? > 0)
    }

    /// What has been read ahead.
    pub(crate) fn first(&self) -> &[u8] {
        &self.first
    }

    /// Takes bytes away from the front of that.
    pub(crate) fn skip(&mut self, len: usize) {
        self.first.advance(len.min(self.first.len()));
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = self.first.len().min(buf.remaining());
        buf.put_slice(self.first.get(..len).unwrap_or_default());
        self.first.advance(len);
        if self.first.is_empty() {
            self.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
