//! Pods that ask little and want their answers: small UDP requests at a steady rate from each.
//!
//! One process with a socket in each pod, so that on a machine with few cores the pods do not
//! wait for each other to be scheduled. A request's time runs from its sending, not from when it was
//! due: what keeps this process from running is the machine's load, not the switch.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use super::datagram::{Format, Read, Seen};
use super::{Latencies, histogram, nanoseconds};

/// Answers later than this after the last request are lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes of a request.
const SIZE: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Polite {
    /// The echo to ask.
    address: SocketAddr,
    /// Namespaces of the pods that ask.
    #[arg(required = true)]
    netns: Vec<String>,
    /// Requests per second of each.
    #[arg(long)]
    rate: f64,
    #[arg(long)]
    seconds: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) asked: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) damaged: u64,
    pub(crate) latencies: Latencies,
}

struct PolitePod {
    socket: UdpSocket,
    format: Format,
    seen: Seen,
    sent_at: Vec<Instant>,
}

impl Polite {
    pub(super) fn run(&self) -> Result<Asked> {
        let mut pods = Vec::new();
        for (run, netns) in (1..).zip(&self.netns) {
            let socket = netdev::netns::open(netns)?.run(|| UdpSocket::bind("0.0.0.0:0"))??;
            socket.connect(self.address)?;
            socket.set_nonblocking(true)?;
            pods.push(PolitePod {
                socket,
                format: Format::new(run, SIZE),
                seen: Seen::default(),
                sent_at: Vec::new(),
            });
        }
        let mut latencies = histogram()?;
        let mut damaged = 0;
        let started = Instant::now();
        let end = started + Duration::from_secs_f64(self.seconds);
        // The pods take turns, so that their requests are spread evenly.
        #[expect(clippy::cast_precision_loss, reason = "a handful of pods")]
        let gap = Duration::from_secs_f64(1.0 / (self.rate * pods.len() as f64));
        let (mut due, mut turn) = (started, 0);
        loop {
            let now = Instant::now();
            let wait_until = if now < end { due } else { end + PATIENCE };
            if now >= end && (now >= wait_until || pods.iter().all(PolitePod::satisfied)) {
                break;
            }
            if now >= due && now < end {
                pods[turn].ask()?;
                turn = (turn + 1) % pods.len();
                due += gap;
                continue;
            }
            wait(&pods, wait_until.saturating_duration_since(now))?;
            for pod in &mut pods {
                damaged += pod.take_answers(&mut latencies)?;
            }
        }
        let asked: u64 = pods.iter().map(|pod| pod.sent_at.len() as u64).sum();
        let answered: u64 = pods.iter().map(|pod| pod.seen.distinct).sum();
        Ok(Asked {
            asked,
            lost: asked.saturating_sub(answered),
            duplicates: pods.iter().map(|pod| pod.seen.duplicates).sum(),
            damaged,
            latencies: Latencies::of(&latencies),
        })
    }
}

impl PolitePod {
    fn ask(&mut self) -> Result<()> {
        let mut buffer = [0; SIZE];
        self.format.prepare(&mut buffer);
        self.format.stamp(&mut buffer, self.sent_at.len() as u64);
        self.sent_at.push(Instant::now());
        match self.socket.send(&buffer) {
            // What is not sent gets no answer.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns how many answers were damaged.
    fn take_answers(&mut self, latencies: &mut Histogram<u64>) -> Result<u64> {
        let mut buffer = [0; SIZE + 1];
        let mut damaged = 0;
        loop {
            let len = match self.socket.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(damaged),
                Err(error) => return Err(error.into()),
            };
            let sequence = match self.format.read(&buffer[..len]) {
                Read::Ours(sequence) => sequence,
                Read::Stray | Read::Damaged => {
                    damaged += 1;
                    continue;
                }
            };
            match usize::try_from(sequence).ok().and_then(|index| self.sent_at.get(index)) {
                Some(sent) => {
                    latencies.saturating_record(nanoseconds(sent.elapsed()));
                    self.seen.note(sequence);
                }
                None => damaged += 1,
            }
        }
    }

    fn satisfied(&self) -> bool {
        self.seen.distinct == self.sent_at.len() as u64
    }
}

fn wait(pods: &[PolitePod], at_most: Duration) -> Result<()> {
    let mut fds: Vec<_> = pods.iter().map(|pod| PollFd::new(pod.socket.as_fd(), PollFlags::POLLIN)).collect();
    match ppoll(&mut fds, Some(TimeSpec::from_duration(at_most)), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
