//! Payload integrity: a transfer whose two ends hash what they sent and what they got.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{address_of, command, serve_until_stdin_ends};
use crate::bed::Damaged;
use crate::host::{Running, wait_for_some};
use crate::subject::Subject;

/// A transfer without progress for so long has failed.
const STALL: Duration = Duration::from_secs(10);
/// The slowest peer moves the verified bytes at some 10 MB/s on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends `bytes` through the subject, client to server, and compares hashes.
pub(crate) fn verify(subject: &dyn Subject, bytes: u64) -> Result<()> {
    let address = address_of(subject.server());
    let mut receive = command(Some(subject.server()))?;
    let receiver = Running::start_server(receive.args(["receive", &address]))?;
    let mut send = command(Some(subject.client()))?;
    send.args(["send", &address, &bytes.to_string()]);
    let sent = Running::start(&mut send)?.finish(LIMIT).context("hashed transfer: sender")?;
    let got = receiver.finish(LIMIT).context("hashed transfer: receiver")?;
    if got != sent {
        return Err(
            Damaged::by(subject, "a TCP stream arrived with another hash: payload was damaged").into()
        );
    }
    Ok(())
}

pub(super) fn receive(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    // The end of the stream ends this; when stdin ends, the last bytes may still be on their way.
    serve_until_stdin_ends(|| {
        thread::sleep(STALL);
        std::process::exit(1);
    });
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(STALL))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    println!("{}", hex(&hash.finalize()));
    Ok(())
}

pub(super) fn send(address: SocketAddr, bytes: u64) -> Result<()> {
    let mut stream = connect(address)?;
    stream.set_write_timeout(Some(STALL))?;
    let mut hash = Sha256::new();
    // Odd length, so that writes fall on ever other segment boundaries.
    let mut buffer = vec![0; 65_521];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = bytes;
    while left > 0 {
        for chunk in buffer.chunks_mut(8) {
            state = xorshift(state);
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        hash.update(&buffer[..n]);
        stream.write_all(&buffer[..n])?;
        left -= n as u64;
    }
    println!("{}", hex(&hash.finalize()));
    Ok(())
}

/// Connects without Nagle's delay. The first packets of a new pod may be lost to address resolution.
pub(super) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let attempt = || Ok(TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok());
    let stream = wait_for_some(STALL, attempt).with_context(|| format!("no connection to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

const fn xorshift(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ (x << 17)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
