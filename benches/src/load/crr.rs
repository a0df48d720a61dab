//! One TCP connection after the other, with one request each.
//!
//! The server closes first, and then the client resets what is left: with an ordinary close one of
//! the two would keep each port pair for a minute (TIME-WAIT, RFC 9293 §3.6.1), and after some
//! 28,000 connections there would be none left to measure with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::rr::Answered;
use super::{Latencies, histogram, nanoseconds};

/// A connection that takes so long does not come; beyond a SYN that was lost and sent again.
const STALL: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Crr {
    address: SocketAddr,
    #[arg(long)]
    seconds: f64,
}

impl Crr {
    pub(super) fn run(&self) -> Result<Answered> {
        let (mut latencies, mut damaged) = (histogram()?, 0);
        let length = Duration::from_secs_f64(self.seconds);
        let started = Instant::now();
        let mut begun = started;
        let mut byte = 0_u8;
        while begun - started < length {
            let answer = transact(self.address, byte).context("connection")?;
            let now = Instant::now();
            latencies.saturating_record(nanoseconds(now - begun));
            damaged += u64::from(answer != byte);
            byte = byte.wrapping_add(1);
            begun = now;
        }
        Ok(Answered {
            latencies: Latencies::of(&latencies),
            damaged,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

fn transact(address: SocketAddr, request: u8) -> Result<u8> {
    let mut stream = TcpStream::connect_timeout(&address, STALL)?;
    stream.set_read_timeout(Some(STALL))?;
    stream.write_all(&[request])?;
    let mut answer = Vec::with_capacity(1);
    stream.read_to_end(&mut answer)?;
    setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    answer.first().copied().context("closed without an answer")
}
