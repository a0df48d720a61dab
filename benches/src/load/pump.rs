//! Two TAPs in two namespaces, and a loop between them that reads one and writes the other.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use netdev::{Device, DeviceError, TapOptions, VNET_HDR_LEN, VnetTap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::Mac;

use super::serve_until_stdin_ends;
use crate::subject::Sabotage;

/// Keeps looking for so long before it sleeps, as the switch does: waking up costs more than this.
const SPIN: Duration = Duration::from_micros(50);
/// Frames taken from one side before the other gets its turn.
const BURST: usize = 64;
/// Header and the largest superframe with a VLAN tag.
const BUFFER_BYTES: usize = VNET_HDR_LEN + 14 + 4 + 65_535;
/// Frames that wait in a TAP, as with vpod.
const QUEUE_LEN: u32 = 1000;
/// Payloads shorter than this are left alone: requests of one byte go on.
const SABOTAGED_BYTES: usize = 16;

const FLAG_NEEDS_CSUM: u8 = 1;
const TCP_CSUM_OFFSET: u16 = 16;

#[derive(clap::Args)]
pub(crate) struct Pump {
    one: String,
    other: String,
    #[arg(long)]
    mtu: u16,
    #[arg(long)]
    sabotage: Option<Sabotage>,
}

impl Pump {
    pub(super) fn run(&self) -> Result<()> {
        let mut one = self.tap(&self.one, 1)?;
        let mut other = self.tap(&self.other, 2)?;
        serve_until_stdin_ends(|| std::process::exit(0));
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut last_frame = Instant::now();
        loop {
            let moved = self.pump(&mut one, &mut other, &mut buffer)?
                + self.pump(&mut other, &mut one, &mut buffer)?;
            if moved > 0 {
                last_frame = Instant::now();
            } else if last_frame.elapsed() < SPIN {
                thread::yield_now();
            } else {
                let mut fds = [&one, &other].map(|tap| PollFd::new(tap.as_fd(), PollFlags::POLLIN));
                poll(&mut fds, PollTimeout::NONE)?;
                last_frame = Instant::now();
            }
        }
    }

    fn tap(&self, netns: &str, number: u8) -> Result<VnetTap> {
        let options = TapOptions {
            name: "eth0".to_owned(),
            ip_mtu: self.mtu,
            mac: Mac([0x0a, 0x58, 0, 0, 0, number]),
            txqueuelen: QUEUE_LEN,
            persistent: false,
            multi_queue: false,
        };
        Ok(netdev::netns::open(netns)?.run(|| VnetTap::create(&options))??)
    }

    fn pump(&self, from: &mut VnetTap, to: &mut VnetTap, buffer: &mut [u8]) -> Result<usize> {
        for moved in 0..BURST {
            let Some(len) = from.recv(buffer)? else { return Ok(moved) };
            let frame = &mut buffer[..len];
            if let Some(payload) = complete_header(frame)
                && self.sabotage == Some(Sabotage::Corrupt)
                && payload + SABOTAGED_BYTES <= len
            {
                // Not by flipping: an answer that repeats its request would be mended on its way back.
                frame[len - 1] = frame[len - 1].wrapping_add(1);
            }
            for _ in 0..if self.sabotage == Some(Sabotage::Duplicate) { 2 } else { 1 } {
                match to.send(frame) {
                    // Full or down: lost, as on any wire.
                    Ok(_) | Err(DeviceError::Down { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(BURST)
    }
}

/// Sets `hdr_len` of a frame with a partial checksum to the length of all its headers, which is
/// what a TAP wants to be written; reading gives the length of the linear part. Returns where the
/// payload starts, or nothing when the checksum is complete.
fn complete_header(frame: &mut [u8]) -> Option<usize> {
    let field = |at: usize| Some(u16::from_ne_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    if frame.first()? & FLAG_NEEDS_CSUM == 0 {
        return None;
    }
    let (start, offset) = (field(6)?, field(8)?);
    let l4 = VNET_HDR_LEN + usize::from(start);
    let l4_len = if offset == TCP_CSUM_OFFSET { u16::from(frame.get(l4 + 12)? >> 4) * 4 } else { 8 };
    let hdr_len = start.checked_add(l4_len)?;
    frame[2..4].copy_from_slice(&hdr_len.to_ne_bytes());
    Some(VNET_HDR_LEN + usize::from(hdr_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_length_of_a_superframe_counts_all_headers() {
        let mut frame = vec![0; VNET_HDR_LEN + 14 + 20 + 32 + 3000];
        (frame[0], frame[1]) = (FLAG_NEEDS_CSUM, 1);
        frame[6..8].copy_from_slice(&34_u16.to_ne_bytes());
        frame[8..10].copy_from_slice(&TCP_CSUM_OFFSET.to_ne_bytes());
        frame[VNET_HDR_LEN + 34 + 12] = 8 << 4;
        assert_eq!(complete_header(&mut frame), Some(VNET_HDR_LEN + 66));
        assert_eq!(frame[2..4], 66_u16.to_ne_bytes());
    }

    #[test]
    fn cut_off_headers_are_left_alone() {
        let mut frame = vec![0; VNET_HDR_LEN + 20];
        assert_eq!(complete_header(&mut frame), None);
        frame[0] = FLAG_NEEDS_CSUM;
        frame[6..8].copy_from_slice(&60_000_u16.to_ne_bytes());
        frame[8..10].copy_from_slice(&TCP_CSUM_OFFSET.to_ne_bytes());
        assert_eq!(complete_header(&mut frame), None);
    }
}
