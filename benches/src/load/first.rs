//! How long the first packet of a flow takes, there and back: a TCP handshake, or a datagram and its echo.
//!
//! Every attempt is a new flow, to the next of several addresses, so that nothing of the one before helps.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::rr::Answered;
use super::{Latencies, histogram, nanoseconds};

/// What takes so long does not come.
const STALL: Duration = Duration::from_secs(5);
/// Enough for a 99th percentile, and few beside the connections that any table holds.
const MOST: u64 = 5000;

#[derive(clap::Args)]
pub(crate) struct First {
    /// Whom to send to, in turn.
    #[arg(required = true)]
    addresses: Vec<SocketAddr>,
    /// Datagrams instead of handshakes.
    #[arg(long)]
    udp: bool,
    #[arg(long)]
    seconds: f64,
}

impl First {
    pub(super) fn run(&self) -> Result<Answered> {
        let (mut latencies, mut damaged) = (histogram()?, 0);
        let length = Duration::from_secs_f64(self.seconds);
        let started = Instant::now();
        for (number, address) in (0..MOST).zip(self.addresses.iter().cycle()) {
            if started.elapsed() >= length {
                break;
            }
            if self.udp {
                let (took, is_right) = exchange(*address, number).context("datagram")?;
                latencies.saturating_record(nanoseconds(took));
                damaged += u64::from(!is_right);
            } else {
                latencies.saturating_record(nanoseconds(handshake(*address).context("connection")?));
            }
        }
        Ok(Answered {
            latencies: Latencies::of(&latencies),
            damaged,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

fn handshake(address: SocketAddr) -> Result<Duration> {
    let started = Instant::now();
    let stream = TcpStream::connect_timeout(&address, STALL)?;
    let took = started.elapsed();
    // Reset, so that no port stays in TIME-WAIT.
    setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    Ok(took)
}

/// With whether the echo is what was sent.
fn exchange(address: SocketAddr, number: u64) -> Result<(Duration, bool)> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(STALL))?;
    let (sent, mut echo) = (number.to_be_bytes(), [0; 16]);
    let started = Instant::now();
    socket.send(&sent)?;
    let len = socket.recv(&mut echo)?;
    Ok((started.elapsed(), echo[..len] == sent))
}
