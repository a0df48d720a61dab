//! Asks for a name until there is an answer.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::host::READY;

/// How long it is asked.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(1);
/// For an answer.
const STALL: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Named {
    server: SocketAddr,
    name: String,
}

/// When there was one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// See [`now`].
    pub(crate) at: Duration,
}

/// `CLOCK_MONOTONIC`, which all processes share.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

impl Named {
    pub(super) fn run(&self) -> Result<Answered> {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(self.server)?;
        socket.set_read_timeout(Some(STALL))?;
        let question = question(&self.name);
        let mut answer = [0; 512];
        println!("{READY}");
        let started = Instant::now();
        loop {
            ensure!(started.elapsed() < LONGEST, "{} has no address", self.name);
            socket.send(&question)?;
            match socket.recv(&mut answer) {
                // The number of answers (RFC 1035 §4.1.1).
                Ok(len) if len >= 12 && answer[6..8] != [0, 0] => return Ok(Answered { at: now() }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            thread::sleep(PAUSE);
        }
    }
}

/// For the IPv4 address of a name (RFC 1035 §4.1).
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or_default());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}
