//! TCP (RFC 7766): queries pipelined, answered as they are ready, within bounds.
//!
//! Bounds: [`MAX_CONNECTIONS`] in all, shared fairly, and [`MAX_OF_ONE`] of one address; `MAX_PIPELINED` queries of one connection at a
//! time, further ones are not read; a connection that is idle, that sends a query too slowly or too long, or that does not take answers
//! is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Shared;
use super::later::{complete, finish, observation};
use super::respond::{Outcome, refused, respond};
use super::udp::MAX_QUERY_BYTES;
use crate::metrics::{Counters, Protocol};
use crate::wire::MAX_MESSAGE_BYTES;

/// Connections at one time; 16 queries of 4 KiB each at most, and an answer.
pub const MAX_CONNECTIONS: usize = 512;
/// Connections of one address: one pod cannot take all.
pub const MAX_OF_ONE: usize = 128;
/// Queries of one connection that are being answered.
const MAX_PIPELINED: usize = 16;
/// Without a query, as RFC 7766 §6.2.3 asks: a few seconds.
const IDLE: Duration = Duration::from_secs(10);
/// For the rest of a query, and for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
const BACKLOG: i32 = 1024;
/// After `accept` failed: descriptors may be out.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Opens a listener.
///
/// # Errors
/// If the address is taken or not ours.
pub fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Answers at `listener` for ever.
///
/// # Errors
/// If the listener cannot be used.
pub async fn run(
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    listener: std::net::TcpListener,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        // One too many is closed at once: the client tries again or asks another server.
        let Some(place) = shared.connections.take(client.ip()) else { continue };
        let (shared, counters) = (Arc::clone(&shared), Arc::clone(&counters));
        tokio::spawn(async move {
            // An error is the client's: it went away or was too slow.
            let _ = serve(shared, counters, stream, client).await;
            drop(place);
        });
    }
}

async fn serve(
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    stream: TcpStream,
    client: SocketAddr,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut read, write) = stream.into_split();
    let write = Arc::new(tokio::sync::Mutex::new(write));
    let pipelined = Arc::new(Semaphore::new(MAX_PIPELINED));
    // Which address is first: another for each connection and query.
    let mut turn = usize::from(client.port());
    loop {
        let permit = Arc::clone(&pipelined).acquire_owned().await.map_err(io::Error::other)?;
        let mut len = [0; 2];
        timeout(IDLE, read.read_exact(&mut len)).await??;
        let len = usize::from(u16::from_be_bytes(len));
        if len > MAX_QUERY_BYTES {
            return Ok(());
        }
        let mut message = vec![0; len];
        timeout(PATIENCE, read.read_exact(&mut message)).await??;
        let begun = Instant::now();
        turn = turn.wrapping_add(1);
        let mut out = Vec::with_capacity(512);
        let outcome = {
            let names = shared.names.load();
            respond(&shared, names.as_deref(), &message, true, turn, &mut out)
        };
        match outcome {
            // Not DNS, or an answer: whoever it is, it is not a client.
            Outcome::Silence => return Ok(()),
            Outcome::Answer(summary) => {
                send(&write, &out).await?;
                let seen = observation(&summary, Protocol::Tcp, &client, message.len(), out.len());
                finish(&shared, &counters, &message, &client, &seen, begun);
            }
            Outcome::Later => {
                let Some(place) = shared.waiting.take(client.ip()) else {
                    let Some(summary) = refused(&message, &mut out) else { return Ok(()) };
                    send(&write, &out).await?;
                    let seen = observation(&summary, Protocol::Tcp, &client, message.len(), out.len());
                    finish(&shared, &counters, &message, &client, &seen, begun);
                    continue;
                };
                let (shared, counters) = (Arc::clone(&shared), Arc::clone(&counters));
                let write = Arc::clone(&write);
                tokio::spawn(async move {
                    if let Some(summary) = complete(&shared, &message, true, &mut out).await
                        && send(&write, &out).await.is_ok()
                    {
                        let seen = observation(&summary, Protocol::Tcp, &client, message.len(), out.len());
                        finish(&shared, &counters, &message, &client, &seen, begun);
                    }
                    drop((permit, place));
                });
            }
        }
    }
}

/// Sends an answer whole, in one segment with its length where it fits.
async fn send(write: &tokio::sync::Mutex<OwnedWriteHalf>, answer: &[u8]) -> io::Result<()> {
    let len = u16::try_from(answer.len().min(MAX_MESSAGE_BYTES)).unwrap_or(u16::MAX);
    let framed = [&len.to_be_bytes()[..], answer].concat();
    timeout(PATIENCE, async { write.lock().await.write_all(&framed).await }).await?
}
