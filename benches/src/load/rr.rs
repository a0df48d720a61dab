//! One request after the other on one TCP connection.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Latencies, histogram, nanoseconds, transfer};
use crate::host::pin_self;

/// An answer that takes so long does not come.
const STALL: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Rr {
    address: SocketAddr,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    seconds: f64,
    /// Run on this core only.
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) latencies: Latencies,
    /// Answers that differ from their request.
    pub(crate) damaged: u64,
    pub(crate) seconds: f64,
}

impl Rr {
    pub(super) fn run(&self) -> Result<Answered> {
        if let Some(core) = self.core {
            pin_self(core)?;
        }
        let mut stream = transfer::connect(self.address)?;
        stream.set_read_timeout(Some(STALL))?;
        let (mut latencies, mut damaged) = (histogram()?, 0);
        let (mut request, mut answer) = (vec![0_u8; self.size], vec![0_u8; self.size]);
        let length = Duration::from_secs_f64(self.seconds);
        let started = Instant::now();
        let mut sent = started;
        while sent - started < length {
            stream.write_all(&request)?;
            stream.read_exact(&mut answer)?;
            let now = Instant::now();
            latencies.saturating_record(nanoseconds(now - sent));
            damaged += u64::from(answer != request);
            // The next one differs from this one in its first and last byte.
            for end in [0, self.size - 1] {
                request[end] = request[end].wrapping_add(1);
            }
            sent = now;
        }
        Ok(Answered {
            latencies: Latencies::of(&latencies),
            damaged,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}
