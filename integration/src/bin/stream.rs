//! A stream whose payload can be verified at the far end, and datagrams that come back.
//!
//!     stream serve ADDRESS:PORT                          receive one TCP stream, print its length and hash
//!     stream send ADDRESS:PORT BYTES [BYTES_PER_SECOND]  send a pattern, print its length and hash
//!     stream echo ADDRESS:PORT                           send every UDP datagram back, for ever
//!     stream datagrams ADDRESS:PORT SIZE COUNT           send datagrams, compare each answer
//!
//! The pattern is a pseudo-random sequence, so that a lost, doubled or moved byte changes the hash.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Large enough that the kernel builds superframes.
const CHUNK_BYTES: usize = 256 * 1024;
/// A stream that makes no progress for so long has failed; above every restart of a daemon.
const STALL: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", address] => serve(address),
        ["send", address, bytes] => send(address, bytes.parse()?, None),
        ["send", address, bytes, rate] => send(address, bytes.parse()?, Some(rate.parse()?)),
        ["echo", address] => echo(address),
        ["datagrams", address, size, count] => datagrams(address, size.parse()?, count.parse()?),
        _ => bail!("usage: stream serve|send|echo|datagrams ADDRESS:PORT …"),
    }
}

fn serve(address: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    println!("ready");
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(STALL))?;
    let mut hash = Hash::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match stream.read(&mut buffer).context("receiving")? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    println!("{hash}");
    // The sender waits for this: it proves that the way back works too.
    stream.write_all(hash.to_string().as_bytes())?;
    Ok(())
}

fn send(address: &str, bytes: u64, rate: Option<u64>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_write_timeout(Some(STALL))?;
    stream.set_read_timeout(Some(STALL))?;
    let (mut hash, mut pattern) = (Hash::new(), Pattern::new(bytes));
    let mut buffer = vec![0; CHUNK_BYTES];
    let (started, mut sent) = (Instant::now(), 0);
    while sent < bytes {
        let len = usize::try_from(bytes - sent).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        pattern.fill(&mut buffer[..len]);
        hash.update(&buffer[..len]);
        stream.write_all(&buffer[..len]).with_context(|| format!("sending after {sent} bytes"))?;
        sent += len as u64;
        if let Some(rate) = rate {
            let due = Duration::from_millis(sent.saturating_mul(1000) / rate.max(1));
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("waiting for the receiver's hash")?;
    ensure!(answer == hash.to_string(), "sent {hash}, the receiver got {answer}");
    println!("{hash}");
    Ok(())
}

fn echo(address: &str) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
    println!("ready");
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..len], from)?;
    }
}

fn datagrams(address: &str, size: usize, count: u64) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(STALL))?;
    let (mut out, mut back) = (vec![0; size], vec![0; 1 << 16]);
    for number in 0..count {
        Pattern::new(number).fill(&mut out);
        socket.send(&out).with_context(|| format!("sending datagram {number}"))?;
        let len = socket.recv(&mut back).with_context(|| format!("waiting for answer {number}"))?;
        ensure!(back[..len] == out[..], "answer {number} differs from what was sent");
    }
    println!("{count} of {size} bytes");
    Ok(())
}

/// xorshift64*: no period that a segment size could divide.
struct Pattern(u64);

impl Pattern {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let octets = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            word.copy_from_slice(&octets[..word.len()]);
        }
    }
}

/// FNV-1a over all bytes, with their number.
struct Hash {
    state: u64,
    bytes: u64,
}

impl Hash {
    fn new() -> Self {
        Self { state: 0xcbf2_9ce4_8422_2325, bytes: 0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.state = (self.state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.bytes += bytes.len() as u64;
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:016x}", self.bytes, self.state)
    }
}
