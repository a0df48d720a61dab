//! Connections that have become something else, as a WebSocket: bytes both ways until either side ends.
//!
//! A tunnel knows nothing of routes: no change can cut it. It ends when its client or its endpoint ends it, when
//! nothing passes for long, or when the time to drain is over.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::now_ms;
use crate::upstream::balance::Lease;

/// A tunnel through which nothing passes is closed after an hour: TCP itself would not notice a client that is gone.
const IDLE: Duration = Duration::from_secs(3600);
/// Held for each direction.
const BUFFER_BYTES: usize = 8 << 10;

/// Connects both sides when both have switched.
pub(crate) async fn run(client: OnUpgrade, endpoint: OnUpgrade, lease: Lease) {
    let (client, endpoint) = match (client.await, endpoint.await) {
        (Ok(client), Ok(endpoint)) => (client, endpoint),
        (Err(error), _) | (_, Err(error)) => {
            tracing::debug!(%error, "an upgrade was not completed");
            return;
        }
    };
    let active_ms = Rc::new(Cell::new(now_ms()));
    let mut client = Watched { io: TokioIo::new(client), active_ms: Rc::clone(&active_ms) };
    let mut endpoint = TokioIo::new(endpoint);
    let copying =
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER_BYTES, BUFFER_BYTES);
    tokio::select! {
        _ = copying => {}
        () = idle(&active_ms) => {}
    }
    drop(lease);
}

async fn idle(active_ms: &Cell<u64>) {
    loop {
        let quiet = Duration::from_millis(now_ms().saturating_sub(active_ms.get()));
        match IDLE.checked_sub(quiet) {
            None | Some(Duration::ZERO) => return,
            Some(left) => tokio::time::sleep(left).await,
        }
    }
}

/// Notes when something passes.
#[derive(Debug)]
struct Watched {
    io: TokioIo<Upgraded>,
    active_ms: Rc<Cell<u64>>,
}

impl Watched {
    fn note<T>(&self, outcome: Poll<T>) -> Poll<T> {
        if outcome.is_ready() {
            self.active_ms.set(now_ms());
        }
        outcome
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
