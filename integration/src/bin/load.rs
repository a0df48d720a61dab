//! Greedy and polite senders of small datagrams, for promises about fairness.
//!
//!     load flood ADDRESS:PORT                          as many datagrams as possible, for ever
//!     load requests ADDRESS:PORT COUNT PER_SECOND      COUNT numbered datagrams to an echo server, evenly
//!                                                      spaced; prints how many different answers came

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// For answers after the last request, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["flood", address] => flood(address),
        ["requests", address, count, rate] => requests(address, count.parse()?, rate.parse()?),
        _ => bail!("usage: load flood|requests ADDRESS:PORT …"),
    }
}

fn flood(address: &str) -> anyhow::Result<()> {
    let socket = connected(address)?;
    loop {
        // Refused by the other end, or no room: a greedy program goes on.
        let _ = socket.send(&[0; 32]);
    }
}

fn requests(address: &str, count: u64, per_second: u64) -> anyhow::Result<()> {
    let socket = connected(address)?;
    let mut answered = BTreeSet::new();
    let started = Instant::now();
    for number in 0..count {
        let due = started + Duration::from_micros(number * 1_000_000 / per_second.max(1));
        receive_until(&socket, due, &mut answered)?;
        socket.send(&number.to_be_bytes()).with_context(|| format!("sending request {number}"))?;
    }
    let deadline = Instant::now() + PATIENCE;
    while (answered.len() as u64) < count && Instant::now() < deadline {
        receive_until(&socket, Instant::now() + Duration::from_millis(50), &mut answered)?;
    }
    println!("{}", answered.len());
    Ok(())
}

/// Collects answers until `due`.
fn receive_until(socket: &UdpSocket, due: Instant, answered: &mut BTreeSet<u64>) -> anyhow::Result<()> {
    let mut buffer = [0; 64];
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut buffer) {
            Ok(len) => answered.extend(buffer[..len].try_into().ok().map(u64::from_be_bytes)),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e).context("waiting for answers"),
        }
    }
}

fn connected(address: &str) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address).with_context(|| format!("connecting to {address}"))?;
    Ok(socket)
}
