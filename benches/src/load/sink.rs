//! Receives numbered datagrams and says what became of them.

use std::fs;
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::datagram::{Format, Read, Seen};
use super::serve_until_stdin_ends;

/// Datagrams of one system call.
const BATCH: usize = 64;
/// Room for some 10,000 small datagrams while this process does not run.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;
/// After the sender has ended, silence for so long means that everything has arrived.
const SILENCE: Duration = Duration::from_millis(50);
/// Even a switch that makes up frames does not keep this going.
const MAX_DRAIN: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(crate) struct Sink {
    address: SocketAddr,
    #[arg(long)]
    run: u64,
    #[arg(long)]
    size: usize,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Received {
    /// Different datagrams of this run.
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) damaged: u64,
    /// Arrived after one that was sent later.
    pub(crate) late: u64,
    /// Dropped because this process was too slow.
    pub(crate) overruns: u64,
    /// From the first to the last.
    pub(crate) seconds: f64,
}

impl Sink {
    pub(super) fn run(&self) -> Result<Received> {
        let socket = UdpSocket::bind(self.address)?;
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
        socket.set_read_timeout(Some(SILENCE))?;
        let overruns = overruns()?;
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        serve_until_stdin_ends(move || end.store(true, Ordering::Relaxed));

        let mut counter = Counter::new(Format::new(self.run, self.size));
        let mut drain_until = None;
        loop {
            let silent = !counter.receive(&socket)?;
            if ended.load(Ordering::Relaxed) {
                let until = *drain_until.get_or_insert_with(|| Instant::now() + MAX_DRAIN);
                if silent || Instant::now() >= until {
                    break;
                }
            }
        }
        Ok(counter.report(overruns))
    }
}

struct Counter {
    format: Format,
    buffers: Vec<u8>,
    headers: MultiHeaders<()>,
    seen: Seen,
    damaged: u64,
    first_and_last: Option<(Instant, Instant)>,
}

impl Counter {
    fn new(format: Format) -> Self {
        // A byte more, so that a datagram that grew shows.
        let buffers = vec![0; (format.size() + 1) * BATCH];
        let headers = MultiHeaders::preallocate(BATCH, None);
        Self { format, buffers, headers, seen: Seen::default(), damaged: 0, first_and_last: None }
    }

    /// `false` when nothing came for [`SILENCE`].
    fn receive(&mut self, socket: &UdpSocket) -> Result<bool> {
        let room = self.format.size() + 1;
        let mut lens = [0; BATCH];
        let mut slices: Vec<_> =
            self.buffers.chunks_mut(room).map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let count = match recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(messages) => messages.zip(&mut lens).map(|(message, len)| *len = message.bytes).count(),
            Err(Errno::EAGAIN) => return Ok(false),
            Err(Errno::EINTR) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        let now = Instant::now();
        self.first_and_last = Some((self.first_and_last.map_or(now, |(first, _)| first), now));
        for (buffer, len) in self.buffers.chunks(room).zip(lens).take(count) {
            match self.format.read(&buffer[..len]) {
                Read::Ours(sequence) => self.damaged += u64::from(!self.seen.note(sequence)),
                Read::Stray => {}
                Read::Damaged => self.damaged += 1,
            }
        }
        Ok(true)
    }

    fn report(&self, overruns_before: u64) -> Received {
        Received {
            received: self.seen.distinct,
            duplicates: self.seen.duplicates,
            damaged: self.damaged,
            late: self.seen.late,
            overruns: overruns().unwrap_or(0).saturating_sub(overruns_before),
            seconds: self.first_and_last.map_or(0.0, |(first, last)| (last - first).as_secs_f64()),
        }
    }
}

/// `RcvbufErrors` of this namespace.
fn overruns() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/net/snmp")?;
    let mut udp = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = udp.next().zip(udp.next()).context("/proc/self/net/snmp has no Udp")?;
    let mut columns = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    let found = columns.find(|(name, _)| *name == "RcvbufErrors").context("no RcvbufErrors")?;
    Ok(found.1.parse()?)
}
