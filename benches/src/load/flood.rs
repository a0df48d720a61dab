//! Sends numbered datagrams, at a rate or as fast as it can.

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, sendmmsg};
use serde::{Deserialize, Serialize};

use super::datagram::Format;

/// Datagrams of one system call.
const BATCH: usize = 64;
/// Sleeps of the paced sender. Short enough that a tick's burst fits any queue on the way: 1000
/// frames wait at a TAP.
const TICK: Duration = Duration::from_micros(50);
/// A sender that was kept from running does not make up for more than this at once: such a burst
/// would overflow queues at any rate, and be taken for the subject's fault.
const MAX_BEHIND: u64 = 256;

#[derive(clap::Args)]
pub(crate) struct Flood {
    target: SocketAddr,
    /// Tells these datagrams from those of other runs.
    #[arg(long)]
    run: u64,
    /// Bytes of payload.
    #[arg(long)]
    size: usize,
    #[arg(long)]
    seconds: f64,
    /// Datagrams per second; without it as many as possible.
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) sent: u64,
    pub(crate) seconds: f64,
}

impl Flood {
    pub(super) fn run(&self) -> Result<Sent> {
        // Otherwise each sleep takes 50 µs longer.
        nix::sys::prctl::set_timerslack(1)?;
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(self.target)?;
        let mut sender = Sender::new(socket, Format::new(self.run, self.size));
        let length = Duration::from_secs_f64(self.seconds);
        let started = Instant::now();
        // What the rate asked for and was given up.
        let mut forgone = 0;
        loop {
            let elapsed = started.elapsed();
            if elapsed >= length {
                break;
            }
            let due = match self.rate {
                None => BATCH as u64,
                Some(rate) => {
                    let behind = count(elapsed.as_secs_f64() * rate).saturating_sub(sender.sent + forgone);
                    forgone += behind.saturating_sub(MAX_BEHIND);
                    behind.min(MAX_BEHIND)
                }
            };
            if due == 0 {
                thread::sleep(TICK);
            } else {
                sender.send(usize::try_from(due).unwrap_or(BATCH).min(BATCH))?;
            }
        }
        Ok(Sent { sent: sender.sent, seconds: started.elapsed().as_secs_f64() })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; never negative")]
fn count(datagrams: f64) -> u64 {
    datagrams as u64
}

struct Sender {
    socket: UdpSocket,
    format: Format,
    buffers: Vec<u8>,
    headers: MultiHeaders<()>,
    sent: u64,
}

impl Sender {
    fn new(socket: UdpSocket, format: Format) -> Self {
        let mut buffers = vec![0; format.size() * BATCH];
        buffers.chunks_mut(format.size()).for_each(|buffer| format.prepare(buffer));
        Self { socket, format, buffers, headers: MultiHeaders::preallocate(BATCH, None), sent: 0 }
    }

    fn send(&mut self, datagrams: usize) -> Result<()> {
        let size = self.format.size();
        for (sequence, buffer) in (self.sent..).zip(self.buffers.chunks_mut(size).take(datagrams)) {
            self.format.stamp(buffer, sequence);
        }
        let slices: Vec<_> =
            self.buffers.chunks(size).take(datagrams).map(|buffer| [IoSlice::new(buffer)]).collect();
        let addresses = [None; BATCH];
        let no_control: [ControlMessage<'_>; 0] = [];
        let fd = self.socket.as_raw_fd();
        match sendmmsg(fd, &mut self.headers, slices.iter(), addresses, no_control, MsgFlags::empty()) {
            Ok(done) => self.sent += done.count() as u64,
            // A full queue on the way; a refusal means that the receiver has gone, which it reports.
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}
