//! Counters of one port.
//!
//! INVARIANT: between two frames `rx_frames == forwarded + Σ drops`. It holds by construction:
//! [`Counters::received`] and [`Counters::verdict`] are called once each for every frame.

use protocol::object::{DropCount, PortCounters};

use crate::verdict::{DropReason, Verdict};

/// Plain numbers, owned by the one worker that owns the switch; readers get copies.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    rx_frames: u64,
    rx_bytes: u64,
    forwarded: u64,
    drops: [u64; DropReason::COUNT],
    tx_frames: u64,
    tx_bytes: u64,
    tx_refused: u64,
    originated: u64,
    delayed_frames: u64,
    delayed_bytes: u64,
    limited_frames: u64,
    limited_bytes: u64,
    pauses: u64,
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self {
            rx_frames: 0,
            rx_bytes: 0,
            forwarded: 0,
            drops: [0; DropReason::COUNT],
            tx_frames: 0,
            tx_bytes: 0,
            tx_refused: 0,
            originated: 0,
            delayed_frames: 0,
            delayed_bytes: 0,
            limited_frames: 0,
            limited_bytes: 0,
            pauses: 0,
        }
    }

    /// Frames of `bytes` together, counted from their Ethernet headers on, came in here.
    pub(crate) const fn received(&mut self, frames: u64, bytes: usize) {
        self.rx_frames += frames;
        self.rx_bytes += bytes as u64;
    }

    /// What became of the frames last [`received`](Self::received).
    pub(crate) fn verdict(&mut self, frames: u64, verdict: Verdict) {
        match verdict {
            Ok(()) => self.forwarded += frames,
            Err(reason) => {
                if let Some(count) = self.drops.get_mut(reason.index()) {
                    *count += frames;
                }
            }
        }
    }

    /// Frames of `bytes` together, counted from their Ethernet headers on, were written here.
    pub(crate) const fn sent(&mut self, frames: u64, bytes: usize) {
        self.tx_frames += frames;
        self.tx_bytes += bytes as u64;
    }

    /// A frame was refused by the device.
    pub(crate) const fn refused(&mut self) {
        self.tx_refused += 1;
    }

    /// The frame just [`sent`](Self::sent) was made by the switch.
    pub(crate) const fn originated(&mut self) {
        self.originated += 1;
    }

    /// Frames of `bytes` together have waited for the port's ingress rate.
    pub(crate) const fn delayed(&mut self, frames: u64, bytes: usize) {
        self.delayed_frames += frames;
        self.delayed_bytes += bytes as u64;
    }

    /// Frames of `bytes` together were more than the port's ingress rate lets pass.
    pub(crate) const fn limited(&mut self, frames: u64, bytes: usize) {
        self.limited_frames += frames;
        self.limited_bytes += bytes as u64;
    }

    /// The port is not read for a while.
    pub(crate) const fn paused(&mut self) {
        self.pauses += 1;
    }

    pub(crate) const fn rx_frames(&self) -> u64 {
        self.rx_frames
    }

    pub(crate) const fn forwarded(&self) -> u64 {
        self.forwarded
    }

    /// Σ over reasons.
    pub(crate) fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// The invariant of the module.
    pub(crate) fn balance(&self) -> bool {
        self.rx_frames == self.forwarded + self.dropped()
    }

    /// A copy for the control process, with only the reasons that occurred.
    pub(crate) fn snapshot(&self) -> PortCounters {
        let drops = DropReason::ALL
            .iter()
            .zip(self.drops)
            .filter(|(_, frames)| *frames > 0)
            .map(|(reason, frames)| DropCount { reason: reason.name().to_owned(), frames })
            .collect();
        PortCounters {
            rx_frames: self.rx_frames,
            rx_bytes: self.rx_bytes,
            forwarded: self.forwarded,
            drops,
            tx_frames: self.tx_frames,
            tx_bytes: self.tx_bytes,
            tx_refused: self.tx_refused,
            originated: self.originated,
            delayed_frames: self.delayed_frames,
            delayed_bytes: self.delayed_bytes,
            limited_frames: self.limited_frames,
            limited_bytes: self.limited_bytes,
            pauses: self.pauses,
        }
    }
}
